"""The ledger of edits: each fits its file, changes what is learned, and none is missing."""
import functools
import json
import re

import pytest
import torch
from torch import nn

import ledger

SIZES = {"max_steps": 4, "batch_size": 2, "block_size": 128, "n_layer": 1, "n_head": 2, "n_embd": 16}
TINY = {
    "gpt": SIZES,
    "mixture": SIZES,
    "makemore": {"max_steps": 2, "batch_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 8, "n_embd2": 16},
}
EDITS = pytest.mark.parametrize("edit", ledger.LEDGER, ids=lambda edit: f"{edit.file} {edit.name}")


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    """A function of file and type: the unchanged module, a little text, the loss of a tiny model on it."""
    folder = tmp_path_factory.mktemp("unchanged")

    @functools.cache
    def learned(file, type):
        module = ledger.load_copy(file, folder)
        data = ledger.data_of(file, module)[: 300 if file == "makemore" else 2500]
        config = ledger.settings(module, type, **TINY[file])
        return module, data, after_some_steps(module, data, config, folder)

    return learned


def after_some_steps(module, data, config, folder):
    """The validation loss of a model."""
    return ledger.train(module, data, config, folder)["run"].log[-1][3]


@EDITS
def test_an_edited_copy_trains_and_learns_something_else_than_the_unchanged_file(edit, unchanged, tmp_path):
    base, data, loss = unchanged(edit.file, edit.type)
    module = ledger.load_copy(edit.file, tmp_path, edit)
    before, after = (vars(ledger.settings(which, edit.type)) for which in (base, module))
    sizes = {name: value for name, value in TINY[edit.file].items() if after[name] == before[name]}
    config = ledger.settings(module, edit.type, **sizes | edit.settings)
    assert after_some_steps(module, data, config, tmp_path) != loss


@EDITS
def test_each_old_text_stands_in_the_file_exactly_once(edit):
    source = ledger.source_of(edit.file)
    assert {old: source.count(old) for old in edit.changes} == dict.fromkeys(edit.changes, 1)


def test_every_departure_of_gpt_has_an_entry():
    _, docstring, code = ledger.source_of("gpt").split('"""', 2)
    numbered = re.findall(r'(?:# |"""|^ +)(\(\d+\)) \w', code, re.MULTILINE)
    assert numbered == [f"({n})" for n in range(1, len(numbered) + 1)] != []
    assert [edit.mark for edit in ledger.departures()] == numbered
    assert all(edit.departure for edit in ledger.departures())
    assert re.findall(r"^ *(\(\d+\)) ", docstring, re.MULTILINE) == numbered


@pytest.mark.parametrize("file", ["gpt", "makemore"])
def test_every_line_to_try_has_an_entry_and_every_entry_its_line(file):
    comments = "\n".join(re.findall(r"#.*", ledger.source_of(file)))
    tries = re.findall(r"Try: (.*?)(?= Try:|$)", comments, re.MULTILINE)
    marks = [edit.mark for edit in ledger.LEDGER if edit.file == file and edit.mark and edit.mark[0] != "("]
    assert len(tries) >= 5
    for line in tries:
        assert any(mark in line for mark in marks), f"no entry for: {line}"
    for mark in marks:
        assert sum(mark in line for line in tries) == 1, f"no such line, or several: {mark}"


@torch.no_grad()
def test_with_all_departures_taken_back_a_block_of_gpt_is_the_textbook_block_of_torch(tmp_path):
    gpt = ledger.load_copy("gpt", tmp_path, *ledger.departures())
    torch.manual_seed(1)
    config = gpt.Config(vocab_size=7, block_size=12, n_layer=1, n_head=2, n_embd=16, dropout=0.0)
    model = gpt.GPT(config)
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    block = model.blocks[0]
    attention, feed_forward = block.attention, block.feed_forward
    textbook = nn.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True)
    joined = [attention.query, attention.key, attention.value]
    textbook.self_attn.in_proj_weight.copy_(torch.cat([linear.weight for linear in joined]))
    textbook.self_attn.in_proj_bias.copy_(torch.cat([linear.bias for linear in joined]))
    for theirs, ours in ((textbook.self_attn.out_proj, attention.proj), (textbook.linear1, feed_forward.up),
                         (textbook.linear2, feed_forward.down), (textbook.norm1, block.norm1),
                         (textbook.norm2, block.norm2)):
        theirs.load_state_dict(ours.state_dict())
    idx = torch.randint(7, (3, 12))
    x = model.token_embedding.weight[idx] + model.position.weight
    x = textbook(x, src_mask=nn.Transformer.generate_square_subsequent_mask(12), is_causal=True)
    x = nn.functional.layer_norm(x, (16,), model.norm.weight, model.norm.bias)
    torch.testing.assert_close(model(idx), x @ model.head.weight.T, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_last_characters_have_the_row_of_their_table_that_their_number_says(tmp_path):
    """The edit with tables for the last 2, 3 and 4 characters, computed without tensors."""
    edit = next(edit for edit in ledger.LEDGER if edit.mark == "Engram")
    gpt = ledger.load_copy("gpt", tmp_path, edit)
    config = gpt.Config(vocab_size=65, block_size=12, n_layer=1, n_head=1, n_embd=4)
    plain, model = ledger.load_copy("gpt", tmp_path).GPT(config), gpt.GPT(config)
    model.load_state_dict(plain.state_dict(), strict=False)
    for table in model.groups:
        nn.init.normal_(table.weight)
    text = [64, 3, 17, 0, 5]
    wanted = plain.embed(torch.tensor([text]))[0]
    for i in range(5):
        for length, table in zip((2, 3, 4), model.groups):
            number = 0
            for back in range(length):
                number = 65 * number + (text[i - back] if back <= i else 0)
            wanted[i] += table.weight[number % 16381]
    torch.testing.assert_close(model.embed(torch.tensor([text]))[0], wanted)


@pytest.fixture
def little(monkeypatch):
    """The ledger with little text, tiny runs and one trial."""
    monkeypatch.setattr(ledger, "TRIALS", 1)
    monkeypatch.setattr(ledger, "data_of", lambda file, module: "All the world's a stage.\n" * 100)
    monkeypatch.setattr(ledger, "settings", lambda module, type="", **values: module.configure("cpu", **{
        **SIZES, **values}))


def test_the_table_gives_a_cheaper_edit_more_steps_by_the_times_in_a_file(little, tmp_path, capsys):
    times = tmp_path / "times.json"
    times.write_text(json.dumps({" (4) GELU": [2.0, 1.0]}), encoding="utf-8")
    ledger.print_table(["gpt", "mixture"], 2, only="gelu", steps=2, times=times)
    row = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"\| \(4\) GELU \| \d\.\d{4} \| \d\.\d{4} \| .* \| 2\.00, 1\.00 \| 2, 4 \|", row)


def test_the_times_of_a_file_are_those_of_every_row(little, tmp_path, capsys):
    times = tmp_path / "times.json"
    ledger.write_times(["gpt", "mixture"], times, only="head", steps=2)
    rows = {f" {edit.name}" for edit in ledger.selected(["gpt", "mixture"], "head")}
    found = json.loads(times.read_text(encoding="utf-8"))
    assert set(found) == rows != set()
    assert all(a > 0 and b > 0 for a, b in found.values())
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_the_parts_of_the_ledger_are_all_of_it():
    parts = [ledger.selected(["gpt"], "", f"{k}/3") for k in (1, 2, 3)]
    names = sorted(edit.name for part in parts for edit in part)
    assert names == sorted(edit.name for edit in ledger.LEDGER if edit.file == "gpt")
