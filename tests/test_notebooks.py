"""The notebooks of the lectures, as they are committed.

Every notebook is run in a process of its own without Jupyter, in its own folder, with few training steps: a
line such as `steps = 1000` or `more_steps = 5_000` becomes `steps = 2`. Whoever changes a notebook stores its
outputs with `python tests/execute_notebooks.py`.
"""
import json
import re
from pathlib import Path

import pytest
from forked import run_python

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(ROOT.glob("*/lecture_*.ipynb"))
STEPS = re.compile(r"^([ \t]*(?:\w+_)?steps = )[\d_]+(?=[ \t]*(?:#.*)?$)", re.MULTILINE)

# Runs the cells on stdin in one namespace. Prints what each cell shows, in the terms of a notebook file:
# "stream" for printed text, "execute_result" for the value of its last line, "display_data" for a picture.
# IPython cannot be imported, since the notebooks have to run without it.
KERNEL = r'''
import ast, contextlib, io, json, sys, traceback

sys.modules["IPython"] = None
import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("agg")
displayed = []
names = {"__name__": "__main__", "display": lambda *values: displayed.extend(values)}

def run(cell):
    body = ast.parse(cell).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    if last is None:
        return None
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return None if cell.rstrip().endswith(";") else value

cells = []
for cell in json.load(sys.stdin):
    displayed.clear()
    shown, error = [], None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            if run(cell) is not None:
                shown.append("execute_result")
        except BaseException:
            error = traceback.format_exc()
    if printed.getvalue().strip():
        shown.append("stream")
    if displayed or plt.get_fignums():
        shown.append("display_data")
    plt.close("all")
    cells.append({"shown": shown, "error": error})
    if error:
        break
print(json.dumps(cells))
'''


def name_of(path):
    return str(path.relative_to(ROOT))


def code_cells(path):
    """The code cells of a notebook; the source of each is a string."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells if cell["cell_type"] == "code"]


def test_there_is_a_notebook_for_each_lecture():
    assert sorted(path.stem for path in NOTEBOOKS) == [f"lecture_{number}" for number in range(1, 8)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_every_cell_runs_and_shows_something_where_its_stored_output_does(path):
    cells = code_cells(path)
    sources = [STEPS.sub(r"\g<1>2", cell["source"]) for cell in cells]
    finished = run_python("-c", KERNEL, input=json.dumps(sources), cwd=path.parent)
    assert finished.returncode == 0, finished.stderr
    for number, (cell, result) in enumerate(zip(cells, json.loads(finished.stdout)), start=1):
        assert result["error"] is None, f"cell [{number}]\n{cell['source']}\n\n{result['error']}"
        stored = {output["output_type"] for output in cell["outputs"]}
        missing = stored - set(result["shown"])
        assert not missing, f"cell [{number}] shows no {', '.join(missing)} any more\n{cell['source']}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_the_stored_outputs_are_those_of_one_run_from_top_to_bottom(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell["outputs"] for cell in cells)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [output for output in outputs if output["output_type"] == "error"] == []
    assert [output for output in outputs if output.get("name") == "stderr"] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_is_small_enough_to_be_shown_on_a_page(path):
    assert path.stat().st_size <= 700_000
