from .options import ReportOptions
from .page import report

__all__ = [
    "ReportOptions",
    "report",
]
