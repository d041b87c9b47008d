from .clip_benchmark import load_helip
from .fiftyone import to_fiftyone
from .mteb import MtebEncoder
from .open_clip import HardPairSource, OpenClipLoss
from .open_clip_program import HardPairOptions, hard_pair_training
from .pushing import push_to_hub

__all__ = [
    "HardPairOptions",
    "HardPairSource",
    "MtebEncoder",
    "OpenClipLoss",
    "hard_pair_training",
    "load_helip",
    "push_to_hub",
    "to_fiftyone",
]
