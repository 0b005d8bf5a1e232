"""Makes `import gpt` work from the project's root and when installed; all the code is in gpt.py."""

from gpt.gpt import *
