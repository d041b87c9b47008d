from .clip_benchmark import load_helip
from .open_clip import HardPairSource, OpenClipLoss
from .open_clip_program import HardPairOptions, hard_pair_training

__all__ = [
    "HardPairOptions",
    "HardPairSource",
    "OpenClipLoss",
    "hard_pair_training",
    "load_helip",
]
