from .engines.parts import merge
from .miner import Plan, mine, plan
from .pair_index import PairIndex
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
