"""What README says to type works: every command, in README's order, in a fresh copy of the repository.

A block is left out only where an HTML comment before it says why: `<!-- not run in the test: ... -->`. The
sessions of micrograd are in test_micrograd.py. Every command has a process of its own, but those of Python
are forked from a process that has imported torch and matplotlib: to import them ten times would take
half a minute.
"""
import json
import re
import shutil
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
    """The repository without what git ignores, with both lists cut short, in a folder of its own."""
    folder = tmp_path_factory.mktemp("copy") / "zero-to-hero"
    ignored = shutil.ignore_patterns(".*", "out", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=ignored)
    names, plays = folder / "data" / "names.txt", folder / "data" / "tinyshakespeare.txt"
    names.write_text("".join(names.read_text().splitlines(keepends=True)[::100]))
    plays.write_text(plays.read_text()[:20_000])
    return folder


SHELL = r'''
import atexit, gc, json, os, runpy, shlex, subprocess, sys, traceback
import matplotlib.backends.backend_agg, matplotlib.figure, torch._dynamo

def run(kind, content):
    """Never returns. Ends like a program, but without taking torch apart, which takes a second."""
    sys.stdout = sys.stderr = open("output.txt", "w")
    os.dup2(sys.stdout.fileno(), 1), os.dup2(sys.stdout.fileno(), 2)
    words, status = shlex.split(content, comments=True) if kind == "sh" else [], None
    try:
        if kind == "python":
            sys.argv, sys.path[0] = [""], ""
            exec(compile(content, "README", "exec"), {"__name__": "__main__"})
        elif words[0] == "python" and words[1].endswith(".py"):
            sys.argv, sys.path[0] = words[1:], os.path.dirname(words[1])
            runpy.run_path(words[1], run_name="__main__")
        else:
            status = subprocess.run(["bash", "-euo", "pipefail", "-c", content]).returncode
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else bool(status))

gc.freeze()
finished = []
for kind, content in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        run(kind, content)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finished.append((content, status, open("output.txt").read()))
    if status:
        break
json.dump(finished, sys.stdout)
'''


def test_every_command_and_every_python_block_works_in_the_order_of_the_readme(copy):
    lines = [line for block in blocks("sh") for line in block.splitlines() if not line.startswith("#")]
    assert sum(bool(TRAINING.match(line)) for line in lines) >= 3, "README trains both programs"
    python = re.sub(r"max_steps=\d+", "max_steps=2", "\n".join(blocks("python")))
    assert "import makemore" in python and "import gpt" in python
    commands = [("sh", shorten(line)) for line in lines] + [("python", python)]
    shell = subprocess.run([sys.executable, "-c", SHELL], input=json.dumps(commands), cwd=copy,
                           capture_output=True, text=True, check=False, timeout=200)
    assert shell.returncode == 0, shell.stderr
    finished = json.loads(shell.stdout)
    for command, status, output in finished:
        assert status == 0 and "Traceback" not in output, f"{command}\n{output}"
    assert len(finished) == len(commands)


def test_ci_runs_the_test_command_of_the_readme():
    command = re.search(r"^<!-- test command -->\n```sh\n(.+)\n```$", README, re.MULTILINE)[1]
    assert command.startswith("python3 -m venv .venv && ")
    assert command.endswith(".venv/bin/python tests/run.py")
    assert "test command" in (ROOT / ".ci" / "run").read_text()


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
