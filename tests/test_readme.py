"""What the pages say to type works: every command and every block of Python, page by page, in their order, in
a fresh copy of the repository.

A block is left out only where an HTML comment before it says why: `<!-- not run in the test: ... -->`. The
sessions of micrograd's page are in test_micrograd.py.
"""
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import gpt
import makemore
from forked import run_python
from gpt import mixture

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "makemore/README.md", "gpt/README.md", "tests/README.md"]  # whose blocks are run here
ANSWERS = ["micrograd/ANSWERS.md", "makemore/ANSWERS.md", "gpt/ANSWERS.md"]
DOCUMENTS = [*PAGES, "micrograd/README.md", "data/README.md", *ANSWERS]
TRAINING = re.compile(r"python (makemore/makemore|gpt/gpt|gpt/mixture)\.py(?!.*--sample-only)")
LEFT_OUT = re.compile(r"<!-- (not run in the test: .+|test command) -->\n")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page, language):
    """The blocks of a page in this language that are run, in order."""
    found = re.finditer(rf"^(.*\n)```{language}\n((?:.*\n)*?)```$", read(page), re.MULTILINE)
    return [block[2] for block in found if not LEFT_OUT.fullmatch(block[1])]


def as_run_here(line):
    """A command as the test runs it: nothing is installed, two steps of training, two names
    for tiny_gpt.py, texts of twenty characters."""
    if line.startswith("python3 -m venv"):
        line = line.split(" && ")[-1]
    line = re.sub(r"^(\.venv/bin/python|python3) ", "python ", line)
    line = line.replace("tiny_gpt.py 100", "tiny_gpt.py 2")
    if TRAINING.match(line):
        line = re.sub(r" --max-steps \d+", "", line)
        line = re.sub(r"^(python \S+)", r"\1 --max-steps 2", line)
    return re.sub(r"^(python gpt/(gpt|mixture)\.py)", r"\1 --max-new-tokens 20", line)


def commands(page):
    """What is run of a page: [("sh", command), ..., ("python", code)]."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if not line.startswith("#")]
    python = re.sub(r"max_steps=\d+", "max_steps=2", "\n".join(blocks(page, "python")))
    return [("sh", as_run_here(line)) for line in lines] + ([("python", python)] if python else [])


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


def execute(kind, content, folder):
    """Run a command or the Python of a page; returns what finished."""
    if kind == "python":
        return run_python("-c", content, cwd=folder)
    words = shlex.split(content, comments=True)
    if words[0] == "python" and words[1].endswith(".py"):
        return run_python(*words[1:], cwd=folder)
    return subprocess.run(["bash", "-euo", "pipefail", "-c", content], cwd=folder, capture_output=True,
                          text=True, check=False)


def test_every_command_and_every_block_of_python_works_in_the_order_of_the_pages(copy):
    wanted = [command for page in PAGES for command in commands(page)]
    trained = {TRAINING.match(command)[1] for kind, command in wanted if kind == "sh" and TRAINING.match(command)}
    assert trained == {"makemore/makemore", "gpt/gpt", "gpt/mixture"}
    assert [kind for kind, _ in wanted].count("python") == 2, "makemore's page and gpt's have blocks of Python"
    for kind, content in wanted:
        finished = execute(kind, content, copy)
        output = finished.stdout + finished.stderr
        assert finished.returncode == 0 and "Traceback" not in output, f"{content}\n{output}"


PROGRAMS = {
    "makemore/makemore.py": makemore.makemore.parse_arguments,
    "gpt/gpt.py": lambda argv: gpt.gpt.parse_arguments(argv, gpt.gpt),
    "gpt/mixture.py": lambda argv: gpt.gpt.parse_arguments(argv, mixture),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_in_the_text_names_a_program_and_its_flags(name):
    for command in re.findall(r"`python ([^`\n]+)`", without_code(name)):
        script, *arguments = shlex.split(command)
        if script.endswith(".py") and script != "mine.py":  # which --copy makes
            assert (ROOT / script).is_file(), command
        values = {"NAME": "mlp", "N": "1", "X": "1"}  # FILE and DIR can be any text
        arguments = [values.get(word, word) for word in arguments]
        if script in PROGRAMS:
            PROGRAMS[script](arguments)  # raises UserError for a flag that does not exist


def test_ci_runs_the_test_command_of_the_readme():
    command = re.search(r"^<!-- test command -->\n```sh\n(.+)\n```$", read("README.md"), re.MULTILINE)[1]
    assert command.startswith("python3 -m venv .venv && ")
    assert command.endswith(".venv/bin/python tests/run.py")
    assert "/<!-- test command -->/" in read(".ci/run")


def test_the_workflow_runs_the_first_command_on_windows():
    block = re.search(r"^```powershell\npy -m venv .venv; (.+)\n```$", read("README.md"), re.MULTILINE)[1]
    steps = re.findall(r"- run: (\.venv\\.+)", read(".github/workflows/tests.yml"))
    assert "; ".join(steps) == block


@pytest.mark.parametrize(("name", "size", "lines"), [
    ("README.md", 8192, 130), ("micrograd/README.md", 8192, None), ("makemore/README.md", 8192, None),
    ("gpt/README.md", 8192, None),
])
def test_a_page_is_short(name, size, lines):
    text = read(name)
    assert len(text.encode()) <= size
    assert lines is None or text.count("\n") <= lines


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_figure_is_missing(name):
    assert "TODO" not in read(name)


# Links -----------------------------------------------------------------------------------------------------


def without_code(name):
    return re.sub(r"^```.*?^```$", "", read(name), flags=re.DOTALL | re.MULTILINE)


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
