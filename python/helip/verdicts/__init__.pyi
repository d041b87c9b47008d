from .exclusions import Exclusions
from .exporting import export_verdicts
from .judgement import VERDICTS, Decision, Judgement
from .learnt_veto import LearntVeto, Measured
from .merging import merge
from .moving import Moved, move
from .proposing import Proposal, propose
from .verdicts import Verdicts

__all__ = [
    "VERDICTS",
    "Decision",
    "Exclusions",
    "Judgement",
    "LearntVeto",
    "Measured",
    "Moved",
    "Proposal",
    "Verdicts",
    "export_verdicts",
    "merge",
    "move",
    "propose",
]
