from .exclusions import Exclusions
from .exporting import export_verdicts
from .merging import Moved, merge, move
from .verdicts import EXCLUDING, VERDICTS, Decision, GivenVerdict, Verdicts

__all__ = [
    "EXCLUDING",
    "VERDICTS",
    "Decision",
    "Exclusions",
    "GivenVerdict",
    "Moved",
    "Verdicts",
    "export_verdicts",
    "merge",
    "move",
]
