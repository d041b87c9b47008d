"""helip: make a trained CLIP or SLIP model better on the data it already has (arXiv 2305.05208)."""

from __future__ import annotations

from pathlib import Path

from helip._core import __version__
from helip.data import open_dataset
from helip.embed import embed
from helip.errors import Error
from helip.evaluate import compare, evaluate, open_evaluation_set
from helip.evaluate_forgetting import evaluate_forgetting, forgetting
from helip.evaluate_suite import evaluate_all
from helip.loader import HardPairLoader
from helip.loader_schedule import HardnessSchedule
from helip.loss import HelipLoss
from helip.mine import mine, plan
from helip.mine_parts import merge
from helip.models_export import export
from helip.models_interpolate import interpolate
from helip.pair_index import PairIndex
from helip.pairs import HardPairs
from helip.pairs_part import HardPairsPart
from helip.report import report
from helip.reshard import reshard
from helip.sample_index import SampleIndex
from helip.store import EmbeddingStore
from helip.streaming import StreamingMiner
from helip.trainer import Trainer, train
from helip.transform import ImageTransform
from helip.update import update

__all__ = [
    "EmbeddingStore",
    "Error",
    "HardPairLoader",
    "HardPairs",
    "HardPairsPart",
    "HardnessSchedule",
    "HelipLoss",
    "ImageTransform",
    "PairIndex",
    "SampleIndex",
    "StreamingMiner",
    "Trainer",
    "__version__",
    "cmake_prefix_path",
    "compare",
    "embed",
    "evaluate",
    "evaluate_all",
    "evaluate_forgetting",
    "export",
    "forgetting",
    "interpolate",
    "merge",
    "mine",
    "open_dataset",
    "open_evaluation_set",
    "plan",
    "report",
    "reshard",
    "train",
    "update",
]

#: Add it to CMAKE_PREFIX_PATH; then find_package(helip) gives the target helip::helip.
cmake_prefix_path = str(Path(__file__).resolve().parent)
