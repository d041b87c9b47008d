from .checkpoints import Checkpoint, newest_checkpoint
from .fine_tuning import train
from .metrics import read_metrics
from .named_recipes import NamedRecipe, Setting, recipes
from .optimizing.weight_average import WeightAverage
from .options import RunOptions
from .plan import TrainingPlan, plan_training
from .recipe import Recipe
from .result import BatchLoader, NonFiniteLossError, StepHook, TrainResult
from .trainer import Trainer

__all__ = [
    "BatchLoader",
    "Checkpoint",
    "NamedRecipe",
    "NonFiniteLossError",
    "Recipe",
    "RunOptions",
    "Setting",
    "StepHook",
    "TrainResult",
    "Trainer",
    "TrainingPlan",
    "WeightAverage",
    "newest_checkpoint",
    "plan_training",
    "read_metrics",
    "recipes",
    "train",
]
