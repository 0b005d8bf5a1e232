"""Makes `import makemore` work from the project's root and when installed; all there is stands in makemore.py."""

from makemore.makemore import *
