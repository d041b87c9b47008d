from .diagnosing import diagnose
from .features import FeatureMeasures, WindowAccuracy, measure_features
from .gain import ExpectedGain, expected_gain
from .options import DiagnoseOptions
from .planned import planned_batches
from .result import Diagnosis
from .suggestions import Suggestion
from .table import Hubs, TableMeasures, measure_table
from .windows import WindowMeasures, measure_windows

__all__ = [
    "DiagnoseOptions",
    "Diagnosis",
    "ExpectedGain",
    "FeatureMeasures",
    "Hubs",
    "Suggestion",
    "TableMeasures",
    "WindowAccuracy",
    "WindowMeasures",
    "diagnose",
    "expected_gain",
    "measure_features",
    "measure_table",
    "measure_windows",
    "planned_batches",
]
