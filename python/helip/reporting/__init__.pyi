from .options import PlotOptions, ReportOptions
from .page import report
from .plots.drawing import plot
from .plots.gains import plot_gains
from .plots.hard_map import plot_map
from .plots.hubness import hard_pair_counts, plot_hubness
from .plots.recall import plot_recall, read_recall
from .plots.scores import plot_scores
from .plots.validation import plot_validation

__all__ = [
    "PlotOptions",
    "ReportOptions",
    "hard_pair_counts",
    "plot",
    "plot_gains",
    "plot_hubness",
    "plot_map",
    "plot_recall",
    "plot_scores",
    "plot_validation",
    "read_recall",
    "report",
]
