"""The guard against forgetting as a training run calls it: sets, and what is said of two models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from helip.common.errors import Error
from helip.common.options import Positive, method_keywords
from helip.evaluation.evaluating import EvaluateCall, evaluate
from helip.evaluation.statistics.forgetting import TOLERANCE, check_tolerance
from helip.evaluation.statistics.retention import retention
from helip.models.bundle import ModelBundle


@dataclass(frozen=True, kw_only=True)
class GuardCall(EvaluateCall):
    """What a Guard is made of."""

    model: Any = None
    """Not given: it is that of the run."""
    data: Any = field(kw_only=False)
    """What evaluate takes, or a mapping of a name to that for several sets; such as general data
    that have nothing to do with those of the run."""
    tolerance: float = TOLERANCE
    """The loss that a figure must rule out to be called kept; 0.01 is one point."""
    bootstrap: Positive = 1000
    """Resamples of an interval, which a verdict needs."""
    keep_ranks: bool = True
    """Always: what is compared is each query's outcome."""
    progress: bool = False
    """A bar on a terminal."""


class Guard:
    """``helip.train(guard=helip.Guard(data))``: has the tuned model lost what the start could do?

    Takes what `evaluate` takes but a model; other options are those of all sets, so sets of
    different kinds are made by `open_evaluation_set`.
    """

    @method_keywords(GuardCall)
    def __init__(self, call: GuardCall) -> None:
        check_tolerance(call.tolerance)
        options = call.as_dict() | {"keep_ranks": True}
        self._tolerance, data = options.pop("tolerance"), options.pop("data")
        self._options = options
        self.sets: dict[str, Any] = dict(data) if isinstance(data, Mapping) else {_name(data): data}

    def measure(self, bundle: ModelBundle) -> dict[str, Any]:
        """What `evaluate` says of the model on each set, with each query's outcome."""
        return {name: self._measured(bundle, name, data) for name, data in self.sets.items()}

    def _measured(self, bundle: ModelBundle, name: str, data: Any) -> dict[str, Any]:
        try:
            return evaluate(**{**self._options, "model": bundle, "data": data})
        except Error as error:
            raise Error(f"set {name!r}: {error}") from error

    def judge(self, start: Mapping[str, Any], tuned: Mapping[str, Any]) -> dict[str, Any]:
        """One joint statement of all sets from two results of `measure`; see `retention`."""
        return retention(start, tuned, tolerance=self._tolerance)


def _name(data: Any) -> str:
    return os.fspath(data) if isinstance(data, (str, os.PathLike)) else "general"
