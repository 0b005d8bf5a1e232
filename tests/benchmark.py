"""Measure what the README says: `python tests/benchmark.py NAME`, micrograd, makemore, gpt or exercises.

`gpt --ledger` and `makemore --ledger` measure every departure and every line to try, see
tests/ledger.py. `--help` after a name shows what else it can measure.

Figures of speed and memory, never asserted: they belong to a machine. Leave the machine alone while it runs.
"""
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    names = ("micrograd", "makemore", "gpt", "exercises")
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"usage: python tests/benchmark.py {{{','.join(names)}}} [its arguments]")
    script = Path(__file__).parent / f"benchmark_{sys.argv.pop(1)}.py"
    sys.argv[0] = str(script)
    runpy.run_path(str(script), run_name="__main__")
