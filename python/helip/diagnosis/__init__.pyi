from .advice import ExpectedGain, Suggestion, expected_gain
from .diagnosing import diagnose
from .draws import planned_batches
from .features import FeatureMeasures, WindowAccuracy, measure_features
from .options import DiagnoseOptions
from .probe import ProbeFigure, ProbeGain, probe_gain
from .result import Diagnosis
from .table import Hubs, TableMeasures, WindowMeasures, measure_table, measure_windows

__all__ = [
    "DiagnoseOptions",
    "Diagnosis",
    "ExpectedGain",
    "FeatureMeasures",
    "Hubs",
    "ProbeFigure",
    "ProbeGain",
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
    "probe_gain",
]
