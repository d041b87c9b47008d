"""Evaluation as a training run calls it: figures by their names, of a model as it is by then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from helip.common.options import method_keywords
from helip.evaluation.evaluating import EvaluateCall, evaluate
from helip.evaluation.figures import figures_of
from helip.models.bundle import ModelBundle


@dataclass(frozen=True, kw_only=True)
class ValidationCall(EvaluateCall):
    """What a Validation is made of; intervals are left out by default."""

    model: Any = None
    """Not given: it is that of the run."""
    bootstrap: int = 0
    """Resamples of an interval; 0 for none."""
    progress: bool = False
    """A bar on a terminal."""


class Validation:
    """``helip.train(validate=helip.Validation(data), eval_every=500)``.

    Takes what `evaluate` takes but a model. A figure is named by its path in what evaluate
    returns, such as ``zero_shot.top1``.
    """

    @method_keywords(ValidationCall)
    def __init__(self, call: ValidationCall) -> None:
        self._options = call.as_dict()

    def __call__(self, bundle: ModelBundle) -> dict[str, float]:
        result = evaluate(**{**self._options, "model": bundle})
        return {".".join(line.path): figure["value"] for line, figure in figures_of(result)}
