"""Makes `import makemore` work from the project's root and when installed; all the code is in makemore.py."""

from makemore.makemore import *
