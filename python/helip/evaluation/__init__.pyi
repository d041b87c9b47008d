from .evaluating import Validation, evaluate
from .model_features import ModelFeatures
from .options import ClassOptions, EvaluateOptions, SetOptions
from .sets.evaluation_set import EvaluationSet
from .sets.opening import open_evaluation_set
from .statistics.comparison import compare
from .statistics.forgetting import Guard, forgetting, retention
from .statistics.intervals import intervals, trials_of, wilson_interval
from .suite import evaluate_all, results_as_markdown
from .tasks.composition import composition
from .tasks.linear_probe import linear_probe
from .tasks.retrieval import retrieval
from .tasks.zero_shot import zero_shot

__all__ = [
    "ClassOptions",
    "EvaluateOptions",
    "EvaluationSet",
    "Guard",
    "ModelFeatures",
    "SetOptions",
    "Validation",
    "compare",
    "composition",
    "evaluate",
    "evaluate_all",
    "forgetting",
    "intervals",
    "linear_probe",
    "open_evaluation_set",
    "results_as_markdown",
    "retention",
    "retrieval",
    "trials_of",
    "wilson_interval",
    "zero_shot",
]
