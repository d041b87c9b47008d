"""helip: make a trained CLIP or SLIP model better on the data it already has (arXiv 2305.05208).

Names are loaded when they are first used: ``import helip`` imports no torch.
"""

import logging
from pathlib import Path

import lazy_loader

# Records go where the program sends them, and nowhere while it has said nothing.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["cmake_prefix_path"]

#: Add it to CMAKE_PREFIX_PATH; find_package(helip) then gives helip::helip and helip::data.
cmake_prefix_path = str(Path(__file__).resolve().parent)
