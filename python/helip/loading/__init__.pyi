from .hardness_schedule import HardnessSchedule
from .loader import HardPairLoader
from .views import TwoViews

__all__ = [
    "HardPairLoader",
    "HardnessSchedule",
    "TwoViews",
]
