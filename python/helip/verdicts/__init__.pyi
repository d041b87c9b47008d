from .exclusions import Exclusions
from .exporting import export_verdicts
from .judgement import VERDICTS, Decision, Judgement
from .learnt_veto import LearntVeto, Measured
from .merging import merge
from .proposing import Proposal, propose
from .verdicts import Verdicts

__all__ = [
    "VERDICTS",
    "Decision",
    "Exclusions",
    "Judgement",
    "LearntVeto",
    "Measured",
    "Proposal",
    "Verdicts",
    "export_verdicts",
    "merge",
    "propose",
]
