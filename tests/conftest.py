"""One thread for all tests and their processes: with models this small, more threads wait for one another.
And pictures of a low resolution, since the tests draw hundreds."""

import io
import os
import signal
import sys
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, which comes after this
sys.path.insert(0, str(Path(__file__).resolve().parent))  # for forked, ledger and solutions
os.environ["MATPLOTLIBRC"] = str(Path(__file__).resolve().parent / "matplotlibrc")


class Terminal(io.StringIO):
    """A standard output that is a terminal. Ctrl-C is pressed while the live line is written."""

    def isatty(self):
        return True

    def write(self, text):
        if "batch " in text:
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


@pytest.fixture
def terminal():
    return Terminal()
