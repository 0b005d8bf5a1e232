"""All tests, in as many processes as there are cores: python tests/run.py

They are the tests of `python -m pytest`, in half the time on two cores. A dot is a test that passed, F one that
failed. Each group of files prints a line when it is done; the reports of those that failed come at the end.
"""
import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# Files that share a process. The slowest come first, so that no core waits at the end.
GROUPS = [
    ["makemore"],
    ["gpt_cli", "gpt", "mixture", "ledger"],
    ["notebooks", "exercises"],
]
RESULT = re.compile(r"^tests/\S+::.* (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) +\[ *\d+%\]$")


def all_groups():
    """The files of each group, and one more group for the files that GROUPS does not name."""
    names = {path.stem.removeprefix("test_") for path in FOLDER.glob("test_*.py")}
    named = [name for group in GROUPS for name in group]
    return [*GROUPS, sorted(names.difference(named))]


def run(group):
    """Run the tests of some files; print a dot for each, and a line at the end. Returns the report of a failure,
    or "" if all of them passed."""
    start = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-v", *(f"tests/test_{name}.py" for name in group)]
    report = []
    with subprocess.Popen(command, cwd=FOLDER.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          encoding="utf-8", errors="replace") as process:
        for line in process.stdout:
            result = RESULT.match(line)
            if result is None:
                report.append(line)
            else:
                print("." if result[1] == "PASSED" else result[1][0], end="", flush=True)
    summary = report[-1].strip("= \n") if report else "nothing was printed"
    print(f"\n{' '.join(group)}: {summary} ({time.monotonic() - start:.0f} s)", flush=True)
    return "".join(report) if process.returncode else ""


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # for --help; there are no other arguments
    print("running all tests; this takes some minutes", flush=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reports = [report for report in pool.map(run, all_groups()) if report]
    for report in reports:
        print(report)
    print("some tests failed" if reports else "all tests passed")
    sys.exit(bool(reports))
