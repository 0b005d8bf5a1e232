"""`python -m micrograd` runs the demo of micrograd.py."""

from micrograd.micrograd import main

main()
