"""Makes `import gpt` work from the project's root and when installed; all there is stands in gpt.py."""

from gpt.gpt import *
