"""Run the notebooks of the lectures in Jupyter's kernel and store their outputs.

    python tests/execute_notebooks.py                              all of them
    python tests/execute_notebooks.py makemore/lecture_2.ipynb     one of them

A notebook in which a cell fails stays as it was.
"""
import re
import sys
import time
from pathlib import Path

try:
    import ipykernel  # noqa: F401 (the kernel that runs the cells)
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
except ImportError as error:
    print(f"execute_notebooks: {error.name} is missing; install it with pip install -e '.[notebooks]'",
          file=sys.stderr)
    sys.exit(2)

ROOT = Path(__file__).resolve().parent.parent
# What is different on every machine or in every run: absolute paths, addresses of objects.
PATHS = r"(?<![\w.:/])/(?:home|root|tmp|usr|opt|work|content|Users)/\S*|\b[A-Z]:\\\S*"
VOLATILE = re.compile(PATHS + r"|\b0x[0-9a-f]{6,}")


def texts(output):
    """All texts of an output, pictures left out."""
    if output.output_type == "stream":
        return [output.text]
    return [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]


def execute(path):
    """Run a notebook in its own folder, then write it back."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, kernel_name="python3", startup_timeout=600, timeout=None, record_timing=False,
        coalesce_streams=True, extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}})
    client.execute()
    # Only what every program needs to open the notebook: versions and timestamps would change at every run.
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            for text in texts(output):
                if found := VOLATILE.search(text):
                    raise ValueError(f"an output of cell [{cell.execution_count}] has {found[0]} in it")
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def main(arguments):
    """Execute the notebooks that are named, or all; returns the exit status."""
    failed = False
    for path in [Path(name).resolve() for name in arguments] or sorted(ROOT.glob("*/lecture_*.ipynb")):
        start = time.perf_counter()
        try:
            execute(path)
        except (CellExecutionError, OSError, RuntimeError, ValueError) as error:
            failed = True
            print(f"{path.name}: {error}", file=sys.stderr)
        else:
            print(f"{path.name}: {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1000:.0f} KB",
                  flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
