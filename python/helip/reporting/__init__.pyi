from .options import PlotOptions, ReportOptions
from .page import report
from .pictures import Picture
from .plots.drawing import plot, save_figure
from .plots.hard_map import plot_map
from .plots.result_plots import (
    plot_curves,
    plot_gains,
    plot_recall,
    plot_study,
    plot_validation,
    read_recall,
)
from .plots.table_plots import hard_pair_counts, plot_hubness, plot_scores
from .rendering import environment, render
from .similarities import (
    Card,
    Similarities,
    Strip,
    Target,
    pool_of,
    read_scores,
    targets_of,
)

__all__ = [
    "Card",
    "Picture",
    "PlotOptions",
    "ReportOptions",
    "Similarities",
    "Strip",
    "Target",
    "environment",
    "hard_pair_counts",
    "plot",
    "plot_curves",
    "plot_gains",
    "plot_hubness",
    "plot_map",
    "plot_recall",
    "plot_scores",
    "plot_study",
    "plot_validation",
    "pool_of",
    "read_recall",
    "read_scores",
    "render",
    "report",
    "save_figure",
    "targets_of",
]
