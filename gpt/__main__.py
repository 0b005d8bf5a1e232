"""python -m gpt"""
import sys

from gpt.gpt import main

sys.exit(main())
