"""One thread for all tests and their processes: with models this small, more threads wait for one another."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, which comes after this
