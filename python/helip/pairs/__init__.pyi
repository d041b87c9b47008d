from .growing_pairs import GrowingPairs, Pools
from .hard_pairs import HardPairs
from .hard_pairs_part import HardPairsPart
from .options import FilterOptions, FilterRules, ReshardOptions
from .resharding.rewriting import Resharded, reshard
from .target_pool import TargetPool

__all__ = [
    "FilterOptions",
    "FilterRules",
    "GrowingPairs",
    "HardPairs",
    "HardPairsPart",
    "Pools",
    "ReshardOptions",
    "Resharded",
    "TargetPool",
    "reshard",
]
