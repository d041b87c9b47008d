from ._core import __version__
from .common import (
    CancelledError,
    CorruptError,
    Error,
    InvalidArgumentError,
    MismatchError,
    OutOfMemoryError,
    SampleError,
    StorageError,
    UnsupportedError,
    copy,
)
from .curation import Curation, curate
from .data import ImageTransform, SampleIndex, open_dataset, pack
from .diagnosis import diagnose
from .encoders import embed
from .evaluation import (
    Guard,
    Validation,
    compare,
    evaluate,
    evaluate_all,
    forgetting,
    open_evaluation_set,
)
from .integrations import push_to_hub
from .loading import BatchPlan, BatchSampler, HardnessSchedule, HardPairLoader, plan_batches
from .losses import HelipLoss
from .mining import PairIndex, StreamingMiner, merge, mine, plan, update
from .models import ModelBundle, create_model, export, interpolate
from .pairs import HardNegatives, HardPairs, HardPairsPart, SoftLabels, label_pairs, reshard
from .reporting import plot, report
from .store import EmbeddingStore, guard_mapped_files
from .training import Recipe, Trainer, plan_training, recipes, train
from .verdicts import Verdicts

__all__ = [
    "BatchPlan",
    "BatchSampler",
    "CancelledError",
    "CorruptError",
    "Curation",
    "EmbeddingStore",
    "Error",
    "Guard",
    "HardNegatives",
    "HardPairLoader",
    "HardPairs",
    "HardPairsPart",
    "HardnessSchedule",
    "HelipLoss",
    "ImageTransform",
    "InvalidArgumentError",
    "MismatchError",
    "ModelBundle",
    "OutOfMemoryError",
    "PairIndex",
    "Recipe",
    "SampleError",
    "SampleIndex",
    "SoftLabels",
    "StorageError",
    "StreamingMiner",
    "Trainer",
    "UnsupportedError",
    "Validation",
    "Verdicts",
    "__version__",
    "cmake_prefix_path",
    "compare",
    "copy",
    "create_model",
    "curate",
    "diagnose",
    "embed",
    "evaluate",
    "evaluate_all",
    "export",
    "forgetting",
    "guard_mapped_files",
    "interpolate",
    "label_pairs",
    "merge",
    "mine",
    "open_dataset",
    "open_evaluation_set",
    "pack",
    "plan",
    "plan_batches",
    "plan_training",
    "plot",
    "push_to_hub",
    "recipes",
    "report",
    "reshard",
    "train",
    "update",
]

cmake_prefix_path: str
