"""python -m makemore"""
import sys

from makemore.makemore import main

sys.exit(main(sys.argv[1:]))
