from .blocks import Pools
from .filter_rules import PairRule, PairVeto
from .growing_pairs import GrowingPairs
from .hard_negatives import HardNegatives
from .hard_pairs import HardPairs
from .hard_pairs_part import HardPairsPart
from .opening import open_together
from .options import FilterOptions, FilterRules, JoinOptions, ReshardOptions, SoftLabelOptions
from .picture_pairs import best_captions
from .resharding import Resharded, reshard
from .soft_labels import SoftLabels, label_pairs
from .target_pool import TargetPool
from .unreadable import unreadable_rows

__all__ = [
    "FilterOptions",
    "FilterRules",
    "GrowingPairs",
    "HardNegatives",
    "HardPairs",
    "HardPairsPart",
    "JoinOptions",
    "PairRule",
    "PairVeto",
    "Pools",
    "ReshardOptions",
    "Resharded",
    "SoftLabelOptions",
    "SoftLabels",
    "TargetPool",
    "best_captions",
    "label_pairs",
    "open_together",
    "reshard",
    "unreadable_rows",
]
