"""makemore and gpt in a notebook.

A fresh process stands in for its kernel, so that nothing else is installed. What a kernel has and a terminal
has not: cells that share their names, the last expression of a cell is echoed, stdout is an object without a
file descriptor and without `reconfigure`, Ctrl-C is a signal that the kernel gets while a cell runs, and
matplotlib draws with the backend that the notebook chose.
"""
import json
import re
from pathlib import Path

import pytest

from forked import run_python

ROOT = Path(__file__).resolve().parent.parent

KERNEL = r'''
import ast, builtins, io, json, os, signal, sys

class OutStream(io.TextIOBase):
    """As in ipykernel.

    A write that has `press_at` in it is the moment at which the user interrupts the kernel.
    """
    encoding, text, press_at = "UTF-8", "", None

    def write(self, text):
        self.text += text
        if self.press_at and self.press_at in text:
            self.press_at = None
            os.kill(os.getpid(), signal.SIGINT)
        return len(text)

def run(cell, names):
    """What a cell prints, what it echoes, and the exception that ends it."""
    sys.stdout, sys.stderr = OutStream(), OutStream()
    body, echo, error = ast.parse(cell).body, None, None
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    try:
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        value = last and eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        echo = None if value is None else repr(value)
    except BaseException as exception:
        error = f"{type(exception).__name__}: {exception}"
    return {"printed": sys.stdout.text, "errors": sys.stderr.text, "echo": echo, "error": error}

names = {"__name__": "__main__"}
sys.argv = ["ipykernel_launcher.py", "-f", "kernel.json"]
builtins.__IPYTHON__ = True
shown = {name: run(cell, names) for name, cell in json.load(sys.stdin).items()}
json.dump(shown, sys.__stdout__)
'''

CELLS = {
    "setup": """
import random, sys
import matplotlib, matplotlib.pyplot as plt
matplotlib.use("svg")
import makemore, gpt
words = sorted({"".join(random.Random(i).choices("abcde", k=1 + i % 7)) for i in range(60)})
text = "the cat sat on the mat and the dog ran to the man\\n" * 40
small = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4}
""",
    "a plot": "plt.plot([1, 2]); matplotlib.get_backend(), plt.get_fignums()",
    "makemore trains":
        'makemore.train(words, makemore.configure("mlp", max_steps=99, batch_size=8), "out/mlp")',
    "gpt trains": 'gpt.train(text, gpt.configure("cpu", max_steps=20, **small), "out/gpt", max_new_tokens=5)',
    "the plot": "matplotlib.get_backend(), plt.get_fignums()",
    "makemore is interrupted": """
sys.stdout.press_at = "step   100/200"
makemore.train(words, makemore.configure("mlp", max_steps=200, batch_size=8), "out/mlp 2")
""",
    "gpt is interrupted": """
sys.stdout.press_at = "step   100/150"
gpt.train(text, gpt.configure("cpu", max_steps=150, **small), "out/gpt 2", max_new_tokens=5)
""",
    "makemore needs its words": 'makemore.resume("out/mlp 2")',
    "makemore goes on": 'makemore.resume("out/mlp 2", words=words).results["run"].step',
    "gpt needs its text": 'gpt.resume("out/gpt 2")',
    "gpt goes on": 'gpt.resume("out/gpt 2", text=text, max_new_tokens=5).results["run"].step',
    "makemore as a command": 'makemore.main(["--sample-only", "-o", "out/mlp", "--num-samples", "3"])',
    "gpt as a command": 'gpt.main(["--sample-only", "-o", "out/gpt", "--max-new-tokens", "3"])',
    "makemore as a command without arguments": """
open("names.txt", "w").close()
makemore.main()
""",
    "makemore's help": 'makemore.main(["-h"])',
    "gpt's help": 'gpt.main(["-h"])',
    "a wrong command": 'makemore.main(["--sample-only", "-o", "nowhere"])',
}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """All cells, run one after the other in one kernel; {name: what the notebook shows below the cell}."""
    finished = run_python("-c", KERNEL, input=json.dumps(CELLS), cwd=tmp_path_factory.mktemp("notebook"))
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_training_with_its_pictures_leaves_the_backend_and_the_open_figures_alone(notebook):
    assert notebook["a plot"]["echo"] == "('svg', [1])"
    for name in ("makemore trains", "gpt trains"):
        assert "loss.png" in notebook[name]["printed"]
    assert notebook["the plot"]["echo"] == "('svg', [1])"


@pytest.mark.parametrize("name", ["makemore trains", "gpt trains"])
def test_the_result_of_a_run_is_echoed_as_one_short_line(name, notebook):
    assert re.fullmatch(r"<MLP: test \d\.\d+>|<GPT: validation \d\.\d+>", notebook[name]["echo"])


def test_no_cell_shows_the_live_line(notebook):
    assert [name for name, shown in notebook.items() if "\r" in shown["printed"]] == []


@pytest.mark.parametrize("program", ["makemore", "gpt"])
def test_an_interrupted_run_says_how_to_go_on_from_python(program, notebook):
    shown = notebook[f"{program} is interrupted"]
    assert shown["error"].startswith("KeyboardInterrupt")
    assert re.search(r"stopped after step \d+; .*in Python: "
                     rf"{program}\.resume\('out/.* 2'\)", shown["printed"])


@pytest.mark.parametrize("program, given, steps", [("makemore", "words=", "200"), ("gpt", "text=", "150")])
def test_a_run_that_came_from_no_file_goes_on_with_its_data_given_again(program, given, steps, notebook):
    needs = next(notebook[name] for name in notebook if name.startswith(f"{program} needs"))
    assert needs["error"].startswith("UserError") and given in needs["error"]
    goes_on = notebook[f"{program} goes on"]
    assert "resuming at step 100\n" in goes_on["printed"] or "resuming at step 101\n" in goes_on["printed"]
    assert (goes_on["error"], goes_on["echo"]) == (None, steps)


@pytest.mark.parametrize("name", [
    "makemore as a command", "gpt as a command", "makemore's help", "gpt's help",
])
def test_main_returns_none_on_success_and_for_help(name, notebook):
    shown = notebook[name]
    assert (shown["error"], shown["echo"], shown["errors"]) == (None, None, "")
    assert shown["printed"]


def test_main_returns_the_status_of_a_fault_instead_of_ending_the_kernel(notebook):
    shown = notebook["a wrong command"]
    assert (shown["error"], shown["echo"]) == (None, "2")
    assert re.fullmatch("makemore: nowhere/model.pt does not exist[^\n]+\n", shown["errors"])


def test_main_without_arguments_does_not_read_those_of_the_kernel(notebook):
    shown = notebook["makemore as a command without arguments"]
    assert (shown["error"], shown["echo"]) == (None, "2")
    assert shown["errors"] == "makemore: names.txt is empty or blank\n"
