from .engines.parts import merge
from .miner import mine
from .pair_index import PairIndex
from .planning import Plan, plan
from .streaming import StreamingMiner
from .updating import update

__all__ = [
    "PairIndex",
    "Plan",
    "StreamingMiner",
    "merge",
    "mine",
    "plan",
    "update",
]
