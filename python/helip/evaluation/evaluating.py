"""Evaluation of a model on a data set: every task's figures, each with its interval.

A training run calls it as a `Validation`: figures by their names, of a model as it is by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from helip.common.errors import InvalidArgumentError
from helip.common.options import keywords, method_keywords, require
from helip.data.opening import open_dataset
from helip.evaluation.encoding import Subject, encode
from helip.evaluation.figures import TASKS, figures_of
from helip.evaluation.model_source import digest_of_weights, rows_trained_on, warn_of_training_data
from helip.evaluation.options import ClassOptions, EvaluateOptions
from helip.evaluation.sets.composition import CompositionSet
from helip.evaluation.sets.evaluation_set import EvaluationSet
from helip.evaluation.sets.mmeb import ChoiceSet
from helip.evaluation.sets.opening import chosen, open_evaluation_set, refuse_classification
from helip.evaluation.statistics.intervals import Ints
from helip.evaluation.tasks.choice import choice_task
from helip.evaluation.tasks.composition import composition_task
from helip.evaluation.tasks.linear_probe import linear_probe_task
from helip.evaluation.tasks.queries import Labelled, LabelOf, labels_of, labels_of_source
from helip.evaluation.tasks.retrieval import retrieval_task
from helip.evaluation.tasks.zero_shot import (
    checked_templates,
    label_numbers,
    named_classes,
    zero_shot_task,
)
from helip.models.bundle import ModelBundle


@dataclass(frozen=True, kw_only=True)
class EvaluateCall(EvaluateOptions, ClassOptions):
    """What `evaluate` is asked."""

    model: Any = field(kw_only=False)
    """A ModelBundle, a name or path for create_model, or an open_clip model together with transform
    and tokenizer."""
    data: Any = field(kw_only=False)
    """An EvaluationSet, a Dataset, or anything that open_evaluation_set takes."""
    label_of: LabelOf | None = None
    """The label of a row; by default data.label(row). Classes are then of the rows of data alone,
    also where these are a selection."""
    groups: Sequence[Any] | None = None
    """An id a row; rows of one id show the same picture (the first row's is encoded), so that a
    picture can have several captions. None: the groups that the data know, such as rows of a table
    that name one file."""
    train_label_of: LabelOf | None = None
    """The label of a row of train."""
    transform: Callable[[Any], torch.Tensor] | None = None
    """In place of the model's own."""
    tokenizer: Callable[[list[str]], torch.Tensor] | None = None
    """In place of the model's own."""
    on_task: Callable[[dict[str, Any], str], None] | None = None
    """Called with the result so far and the name of each task as soon as that is measured."""
    keep_ranks: bool = False
    """Add each query's outcome, which compare() needs."""
    progress: bool = True
    """A bar on a terminal."""


@keywords(EvaluateCall)
def evaluate(call: EvaluateCall) -> dict[str, Any]:
    """Encode a data set with ``model`` and measure how well it does the ``tasks``.

    Retrieval: every row is a picture with a caption; see :func:`retrieval`. Zero-shot: rows without
    a label are left out and counted as ``unlabelled``; a class embedding is the mean of its
    normalised prompt embeddings. Linear probe: logistic regression fitted to the pictures and
    labels of ``train``, measured on those of ``data``; see :func:`linear_probe`.

    Composition: for compositional sets; see :func:`composition`. Choice: for sets in MMEB's format;
    the share of queries whose right candidate is the most similar (precision@1), for each data set
    and on average. A text with a picture has the sum of both embeddings, then normalised.

    Samples that cannot be read are skipped, and counted by reason under ``skipped``; strings that
    the model's context cuts off are counted under ``truncated`` of each task. Every figure is
    ``{"value", "low", "high", "n"}`` with a 95 % bootstrap interval that depends on ``seed`` alone.
    ``weights`` is a digest of the model's state dict, None where that has entries without bytes.
    The result holds plain JSON types only. The model's mode and device are restored. A warning says
    so where ``model`` is the path of a run or of its checkpoint, and ``data`` has rows that it was
    trained on.
    """
    given = _given(call.data)
    own = given.data.task if isinstance(given.data, CompositionSet | ChoiceSet) else None
    if own is not None:
        refuse_classification(call)
    given = replace(given, **chosen(call))
    tasks = _checked_tasks(given.tasks if call.tasks is None else call.tasks, own)
    groups = given.picture_groups if call.groups is None else call.groups
    dataset: Any = given.data
    rows = len(dataset)
    require(rows > 0, "the number of rows of the data set", rows, "at least 1")
    pictures = _first_of_group(groups, rows)
    warn_of_training_data(call.model, dataset)

    # What is wrong is refused before an hour of encoding rather than after it.
    labels: list[str | None] = []
    names: dict[str, str] = {}
    train_labels: list[str | None] = []
    if "zero_shot" in tasks or "linear_probe" in tasks:
        checked_templates(given.templates)
        labels = labels_of(dataset, call.label_of, pictures)
        by_default = given.classes is None and call.label_of is None
        source = labels_of_source(dataset) if by_default else None
        names = named_classes(given.classes, labels if source is None else source)
        label_numbers([label for label in labels if label is not None], names)
    if "linear_probe" in tasks:
        train = _training_rows(given.train)
        train_labels = labels_of(train, call.train_label_of, np.arange(len(train)))
        label_numbers([label for label in train_labels if label is not None], names)

    subject = Subject.of(call.model, call.transform, call.tokenizer, call, progress=call.progress)
    options: dict[str, Any] = {
        "chunk": call.chunk,
        "device": subject.device,
        "bootstrap": call.bootstrap,
        "seed": call.seed,
        "keep_ranks": call.keep_ranks,
    }
    result: dict[str, Any] = {
        "model": subject.name,
        "weights": digest_of_weights(subject.model),
        "data": {"fingerprint": str(getattr(dataset, "fingerprint", "")), "rows": rows},
        "options": {
            "tasks": list(tasks),
            "precision": call.precision,
            "bootstrap": call.bootstrap,
            "seed": call.seed,
        },
    }

    if trained := rows_trained_on(call.model):
        result["trained_on"] = trained

    def finished(task: str) -> None:
        if call.on_task is not None:
            call.on_task(result, task)

    with subject.ready():
        if own is not None:
            if isinstance(dataset, CompositionSet):
                task = composition_task(subject, dataset, options)
            else:
                task = choice_task(subject, dataset, call.ties, options)
            result |= {"reader": task.pop("reader"), "skipped": task.pop("skipped_pictures")}
            result[own] = task
            finished(own)
            return result
        encoded = encode(subject, dataset, pictures, captions="retrieval" in tasks)
        result |= {"reader": encoded.reader, "skipped": encoded.skipped(dataset)}
        if "retrieval" in tasks:
            result["retrieval"] = retrieval_task(
                subject, dataset, encoded, call.duplicates, call.ties, options
            )
            finished("retrieval")
        if labels:
            measured = Labelled.of(dataset, encoded, labels)
            unlabelled = sum(label is None for label in labels)
        if "zero_shot" in tasks:
            result["zero_shot"] = zero_shot_task(
                subject, measured, names, given.templates, call.ties, options
            )
            result["zero_shot"]["unlabelled"] = unlabelled
            finished("zero_shot")
        if "linear_probe" in tasks:
            result["linear_probe"] = linear_probe_task(
                subject, measured, train, train_labels, list(names), call.regularisation, options
            )
            result["linear_probe"]["unlabelled"] = unlabelled
            finished("linear_probe")
    return result


def _given(data: Any) -> EvaluationSet:
    if isinstance(data, EvaluationSet):
        return data
    if isinstance(data, CompositionSet | ChoiceSet):
        return EvaluationSet(data=data, tasks=(data.task,))
    if hasattr(data, "caption") and hasattr(data, "keys"):
        return EvaluationSet(data=data)
    return open_evaluation_set(data)


def _training_rows(train: Any) -> Any:
    if train is None:
        raise InvalidArgumentError(
            "a linear probe is fitted to labelled pictures that are not measured, and train is "
            "None; give train, or leave 'linear_probe' out of tasks"
        )
    if not (hasattr(train, "label") and hasattr(train, "keys")):
        train = open_dataset(train)
    require(len(train) > 0, "the number of rows of train", 0, "at least two of a class")
    return train


def _first_of_group(groups: Sequence[Any] | None, rows: int) -> Ints:
    if groups is None:
        return np.arange(rows, dtype=np.int64)
    require(len(groups) == rows, "the number of groups", len(groups), f"{rows}, one a row")
    first: dict[Any, int] = {}
    return np.array([first.setdefault(group, row) for row, group in enumerate(groups)])


_MADE_FOR = {
    "composition": "a compositional set (such as SugarCrepe's or Winoground's)",
    "choice": "a set in MMEB's format",
}


def _checked_tasks(tasks: str | Sequence[str], own: str | None) -> tuple[str, ...]:
    chosen = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    unknown = [task for task in chosen if task not in TASKS]
    if unknown or not chosen:
        raise InvalidArgumentError(f"tasks is {list(chosen)}; give one or more of {list(TASKS)}")
    if own is not None and chosen != (own,):
        raise InvalidArgumentError(
            f"tasks is {list(chosen)} for {_MADE_FOR[own]}; it has {own!r} alone"
        )
    for task in chosen:
        if own is None and task in _MADE_FOR:
            raise InvalidArgumentError(
                f"{task!r} needs {_MADE_FOR[task]}, and this is none; leave it out of tasks"
            )
    return chosen


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
