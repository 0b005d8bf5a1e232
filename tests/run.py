"""All tests, in as many processes as there are cores: python tests/run.py

They are the tests of `python -m pytest`, in half the time on two cores.
"""
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# Files that share a process. The slowest come first, so that no core waits at the end.
GROUPS = [["makemore"], ["gpt_cli", "gpt", "ledger"], ["exercises"], ["notebook", "readme"], []]


def run(files):
    """Run the tests of some files, print what pytest says when they are done; return its exit status."""
    command = [sys.executable, "-m", "pytest", "-q", *(f"tests/{file}" for file in files)]
    result = subprocess.run(command, check=False, cwd=FOLDER.parent,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(f"{' '.join(files)}\n{result.stdout.decode(errors='replace')}", flush=True)
    return result.returncode


if __name__ == "__main__":
    groups = [[f"test_{name}.py" for name in names] for names in GROUPS]
    groups[-1] = sorted({path.name for path in FOLDER.glob("test_*.py")}.difference(*groups))  # all others
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failed = [" ".join(files) for files, status in zip(groups, pool.map(run, groups)) if status]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
