from .batch_plan import BatchPlan, PlannedRows, plan_batches
from .batch_sampler import BatchSampler
from .loader import HardPairLoader
from .options import BatchOptions, HardnessSchedule, PairOptions, ReadOptions
from .pair_source import PairSource
from .views import TwoViews

__all__ = [
    "BatchOptions",
    "BatchPlan",
    "BatchSampler",
    "HardPairLoader",
    "HardnessSchedule",
    "PairOptions",
    "PairSource",
    "PlannedRows",
    "ReadOptions",
    "TwoViews",
    "plan_batches",
]
