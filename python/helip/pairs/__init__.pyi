from .blocks import Pools
from .growing_pairs import GrowingPairs
from .hard_pairs import HardPairs
from .hard_pairs_part import HardPairsPart
from .options import FilterOptions, FilterRules, JoinOptions, ReshardOptions
from .resharding.rewriting import Resharded, reshard
from .target_pool import TargetPool

__all__ = [
    "FilterOptions",
    "FilterRules",
    "GrowingPairs",
    "HardPairs",
    "HardPairsPart",
    "JoinOptions",
    "Pools",
    "ReshardOptions",
    "Resharded",
    "TargetPool",
    "reshard",
]
