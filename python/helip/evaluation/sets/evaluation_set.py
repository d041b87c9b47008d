"""What a model is measured on: a data set with the tasks, classes and prompts that belong to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.data.opening import Dataset, open_dataset
from helip.evaluation.sets.benchmark import is_benchmark, open_benchmark
from helip.evaluation.sets.composition import CompositionSet, holds_composition, open_composition

__all__ = ["EvaluationSet", "open_evaluation_set"]


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """A data set and what ``evaluate`` needs to know of it; its own arguments come first."""

    data: Dataset | CompositionSet = field(repr=False)
    tasks: tuple[str, ...] = ("retrieval",)  # what is measured where nothing is asked for
    classes: Sequence[str] | Mapping[str, str] | None = field(default=None, repr=False)
    templates: str | Sequence[str] | None = field(default=None, repr=False)
    groups: Sequence[Any] | None = field(default=None, repr=False)  # the picture of each row
    train: Any = field(default=None, repr=False)  # of a linear probe; opened when it is needed


def open_evaluation_set(
    source: Any,
    *,
    split: str = "test",
    pictures: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | Mapping[str, str] | None = None,
    templates: str | Sequence[str] | None = None,
    train: Any = None,
    progress: bool = True,
) -> EvaluationSet:
    """Open whatever a model can be measured on, told by what it looks like.

    - a folder in CLIP_benchmark's webdataset layout, of which ``split`` is measured: classes and
      templates, or captions, come with it (:mod:`helip.evaluation.sets.benchmark`);
    - a compositional set in SugarCrepe's or Winoground's format, whose ``pictures`` lie in a folder
      (:mod:`helip.evaluate_composition_sets`);
    - anything that ``open_dataset`` takes: retrieval by default.

    ``classes`` and ``templates`` override those that come with the data; a list of ``classes``
    names the labels of a benchmark in their order. ``train`` is what a linear probe is fitted to.
    """
    path = Path(source) if isinstance(source, (str, os.PathLike)) else None
    if path is not None and is_benchmark(path, split):
        _refuse_pictures(pictures, source)
        found = open_benchmark(path, split, progress=progress)
        if found.classes is not None and classes is not None and not isinstance(classes, Mapping):
            if len(classes) != len(found.classes):
                raise InvalidArgumentError(
                    f"{len(classes)} classes given for the {len(found.classes)} of {path}; give "
                    "one name for each, in order"
                )
            classes = dict(zip(found.classes, classes, strict=True))
        return EvaluationSet(
            data=found.data,
            tasks=("retrieval",) if found.retrieval else ("zero_shot",),
            classes=found.classes if classes is None else classes,
            templates=found.templates if templates is None else templates,
            groups=None if found.groups is None else found.groups.tolist(),
            train=found.train if train is None else train,
        )
    if path is not None and holds_composition(path):
        return EvaluationSet(data=open_composition(path, pictures=pictures), tasks=("composition",))
    _refuse_pictures(pictures, source)
    data = open_dataset(source, progress=progress)
    return EvaluationSet(data=data, classes=classes, templates=templates, train=train)


def _refuse_pictures(pictures: Any, source: Any) -> None:
    if pictures is not None:
        raise InvalidArgumentError(
            f"pictures={os.fspath(pictures)!r} is for compositional sets, and {source} is none; "
            "leave it out"
        )
