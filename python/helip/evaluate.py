"""Evaluation of a model on a data set: retrieval and zero-shot, every figure with its interval."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from helip.data import open_dataset
from helip.errors import InvalidArgumentError
from helip.evaluate_compare import compare
from helip.evaluate_encode import PRECISIONS, Encoded, Subject, encode
from helip.evaluate_intervals import Ints
from helip.evaluate_retrieval import retrieval
from helip.evaluate_zero_shot import (
    DEFAULT_TEMPLATES,
    class_embeddings,
    label_numbers,
    named_classes,
    zero_shot,
)

__all__ = ["DEFAULT_TEMPLATES", "compare", "evaluate", "retrieval", "zero_shot"]

TASKS = ("retrieval", "zero_shot")


def evaluate(
    model: Any,
    data: Any,
    *,
    tasks: Sequence[str] = ("retrieval",),
    classes: Sequence[str] | Mapping[str, str] | None = None,
    templates: Sequence[str] | None = None,
    label_of: Callable[[int], str | None] | None = None,
    groups: Sequence[Any] | None = None,
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
    """Encode a data set with ``model`` and measure retrieval, zero-shot accuracy, or both.

    ``model`` is a ``ModelBundle``, or an open_clip model together with ``transform`` and
    ``tokenizer``. ``data`` is a ``Dataset`` or anything that ``open_dataset`` takes.

    Retrieval: every row is a picture with a caption. ``groups`` gives an id to each row; rows of
    one id show the same picture (the first row's is encoded), so a picture can have several
    captions. ``duplicates`` is explained at :func:`retrieval`.

    Zero-shot: labels come from ``label_of(row)``, or else from ``data.label(row)``; rows without
    one are left out and counted as ``unlabelled``. ``classes`` lists the labels, or maps each to
    the name used in prompts; by default it is the sorted labels of the data. ``templates`` hold
    ``{}`` once each; a class embedding is the mean of its normalised prompt embeddings.

    Samples that cannot be read are skipped, and counted by reason under ``skipped``. Every
    figure is ``{"value", "low", "high", "n"}`` with a 95 % bootstrap interval that depends on
    ``seed`` alone. ``keep_ranks`` adds each query's outcome, which :func:`compare` needs. The
    result holds plain JSON types only. The model's mode and device are restored.
    """
    chosen = _check(tasks, batch_size=batch_size, precision=precision, workers=workers)
    subject = Subject.of(model, transform, tokenizer, device, precision, batch_size)
    dataset = data if hasattr(data, "caption") and hasattr(data, "keys") else open_dataset(data)
    rows = len(dataset)
    if rows == 0:
        raise InvalidArgumentError("the data set has 0 rows; give at least one")
    pictures = _first_of_group(groups, rows)

    labels: list[str | None] = []
    names: dict[str, str] = {}
    if "zero_shot" in chosen:
        labels = _labels(dataset, label_of, pictures)
        names = named_classes(classes, labels)
        # Refused before an hour of encoding rather than after it.
        label_numbers([label for label in labels if label is not None], names)

    with subject.ready():
        encoded = encode(subject, dataset, pictures, "retrieval" in chosen, workers, progress)
        options = {
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
            "skipped": encoded.skipped(dataset),
        }
        if "retrieval" in chosen:
            result["retrieval"] = _retrieval_task(
                subject, dataset, encoded, duplicates, progress, options
            )
        if "zero_shot" in chosen:
            result["zero_shot"] = _zero_shot_task(
                subject, dataset, encoded, labels, names, templates, options
            )
    return result


def _retrieval_task(
    subject: Subject,
    dataset: Any,
    encoded: Encoded,
    duplicates: str,
    progress: bool,
    options: dict[str, Any],
) -> dict[str, Any]:
    place = {int(row): number for number, row in enumerate(encoded.picture_rows)}
    rows = [row for row in sorted(encoded.captions) if int(encoded.pictures[row]) in place]
    if not rows:
        raise InvalidArgumentError(
            "no row has both a picture and a caption that can be read: "
            f"{dict(Counter(encoded.reasons.values()))}; check the data set"
        )
    image_of = np.array([place[int(encoded.pictures[row])] for row in rows], dtype=np.int64)
    used, image_of = np.unique(image_of, return_inverse=True)
    captions = [encoded.captions[row] for row in rows]
    distinct = list(dict.fromkeys(captions))
    number = {caption: i for i, caption in enumerate(distinct)}
    texts = subject.texts(distinct, progress)
    result = retrieval(
        encoded.features[torch.as_tensor(used)],
        texts[torch.as_tensor([number[caption] for caption in captions])],
        image_of=image_of,
        captions=captions,
        duplicates=duplicates,
        **options,
    )
    result["rows"] = len(rows)
    result["queries"] = _digest(
        [duplicates],
        (f"{dataset.keys[row]}\0{picture}" for row, picture in zip(rows, image_of, strict=True)),
        captions,
    )
    return result


def _zero_shot_task(
    subject: Subject,
    dataset: Any,
    encoded: Encoded,
    labels: list[str | None],
    names: dict[str, str],
    templates: Sequence[str] | None,
    options: dict[str, Any],
) -> dict[str, Any]:
    label_at = dict(zip(np.unique(encoded.pictures).tolist(), labels, strict=True))
    chosen = [
        (number, label)
        for number, row in enumerate(encoded.picture_rows.tolist())
        if (label := label_at[row]) is not None
    ]
    if not chosen:
        raise InvalidArgumentError(
            "no picture that can be read has a label; give label_of, or leave 'zero_shot' out of "
            "tasks"
        )
    rows = encoded.picture_rows[[number for number, _ in chosen]]
    given = [label for _, label in chosen]
    result = zero_shot(
        encoded.features[torch.as_tensor([number for number, _ in chosen])],
        label_numbers(given, names),
        class_embeddings(list(names.values()), templates, subject.texts),
        class_names=list(names),
        **options,
    )
    result["templates"] = list(DEFAULT_TEMPLATES if templates is None else templates)
    result["unlabelled"] = sum(label is None for label in labels)
    result["queries"] = _digest(names, (dataset.keys[int(row)] for row in rows), given)
    return result


def _labels(
    dataset: Any, label_of: Callable[[int], str | None] | None, pictures: Ints
) -> list[str | None]:
    """The label of each distinct picture, in order of its first row."""
    source = dataset.label if label_of is None else label_of
    return [
        None if (label := source(int(row))) is None else str(label) for row in np.unique(pictures)
    ]


def _first_of_group(groups: Sequence[Any] | None, rows: int) -> Ints:
    if groups is None:
        return np.arange(rows, dtype=np.int64)
    if len(groups) != rows:
        raise InvalidArgumentError(
            f"groups has {len(groups)} entries for {rows} rows; give one picture id a row"
        )
    first: dict[Any, int] = {}
    return np.array([first.setdefault(group, row) for row, group in enumerate(groups)])


def _digest(*lists: Any) -> str:
    digest = hashlib.sha256()
    for strings in lists:
        for string in strings:
            raw = string.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        digest.update(b"\xff" * 8)  # no length looks like this: lists cannot run into each other
    return digest.hexdigest()[:32]


def _check(
    tasks: Sequence[str], *, batch_size: int, precision: str, workers: int
) -> tuple[str, ...]:
    chosen = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    unknown = [task for task in chosen if task not in TASKS]
    if unknown or not chosen:
        raise InvalidArgumentError(f"tasks is {list(chosen)}; give one or more of {list(TASKS)}")
    if batch_size < 1:
        raise InvalidArgumentError(f"batch_size is {batch_size}; give 1 or more")
    if workers < 0:
        raise InvalidArgumentError(f"workers is {workers}; give 0 (this process) or more")
    if precision not in PRECISIONS:
        raise InvalidArgumentError(f"precision is {precision!r}; give one of {list(PRECISIONS)}")
    return chosen
