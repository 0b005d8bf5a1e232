"""All tests, in as many processes as there are cores: python tests/run.py

They are the tests of `python -m pytest`, in half the time on two cores. A dot is a test that passed, F one
that failed. Each file prints a line when it is done; the reports of those that failed come at the end.
"""
import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

import conftest  # noqa: F401 (before torch: it sets the number of threads)
import forked  # noqa: F401 (imports torch; the processes below are forked from this one)
import pytest

# Started first, so that no core is idle at the end.
SLOWEST = ["makemore", "notebooks", "gpt_cli", "exercises", "readme"]


class Dots:
    """Print the result of each test at once. `stdout`: where to, since pytest itself prints into a report."""

    def __init__(self, stdout):
        self.stdout = stdout

    def pytest_runtest_logreport(self, report):
        if report.failed:
            os.write(self.stdout, b"F")
        elif report.skipped:
            os.write(self.stdout, b"s")
        elif report.when == "call":
            os.write(self.stdout, b".")


def files():
    """The files with tests, the slowest first."""
    names = {path.stem.removeprefix("test_") for path in FOLDER.glob("test_*.py")}
    return [*SLOWEST, *sorted(names.difference(SLOWEST))]


def start(name, report):
    """Run the tests of a file in a process of its own, which prints into `report`; returns its id."""
    child = os.fork()
    if child == 0:
        dots = Dots(os.dup(1))
        os.dup2(report.fileno(), 1)
        os.dup2(report.fileno(), 2)
        status = 1
        try:
            status = pytest.main([str(FOLDER / f"test_{name}.py"), "-q"], plugins=[dots])
            sys.stdout.flush()
        finally:
            os._exit(status)
    return child


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()  # for --help; there are no other arguments
    print("running all tests; this takes some minutes", flush=True)
    os.chdir(FOLDER.parent)
    waiting = files()
    running = {}  # process: (name, report, when it started)
    failed = []  # reports
    while waiting or running:
        while waiting and len(running) < os.cpu_count():
            name = waiting.pop(0)
            report = tempfile.TemporaryFile("w+")
            running[start(name, report)] = (name, report, time.monotonic())
        child, status = os.wait()
        name, report, started = running.pop(child)
        report.seek(0)
        lines = report.read().splitlines() or ["nothing was printed"]
        print(f"\n{name}: {lines[-1]} ({time.monotonic() - started:.0f} s)", flush=True)
        if status:
            failed.append("\n".join(lines))
    for text in failed:
        print(text)
    print("some tests failed" if failed else "all tests passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
