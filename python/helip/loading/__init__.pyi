from .loader import HardPairLoader
from .options import BatchOptions, HardnessSchedule, PairOptions, ReadOptions
from .pair_source import PairSource
from .views import TwoViews

__all__ = [
    "BatchOptions",
    "HardPairLoader",
    "HardnessSchedule",
    "PairOptions",
    "PairSource",
    "ReadOptions",
    "TwoViews",
]
