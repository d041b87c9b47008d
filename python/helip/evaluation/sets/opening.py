"""Opens whatever a model can be measured on, told by what it looks like."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.common.options import hints_of, keywords
from helip.data.opening import open_dataset
from helip.data.options import OpenOptions
from helip.evaluation.options import ClassOptions, SetOptions
from helip.evaluation.sets.benchmark import is_benchmark, open_benchmark
from helip.evaluation.sets.composition import CompositionSet, holds_composition, open_composition
from helip.evaluation.sets.evaluation_set import EvaluationSet
from helip.evaluation.sets.mmeb import ChoiceSet, holds_mmeb, open_mmeb


@dataclass(frozen=True, kw_only=True)
class SetCall(SetOptions):
    """What `open_evaluation_set` is asked."""

    source: Any = field(kw_only=False)
    """A folder in CLIP_benchmark's webdataset layout, a compositional set in SugarCrepe's or
    Winoground's format, a set in MMEB's, or anything that open_dataset takes."""
    progress: bool = True
    """A bar while many shards are scanned."""


@keywords(SetCall)
def open_evaluation_set(call: SetCall) -> EvaluationSet:
    """Open whatever a model can be measured on, told by what it looks like.

    Classes and templates, or captions, come with CLIP_benchmark's layout; ``classes`` and
    ``templates`` override them, and a list of ``classes`` names the labels in their order. Plain
    data is measured by retrieval. Options of opening are of what is measured, not of ``train``; a
    compositional set and one in MMEB's format take none.
    """
    source = call.source
    path = Path(source) if isinstance(source, (str, os.PathLike)) else None
    split = call.split or "test"
    benchmark = path is not None and is_benchmark(path, split)
    opener = None if path is None or benchmark else opener_of_questions(path)
    if path is not None and opener is not None:
        refuse_classification(call)
        call.refuse(hints_of(OpenOptions), "a compositional set or one in MMEB's format")
        data = opener(path, pictures=call.pictures)
        return EvaluationSet(data=data, tasks=(data.task,))
    if call.pictures is not None:
        raise InvalidArgumentError(
            f"pictures={os.fspath(call.pictures)!r} is for compositional sets and MMEB's, and "
            f"{source} is none; leave it out"
        )
    opening = {**OpenOptions.of(call).as_dict(), "progress": call.progress}
    if path is None or not benchmark:
        found = EvaluationSet(data=open_dataset(source, **opening))
    else:
        found = open_benchmark(path, **{**opening, "split": split})
    given = chosen(call)
    classes = given.get("classes")
    if found.classes is not None and classes is not None and not isinstance(classes, Mapping):
        if len(classes) != len(found.classes):
            raise InvalidArgumentError(
                f"{len(classes)} classes given for the {len(found.classes)} of {path}; give "
                "one name for each, in order"
            )
        given["classes"] = dict(zip(found.classes, classes, strict=True))
    return replace(found, **given)


def opener_of_questions(path: Path) -> Callable[..., CompositionSet | ChoiceSet] | None:
    """What opens a set of questions, which have a task of their own; None for any other data."""
    if holds_composition(path):
        return open_composition
    return open_mmeb if holds_mmeb(path) else None


def refuse_classification(options: ClassOptions) -> None:
    """Raise where something is given that sets of questions have no use for."""
    if given := chosen(options):
        raise InvalidArgumentError(
            f"{', '.join(given)} cannot be given for a compositional set or one in MMEB's format, "
            "which have no classes; leave it out"
        )


def chosen(options: ClassOptions) -> dict[str, Any]:
    """The options of classification that are given, by name."""
    given = ClassOptions.of(options).as_dict()
    return {name: value for name, value in given.items() if value is not None}
