"""micrograd: `import micrograd`, or the names of PyPI's package: micrograd.engine and micrograd.nn."""

import sys

from micrograd import micrograd as engine
from micrograd.micrograd import *

nn = engine
sys.modules["micrograd.engine"] = sys.modules["micrograd.nn"] = engine
