"""The tasks of an evaluation: from encoded pictures and captions to figures."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from helip.common.errors import InvalidArgumentError
from helip.evaluation.encoding import Encoded, Subject, encode
from helip.evaluation.sets.composition import CompositionSet
from helip.evaluation.statistics.intervals import Ints
from helip.evaluation.tasks.composition import composition
from helip.evaluation.tasks.linear_probe import linear_probe
from helip.evaluation.tasks.retrieval import retrieval, unit_rows
from helip.evaluation.tasks.templates import checked_templates
from helip.evaluation.tasks.zero_shot import class_embeddings, label_numbers, zero_shot

__all__ = [
    "LabelOf",
    "Labelled",
    "composition_task",
    "labels_of",
    "linear_probe_task",
    "retrieval_task",
    "zero_shot_task",
]

LabelOf = Callable[[int], str | None]


def retrieval_task(
    subject: Subject,
    dataset: Any,
    encoded: Encoded,
    duplicates: str,
    progress: bool,
    options: Mapping[str, Any],
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
    result["truncated"] = subject.truncated(distinct)
    result["queries"] = _digest(
        [duplicates],
        (f"{dataset.keys[row]}\0{picture}" for row, picture in zip(rows, image_of, strict=True)),
        captions,
    )
    return result


@dataclass(frozen=True)
class Labelled:
    """The pictures that were read and have a label."""

    features: torch.Tensor  # [n, d]
    labels: list[str]  # [n]
    keys: list[str]  # [n]

    @classmethod
    def of(cls, dataset: Any, encoded: Encoded, labels: Sequence[str | None]) -> Labelled:
        """``labels`` has one for each distinct picture, in order of its first row."""
        label_at = dict(zip(np.unique(encoded.pictures).tolist(), labels, strict=True))
        chosen = [
            (number, row, label)
            for number, row in enumerate(encoded.picture_rows.tolist())
            if (label := label_at[row]) is not None
        ]
        if not chosen:
            raise InvalidArgumentError(
                "no picture that can be read has a label; give label_of, or leave classification "
                "out of tasks"
            )
        return cls(
            encoded.features[torch.as_tensor([number for number, _, _ in chosen])],
            [label for _, _, label in chosen],
            [dataset.keys[row] for _, row, _ in chosen],
        )


def labels_of(dataset: Any, label_of: LabelOf | None, pictures: Ints) -> list[str | None]:
    """The label of each distinct picture, in order of its first row."""
    source = dataset.label if label_of is None else label_of
    return [
        None if (label := source(int(row))) is None else str(label) for row in np.unique(pictures)
    ]


def zero_shot_task(
    subject: Subject,
    measured: Labelled,
    names: Mapping[str, str],
    templates: str | Sequence[str] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    prompts: list[str] = []

    def encode_prompts(strings: list[str]) -> torch.Tensor:
        prompts.extend(strings)
        return subject.texts(strings)

    result = zero_shot(
        measured.features,
        label_numbers(measured.labels, names),
        class_embeddings(list(names.values()), templates, encode_prompts),
        class_names=list(names),
        **options,
    )
    result["templates"] = checked_templates(templates)
    result["truncated"] = subject.truncated(prompts)
    result["queries"] = _digest(names, measured.keys, measured.labels)
    return result


def linear_probe_task(
    subject: Subject,
    measured: Labelled,
    train: Any,
    train_labels: Sequence[str | None],
    names: Sequence[str],
    *,
    regularisation: float | None,
    workers: int,
    progress: bool,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    classes = {name: name for name in names}
    encoded = encode(subject, train, np.arange(len(train)), False, workers, progress)
    fitted = Labelled.of(train, encoded, train_labels)
    result = linear_probe(
        fitted.features,
        label_numbers(fitted.labels, classes),
        measured.features,
        label_numbers(measured.labels, classes),
        class_names=list(names),
        regularisation=regularisation,
        **{name: value for name, value in options.items() if name != "chunk"},
    )
    result["train_fingerprint"] = str(getattr(train, "fingerprint", ""))
    result["train_skipped"] = encoded.skipped(train)
    # Two probes answer the same queries only where they were fitted to the same rows.
    result["queries"] = _digest(names, measured.keys, measured.labels, fitted.keys, fitted.labels)
    return result


def composition_task(
    subject: Subject,
    data: CompositionSet,
    workers: int,
    progress: bool,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    encoded = encode(
        subject, data.pictures, np.arange(len(data.pictures)), False, workers, progress
    )
    place = {int(row): number for number, row in enumerate(encoded.picture_rows)}
    items = [item for item in data.items if all(row in place for row in item.pictures)]
    if not items:
        raise InvalidArgumentError(
            f"none of the {len(data)} items has pictures that can be read: "
            f"{dict(Counter(encoded.reasons.values()))}; check the folder of pictures"
        )
    captions = list(dict.fromkeys(caption for item in items for caption in item.captions))
    number = {caption: i for i, caption in enumerate(captions)}
    # Two cosines are compared, so they are summed in float64.
    texts = unit_rows(subject.texts(captions, progress), "captions", "cpu").double()
    pictures = unit_rows(encoded.features, "pictures", "cpu").double()
    shown = torch.tensor([[place[row] for row in item.pictures] for item in items])
    said = torch.tensor([[number[caption] for caption in item.captions] for item in items])
    scores = torch.einsum("npd,ncd->npc", pictures[shown], texts[said])
    result = composition(
        scores.numpy(),
        categories=[item.category for item in items],
        groups=[item.pictures[0] for item in items],
        bootstrap=options["bootstrap"],
        seed=options["seed"],
        keep_ranks=options["keep_ranks"],
    )
    result["format"] = data.format
    result["skipped_items"] = len(data) - len(items)
    result["skipped_pictures"] = encoded.skipped(data.pictures)
    result["truncated"] = subject.truncated(captions)
    result["queries"] = _digest(
        (item.key for item in items),
        (item.category for item in items),
        (caption for item in items for caption in item.captions),
        (data.pictures.keys[row] for item in items for row in item.pictures),
    )
    return result


def _digest(*lists: Any) -> str:
    digest = hashlib.sha256()
    for strings in lists:
        for string in strings:
            raw = string.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        digest.update(b"\xff" * 8)  # no length looks like this: lists cannot run into each other
    return digest.hexdigest()[:32]
