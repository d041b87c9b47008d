from .judgement import VERDICTS, Decision, Judgement
from .verdicts import Verdicts

__all__ = ["VERDICTS", "Decision", "Judgement", "Verdicts"]
