"""All tests, file by file, in as many processes as there are cores: python tests/run.py

They are the tests of `python -m pytest`, in half the time on two cores.
"""
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SLOW = "test_makemore.py", "test_gpt_cli.py", "test_exercises.py"  # first, so that no core waits at the end


def run(path):
    """Run the tests of a file, print what pytest says when they are done; return its exit status."""
    command = [sys.executable, "-m", "pytest", "-q", str(path)]
    result = subprocess.run(command, check=False, cwd=FOLDER.parent,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(f"{path.name}\n{result.stdout.decode(errors='replace')}", flush=True)
    return result.returncode


if __name__ == "__main__":
    files = sorted(FOLDER.glob("test_*.py"), key=lambda path: (path.name not in SLOW, path.name))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failed = [path.name for path, status in zip(files, pool.map(run, files)) if status]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
