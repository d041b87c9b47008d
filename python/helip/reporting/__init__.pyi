from .options import PlotOptions, ReportOptions
from .page import report
from .plots.drawing import plot
from .plots.gains import plot_gains
from .plots.hard_map import plot_map
from .plots.hubness import hard_pair_counts, plot_hubness
from .plots.recall import plot_recall, read_recall
from .plots.scores import plot_scores
from .plots.study import plot_study
from .plots.validation import plot_validation
from .study.making import make_study
from .study.options import StudyOptions
from .study.questions import Answer, Question
from .study.report import report_study
from .study.study import Study

__all__ = [
    "Answer",
    "PlotOptions",
    "Question",
    "ReportOptions",
    "Study",
    "StudyOptions",
    "hard_pair_counts",
    "make_study",
    "plot",
    "plot_gains",
    "plot_hubness",
    "plot_map",
    "plot_recall",
    "plot_scores",
    "plot_study",
    "plot_validation",
    "read_recall",
    "report",
    "report_study",
]
