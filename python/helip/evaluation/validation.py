"""Evaluation as a training run calls it: figures by their names, of a model as it is by then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helip.common.options import method_keywords
from helip.evaluation.evaluating import EvaluateCall, evaluate
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
        return figures_of(evaluate(**{**self._options, "model": bundle}))


def figures_of(result: Mapping[str, Any], place: str = "") -> dict[str, float]:
    """Path -> value of every figure in what `evaluate` returned."""
    found: dict[str, float] = {}
    for name, part in result.items():
        if isinstance(part, Mapping):
            whole = f"{place}{name}"
            if isinstance(part.get("value"), (int, float)):
                found[whole] = float(part["value"])
            else:
                found |= figures_of(part, f"{whole}.")
    return found
