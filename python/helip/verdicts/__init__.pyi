from .exclusions import Exclusions
from .exporting import export_verdicts
from .judgement import EXCLUDING, VERDICTS, Decision, Judgement
from .merging import merge
from .moving import Moved, move
from .verdicts import Verdicts

__all__ = [
    "EXCLUDING",
    "VERDICTS",
    "Decision",
    "Exclusions",
    "Judgement",
    "Moved",
    "Verdicts",
    "export_verdicts",
    "merge",
    "move",
]
