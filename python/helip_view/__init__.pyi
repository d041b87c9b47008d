from .learnt_veto import LearntVeto, Measured, Proposal, propose
from .options import StudyOptions
from .study import Study
from .study_making import make_study
from .study_questions import Answer, Question
from .study_report import report_study

__all__ = [
    "Answer",
    "LearntVeto",
    "Measured",
    "Proposal",
    "Question",
    "Study",
    "StudyOptions",
    "make_study",
    "propose",
    "report_study",
]
