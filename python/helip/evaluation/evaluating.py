"""Evaluation of a model on a data set: every task's figures, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from helip.common.errors import InvalidArgumentError
from helip.data.opening import open_dataset
from helip.evaluation.encoding import PRECISIONS, Subject, encode
from helip.evaluation.figures import TASKS
from helip.evaluation.sets.composition import CompositionSet
from helip.evaluation.sets.evaluation_set import EvaluationSet, open_evaluation_set
from helip.evaluation.statistics.comparison import compare
from helip.evaluation.statistics.intervals import Ints
from helip.evaluation.tasks.composition import composition
from helip.evaluation.tasks.linear_probe import linear_probe
from helip.evaluation.tasks.retrieval import retrieval
from helip.evaluation.tasks.tasks import (
    Labelled,
    LabelOf,
    composition_task,
    labels_of,
    linear_probe_task,
    retrieval_task,
    zero_shot_task,
)
from helip.evaluation.tasks.templates import DEFAULT_TEMPLATES, checked_templates
from helip.evaluation.tasks.zero_shot import label_numbers, named_classes, zero_shot

__all__ = [
    "DEFAULT_TEMPLATES",
    "EvaluationSet",
    "compare",
    "composition",
    "evaluate",
    "linear_probe",
    "open_evaluation_set",
    "retrieval",
    "zero_shot",
]


def evaluate(
    model: Any,
    data: Any,
    *,
    tasks: str | Sequence[str] | None = None,
    classes: Sequence[str] | Mapping[str, str] | None = None,
    templates: str | Sequence[str] | None = None,
    label_of: LabelOf | None = None,
    groups: Sequence[Any] | None = None,
    train: Any = None,
    train_label_of: LabelOf | None = None,
    regularisation: float | None = None,
    duplicates: str = "any",
    batch_size: int = 256,
    device: str | torch.device = "auto",
    precision: str = "float32",
    bootstrap: int = 1000,
    seed: int = 0,
    chunk: int = 4096,
    workers: int = 0,
    transform: Callable[[Any], torch.Tensor] | None = None,
    tokenizer: Callable[[list[str]], torch.Tensor] | None = None,
    keep_ranks: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Encode a data set with ``model`` and measure how well it does the ``tasks``.

    ``model`` is a ``ModelBundle``, a name or path for ``create_model``, or an open_clip model
    together with ``transform`` and ``tokenizer``. ``data`` is an ``EvaluationSet``, a ``Dataset``,
    or anything that ``open_evaluation_set`` takes. ``tasks`` are some of "retrieval", "zero_shot",
    "linear_probe" and "composition"; None measures what the set is made for, which is retrieval
    for a plain data set.

    Retrieval: every row is a picture with a caption. ``groups`` gives an id to each row; rows of
    one id show the same picture (the first row's is encoded), so a picture can have several
    captions. ``duplicates`` is explained at :func:`retrieval`.

    Zero-shot: labels come from ``label_of(row)``, or else from ``data.label(row)``; rows without
    one are left out and counted as ``unlabelled``. ``classes`` lists the labels, or maps each to
    the name used in prompts; by default it is the sorted labels of the data. ``templates`` hold
    ``{}`` once each, or name one of open_clip's sets ("openai_imagenet_template",
    "simple_imagenet_template"); a class embedding is the mean of its normalised prompt embeddings.

    Linear probe: logistic regression fitted to the pictures and labels of ``train`` (what
    ``open_dataset`` takes; labels from ``train_label_of``), measured on those of ``data``;
    ``regularisation`` is explained at :func:`linear_probe`.

    Composition: for compositional sets; see :func:`composition`.

    Samples that cannot be read are skipped, and counted by reason under ``skipped``; strings that
    the model's context cuts off are counted under ``truncated`` of each task. Every figure is
    ``{"value", "low", "high", "n"}`` with a 95 % bootstrap interval that depends on ``seed`` alone.
    ``keep_ranks`` adds each query's outcome, which :func:`compare` needs. The result holds plain
    JSON types only. The model's mode and device are restored.
    """
    given = _given(data)
    chosen = _check(
        given.tasks if tasks is None else tasks,
        isinstance(given.data, CompositionSet),
        batch_size=batch_size,
        precision=precision,
        workers=workers,
    )
    classes = given.classes if classes is None else classes
    templates = given.templates if templates is None else templates
    groups = given.groups if groups is None else groups
    dataset: Any = given.data
    rows = len(dataset)
    if rows == 0:
        raise InvalidArgumentError("the data set has 0 rows; give at least one")
    pictures = _first_of_group(groups, rows)

    # What is wrong is refused before an hour of encoding rather than after it.
    labels: list[str | None] = []
    names: dict[str, str] = {}
    train_labels: list[str | None] = []
    if "zero_shot" in chosen or "linear_probe" in chosen:
        checked_templates(templates)
        labels = labels_of(dataset, label_of, pictures)
        names = named_classes(classes, labels)
        label_numbers([label for label in labels if label is not None], names)
    if "linear_probe" in chosen:
        train = _training_rows(given.train if train is None else train)
        train_labels = labels_of(train, train_label_of, np.arange(len(train)))
        label_numbers([label for label in train_labels if label is not None], names)

    subject = Subject.of(model, transform, tokenizer, device, precision, batch_size)
    options: dict[str, Any] = {
        "chunk": chunk,
        "device": subject.device,
        "bootstrap": bootstrap,
        "seed": seed,
        "keep_ranks": keep_ranks,
    }
    result: dict[str, Any] = {
        "model": subject.name,
        "data": {"fingerprint": str(getattr(dataset, "fingerprint", "")), "rows": rows},
        "options": {
            "tasks": list(chosen),
            "precision": precision,
            "bootstrap": bootstrap,
            "seed": seed,
        },
    }
    with subject.ready():
        if isinstance(dataset, CompositionSet):
            task = composition_task(subject, dataset, workers, progress, options)
            return result | {"skipped": task.pop("skipped_pictures"), "composition": task}
        encoded = encode(subject, dataset, pictures, "retrieval" in chosen, workers, progress)
        result["skipped"] = encoded.skipped(dataset)
        if "retrieval" in chosen:
            result["retrieval"] = retrieval_task(
                subject, dataset, encoded, duplicates, progress, options
            )
        if labels:
            measured = Labelled.of(dataset, encoded, labels)
            unlabelled = sum(label is None for label in labels)
        if "zero_shot" in chosen:
            result["zero_shot"] = zero_shot_task(subject, measured, names, templates, options)
            result["zero_shot"]["unlabelled"] = unlabelled
        if "linear_probe" in chosen:
            result["linear_probe"] = linear_probe_task(
                subject, measured, train, train_labels, list(names),
                regularisation=regularisation, workers=workers, progress=progress, options=options,
            )  # fmt: skip
            result["linear_probe"]["unlabelled"] = unlabelled
    return result


def _given(data: Any) -> EvaluationSet:
    if isinstance(data, EvaluationSet):
        return data
    if isinstance(data, CompositionSet):
        return EvaluationSet(data=data, tasks=("composition",))
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
    if len(train) == 0:
        raise InvalidArgumentError("train has 0 rows; give at least two of a class")
    return train


def _first_of_group(groups: Sequence[Any] | None, rows: int) -> Ints:
    if groups is None:
        return np.arange(rows, dtype=np.int64)
    if len(groups) != rows:
        raise InvalidArgumentError(
            f"groups has {len(groups)} entries for {rows} rows; give one picture id a row"
        )
    first: dict[Any, int] = {}
    return np.array([first.setdefault(group, row) for row, group in enumerate(groups)])


def _check(
    tasks: str | Sequence[str],
    compositional: bool,
    *,
    batch_size: int,
    precision: str,
    workers: int,
) -> tuple[str, ...]:
    chosen = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    unknown = [task for task in chosen if task not in TASKS]
    if unknown or not chosen:
        raise InvalidArgumentError(f"tasks is {list(chosen)}; give one or more of {list(TASKS)}")
    if compositional and chosen != ("composition",):
        raise InvalidArgumentError(
            f"tasks is {list(chosen)} for a compositional set; it has 'composition' alone"
        )
    if not compositional and "composition" in chosen:
        raise InvalidArgumentError(
            "'composition' needs a compositional set (SugarCrepe's or Winoground's format), and "
            "this is none; leave it out of tasks"
        )
    if batch_size < 1:
        raise InvalidArgumentError(f"batch_size is {batch_size}; give 1 or more")
    if workers < 0:
        raise InvalidArgumentError(f"workers is {workers}; give 0 (this process) or more")
    if precision not in PRECISIONS:
        raise InvalidArgumentError(f"precision is {precision!r}; give one of {list(PRECISIONS)}")
    return chosen
