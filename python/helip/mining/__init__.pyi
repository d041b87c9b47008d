from .engines.parts import merge
from .gpu.proof import prove_gpu
from .miner import mine
from .options import (
    GraphOptions,
    JobOptions,
    MachineOptions,
    MineOptions,
    PairRules,
    ScoreRules,
    StageOptions,
    StreamOptions,
)
from .pair_index import PairIndex
from .planning import Plan, plan
from .streaming import StreamingMiner
from .updating import update

__all__ = [
    "GraphOptions",
    "JobOptions",
    "MachineOptions",
    "MineOptions",
    "PairIndex",
    "PairRules",
    "Plan",
    "ScoreRules",
    "StageOptions",
    "StreamOptions",
    "StreamingMiner",
    "merge",
    "mine",
    "plan",
    "prove_gpu",
    "update",
]
