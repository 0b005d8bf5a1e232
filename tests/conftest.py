"""One thread for all tests and their processes: with models this small, more threads wait for one another.
And pictures of a low resolution, since the tests draw hundreds."""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, which comes after this
os.environ["MATPLOTLIBRC"] = str(Path(__file__).resolve().parent / "matplotlibrc")
