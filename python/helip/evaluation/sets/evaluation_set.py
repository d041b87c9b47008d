"""What a model is measured on: a data set with the tasks, classes and prompts that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helip.data.dataset import Dataset
from helip.evaluation.sets.composition import CompositionSet


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """A data set and what ``evaluate`` needs to know of it; its own arguments come first."""

    data: Dataset | CompositionSet = field(repr=False)
    tasks: tuple[str, ...] = ("retrieval",)  # what is measured where nothing is asked for
    classes: Sequence[str] | Mapping[str, str] | None = field(default=None, repr=False)
    templates: str | Sequence[str] | None = field(default=None, repr=False)
    groups: Sequence[Any] | None = field(default=None, repr=False)  # the picture of each row
    train: Any = field(default=None, repr=False)  # of a linear probe; opened when it is needed
