"""What README says to type works: every command, in README's order, in a fresh copy of the repository.

A block is left out only where an HTML comment before it says why: `<!-- not run in the test: ... -->`. The
sessions of micrograd are in test_micrograd.py.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ["README.md", "data/README.md"]
TRAINING = re.compile(r"python (makemore/makemore|gpt/gpt)\.py(?!.*--sample-only)")
LEFT_OUT = re.compile(r"<!-- (not run in the test: .+|test command) -->\n")


def blocks(language):
    """README's blocks of a language that are run, in order."""
    found = re.finditer(rf"^(.*\n)```{language}\n((?:.*\n)*?)```$", README, re.MULTILINE)
    return [block[2] for block in found if not LEFT_OUT.fullmatch(block[1])]


def shorten(line):
    """A command as the test runs it: two steps of training, and texts of twenty characters."""
    if TRAINING.match(line):
        line = re.sub(r" --max-steps \d+", "", line)
        line = re.sub(r"^(python \S+)", r"\1 --max-steps 2", line)
    return re.sub(r"^(python gpt/gpt\.py)", r"\1 --max-new-tokens 20", line)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The files that git knows, with both lists cut short, in a folder of their own."""
    folder = tmp_path_factory.mktemp("zero-to-hero")
    known = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if known.returncode:
        pytest.skip("not a git repository")
    for name in known.stdout.split("\0")[:-1]:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    names, plays = folder / "data" / "names.txt", folder / "data" / "tinyshakespeare.txt"
    names.write_text("".join(names.read_text().splitlines(keepends=True)[::100]))
    plays.write_text(plays.read_text()[:20_000])
    return folder


def run(command, copy):
    """A command in the copy's root; `python` is the Python of this test, as if its environment were active."""
    folder = copy.with_name("bin")
    folder.mkdir(exist_ok=True)
    (folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "python").chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    finished = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False,
                              timeout=100)
    assert finished.returncode == 0, f"{command}\n{finished.stdout}{finished.stderr}"
    assert "Traceback" not in finished.stderr, f"{command}\n{finished.stderr}"


def test_every_command_and_every_python_block_works_in_the_order_of_the_readme(copy):
    lines = [line for block in blocks("sh") for line in block.splitlines() if not line.startswith("#")]
    assert sum(bool(TRAINING.match(line)) for line in lines) >= 3, "README trains both programs"
    for line in lines:
        run(["bash", "-euo", "pipefail", "-c", shorten(line)], copy)
    python = re.sub(r"max_steps=\d+", "max_steps=2", "\n".join(blocks("python")))
    assert "import makemore" in python and "import gpt" in python
    run(["python", "-c", python], copy)


def test_ci_runs_the_test_command_of_the_readme():
    command = re.search(r"^<!-- test command -->\n```sh\n(.+)\n```$", README, re.MULTILINE)[1]
    assert command.startswith("python3 -m venv .venv && ") and "pytest" in command


# Links -----------------------------------------------------------------------------------------------------


def without_code(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(name):
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", without_code(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_inside_the_repository_leads_somewhere(name):
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(name))
    assert links
    for link in links:
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = (ROOT / name).parent / path if path else ROOT / name
            assert target.is_file(), link
            assert not anchor or anchor in anchors(target), link
