"""What tasks ask with: features of rows, labels of pictures, distinct strings, a digest of all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from helip.common.errors import InvalidArgumentError
from helip.common.options import require
from helip.common.unit_rows import unit_rows
from helip.data.selection import Selection
from helip.evaluation.encoding import Encoded
from helip.evaluation.statistics.intervals import Ints

LabelOf = Callable[[int], str | None]

# Cosines that differ by less are equal up to float32 rounding, so they count as ties whatever
# the order in which a matrix product summed them.
TIE = 1e-6


def numbered(strings: Sequence[str]) -> tuple[list[str], Ints]:
    """The distinct strings in order of appearance, and the number of each of ``strings`` there."""
    number = {string: i for i, string in enumerate(dict.fromkeys(strings))}
    return list(number), np.array([number[string] for string in strings], dtype=np.int64)


def digest_of(*lists: Any) -> str:
    """Two results are compared where this is the same."""
    digest = hashlib.sha256()
    for strings in lists:
        for string in strings:
            raw = string.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        digest.update(b"\xff" * 8)  # no length looks like this: lists cannot run into each other
    return digest.hexdigest()[:32]


def checked_rows(features: Any, name: str, device: str | torch.device) -> torch.Tensor:
    """Features as float32 with rows of norm 1 (zero rows stay zero); refuses NaN and infinity."""
    rows = torch.as_tensor(features).detach().to(device=device, dtype=torch.float32)
    if rows.ndim != 2 or not len(rows):
        raise InvalidArgumentError(
            f"{name} has shape {list(rows.shape)}; give a matrix with at least one row"
        )
    finite = torch.isfinite(rows).all(dim=1)
    if not bool(finite.all()):
        row = int(torch.nonzero(~finite)[0])
        raise InvalidArgumentError(
            f"{name}: row {row} holds NaN or infinity; the model has diverged, or needs "
            "precision='float32'"
        )
    return unit_rows(rows)


def checked_numbers(values: Any, name: str, *, count: int, of: str, below: int) -> Ints:
    """Numbers of classes or of pictures as int64 [count], one for each of ``of``."""
    numbers = np.asarray(values, dtype=np.int64)
    shape = f"[{count}], one for each of the {of}"
    require(numbers.shape == (count,), f"the shape of {name}", list(numbers.shape), shape)
    for place in np.flatnonzero((numbers < 0) | (numbers >= below))[:1].tolist():
        require(False, f"{name}[{place}]", int(numbers[place]), f"in 0 … {below - 1}")
    return numbers


def require_one_width(a: torch.Tensor, b: torch.Tensor, names: tuple[str, str]) -> None:
    """Refuse features [n, d] and [m, e] that cannot be compared."""
    words = f"{a.shape[1]}, as many columns as {names[0]} has: both must come from one model"
    require(a.shape[1] == b.shape[1], f"the width of {names[1]}", b.shape[1], words)


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
    found: dict[int, tuple[int, str] | None] = {}  # the first row that has a label, and that
    for row, picture in enumerate(pictures.tolist()):
        label = source(row)
        before = found.setdefault(picture, None)
        if label is None or (before is not None and before[1] == str(label)):
            continue
        if before is not None:
            raise InvalidArgumentError(
                f"rows {before[0]} and {row} show one picture and have the labels {before[1]!r} "
                f"and {str(label)!r}; give a picture one label, drop rows by subset=, or in Python "
                f"give groups=range({len(pictures)}) to measure each row by itself"
            )
        found[picture] = (row, str(label))
    return [None if each is None else each[1] for each in found.values()]


def labels_of_source(dataset: Any) -> list[str | None] | None:
    """The labels of all rows that ``subset`` and ``limit`` chose from; None where they chose none.

    Classes are made of them: with fewer classes the same pictures would be easier to classify.
    """
    if not isinstance(dataset, Selection):
        return None
    while isinstance(dataset, Selection):
        dataset = dataset.source
    return labels_of(dataset, None, np.arange(len(dataset)))
