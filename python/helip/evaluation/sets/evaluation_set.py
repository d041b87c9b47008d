"""What a model is measured on: a data set with the tasks, classes and prompts that belong to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.common.options import keywords
from helip.data.dataset import Dataset
from helip.data.opening import open_dataset
from helip.evaluation.options import SetOptions
from helip.evaluation.sets.benchmark import is_benchmark, open_benchmark
from helip.evaluation.sets.composition import CompositionSet, holds_composition, open_composition


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """A data set and what ``evaluate`` needs to know of it; its own arguments come first."""

    data: Dataset | CompositionSet = field(repr=False)
    tasks: tuple[str, ...] = ("retrieval",)  # what is measured where nothing is asked for
    classes: Sequence[str] | Mapping[str, str] | None = field(default=None, repr=False)
    templates: str | Sequence[str] | None = field(default=None, repr=False)
    groups: Sequence[Any] | None = field(default=None, repr=False)  # the picture of each row
    train: Any = field(default=None, repr=False)  # of a linear probe; opened when it is needed


@dataclass(frozen=True, kw_only=True)
class SetCall(SetOptions):
    """What `open_evaluation_set` is asked."""

    source: Any = field(kw_only=False)
    """A folder in CLIP_benchmark's webdataset layout, a compositional set in SugarCrepe's or
    Winoground's format, or anything that open_dataset takes."""
    progress: bool = True
    """A bar while many shards are scanned."""


@keywords(SetCall)
def open_evaluation_set(call: SetCall) -> EvaluationSet:
    """Open whatever a model can be measured on, told by what it looks like.

    Classes and templates, or captions, come with CLIP_benchmark's layout; ``classes`` and
    ``templates`` override them, and a list of ``classes`` names the labels in their order. Plain
    data is measured by retrieval.
    """
    source, split, pictures, classes = call.source, call.split, call.pictures, call.classes
    templates, train, progress = call.templates, call.train, call.progress
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
