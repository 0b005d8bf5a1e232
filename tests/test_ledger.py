"""The ledger of edits: each fits its file, changes what is learned, and none is missing."""
import functools
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import ledger

TINY = {
    "gpt": {"max_steps": 2, "batch_size": 2, "block_size": 32, "n_layer": 1, "n_head": 1, "n_embd": 16},
    "makemore": {"max_steps": 2, "batch_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 8, "n_embd2": 16},
}
EDITS = pytest.mark.parametrize("edit", ledger.LEDGER, ids=lambda edit: f"{edit.file} {edit.name}")


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    """A function of file and type: the unchanged module, a little text, the loss of a tiny model on it."""
    folder = tmp_path_factory.mktemp("unchanged")
    modules = {file: ledger.load_copy(file, folder) for file in TINY}
    data = {"gpt": ledger.data_of("gpt", modules["gpt"])[:2500],
            "makemore": ledger.data_of("makemore", modules["makemore"])[:300]}

    @functools.cache
    def learned(file, type):
        config = ledger.settings(modules[file], type, **TINY[file])
        return modules[file], data[file], after_two_steps(modules[file], data[file], config, folder)

    return learned


def after_two_steps(module, data, config, folder):
    """The validation loss of a model."""
    return ledger.train(module, data, config, folder)["run"].log[-1][3]


@EDITS
def test_an_edited_copy_trains_and_learns_something_else_than_the_unchanged_file(edit, unchanged, tmp_path):
    base, data, loss = unchanged(edit.file, edit.type)
    module = ledger.load_copy(edit.file, tmp_path, edit)
    before, after = (vars(ledger.settings(which, edit.type)) for which in (base, module))
    sizes = {name: value for name, value in TINY[edit.file].items() if after[name] == before[name]}
    assert after_two_steps(module, data, ledger.settings(module, edit.type, **sizes), tmp_path) != loss


@EDITS
def test_each_old_text_stands_in_the_file_exactly_once(edit):
    source = ledger.source_of(edit.file)
    assert {old: source.count(old) for old in edit.changes} == dict.fromkeys(edit.changes, 1)


def test_every_departure_of_gpts_docstring_has_an_entry():
    departures = re.findall(r"^    (\(\d\)) ", ledger.source_of("gpt").split('"""')[1], re.MULTILINE)
    assert departures == [f"({n})" for n in range(1, 7)]
    assert set(departures) == {edit.mark for edit in ledger.LEDGER if edit.mark.startswith("(")}


@pytest.mark.parametrize("file", TINY)
def test_every_line_to_try_has_an_entry_and_every_entry_its_line(file):
    comments = "\n".join(re.findall(r"#.*", ledger.source_of(file)))
    tries = re.findall(r"Try: (.*?)(?= Try:|$)", comments, re.MULTILINE)
    marks = [edit.mark for edit in ledger.LEDGER if edit.file == file and not edit.mark.startswith("(")]
    assert len(tries) >= 5
    for line in tries:
        assert any(mark in line for mark in marks), f"no entry for: {line}"
    for mark in marks:
        assert sum(mark in line for line in tries) == 1, f"no such line, or several: {mark}"
