from .decisions import VERDICTS, Decision, Judgement
from .exclusions import Exclusions
from .exporting import export_verdicts
from .learnt_veto import LearntVeto, Measured
from .merging import Moved, merge, move
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
