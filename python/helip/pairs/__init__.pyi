from .growing_pairs import GrowingPairs, Pools
from .hard_pairs import HardPairs
from .hard_pairs_part import HardPairsPart
from .options import ReshardOptions
from .resharding.rewriting import Resharded, reshard

__all__ = [
    "GrowingPairs",
    "HardPairs",
    "HardPairsPart",
    "Pools",
    "ReshardOptions",
    "Resharded",
    "reshard",
]
