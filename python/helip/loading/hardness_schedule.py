"""HardnessSchedule: a curriculum for the hard pairs of a loader."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from helip import _core
from helip.common.errors import InvalidArgumentError

__all__ = ["HardnessSchedule"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardnessSchedule:
    """Where a loader's ``rank_min``, ``rank_max`` and ``temperature`` go while training proceeds.

    They start at the loader's own values and arrive at these after ``epochs`` epochs, where they
    stay; one that is None here stays all the time. A value depends on the epoch and the share of
    its targets that came before, so it is the same on every rank and after a resume.

    epochs: above 0; 0.5 is half an epoch.
    rank_min, rank_max: window at the end, ``rank_max`` excluded.
    temperature: at the end; the loader must have one to start from.
    shape: "linear", or "cosine", which is slow at both ends.
    """

    epochs: float
    rank_min: int | None = None
    rank_max: int | None = None
    temperature: float | None = None
    shape: str = "linear"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epochs) and self.epochs > 0):
            raise InvalidArgumentError(
                f"epochs = {self.epochs} of the schedule must be above 0: how long it takes"
            )
        if self.rank_max is not None and self.rank_max < 1:
            raise InvalidArgumentError(
                f"rank_max = {self.rank_max} of the schedule must be at least 1; None leaves it "
                "as it is"
            )

    @classmethod
    def of(cls, value: HardnessSchedule | Mapping[str, Any] | None) -> HardnessSchedule | None:
        """``value`` itself, or the schedule that a mapping describes."""
        if value is None or isinstance(value, cls):
            return value
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(value, Mapping) or not {"epochs"} <= set(value) <= set(names):
            raise InvalidArgumentError(
                f"schedule = {value!r} must be a HardnessSchedule, or a mapping with epochs and "
                f"any of {', '.join(names[1:])}"
            )
        return cls(**value)

    @classmethod
    def parse(cls, text: str) -> HardnessSchedule:
        """The schedule of such words as ``epochs=2,rank_max=10,shape=cosine``."""
        read = {"epochs": float, "rank_min": int, "rank_max": int, "temperature": float}
        try:
            parts = dict(part.strip().split("=", 1) for part in text.split(","))
            values = {name: read.get(name, str)(part) for name, part in parts.items()}
        except ValueError as error:
            raise InvalidArgumentError(
                f"schedule {text!r} must be such as epochs=2,rank_max=10,shape=cosine ({error})"
            ) from error
        schedule = cls.of(values)
        assert schedule is not None
        return schedule

    @property
    def _core(self) -> _core.HardnessSchedule:
        return _core.HardnessSchedule(**dataclasses.asdict(self))
