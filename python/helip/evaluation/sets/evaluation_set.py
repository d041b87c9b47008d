"""What a model is measured on: a data set with the tasks, classes and prompts that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helip.data.dataset import Dataset
from helip.evaluation.sets.composition import CompositionSet
from helip.evaluation.sets.mmeb import ChoiceSet


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """A data set and what ``evaluate`` needs to know of it; its own arguments come first."""

    data: Dataset | CompositionSet | ChoiceSet = field(repr=False)
    tasks: tuple[str, ...] = ("retrieval",)  # what is measured where nothing is asked for
    classes: Sequence[str] | Mapping[str, str] | None = field(default=None, repr=False)
    templates: str | Sequence[str] | None = field(default=None, repr=False)
    groups: Sequence[Any] | None = field(default=None, repr=False)  # None: what the data know
    train: Any = field(default=None, repr=False)  # of a linear probe; opened when it is needed

    @property
    def picture_groups(self) -> Sequence[Any] | None:
        """An id a row, the same for rows that show one picture: ``groups``, else those that the
        data know; None where each row is known to, or taken to, show a picture of its own."""
        if self.groups is not None:
            return self.groups
        known = self.data.image_groups() if isinstance(self.data, Dataset) else None
        return None if known is None else known.tolist()
