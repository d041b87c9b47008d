from .curating import curate
from .options import CurateOptions
from .result import Curation

__all__ = ["CurateOptions", "Curation", "curate"]
