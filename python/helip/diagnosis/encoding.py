"""The rows that a model is asked about: chosen within a bound, read and encoded once each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from helip.diagnosis.draws import COMMUNITY, Communities, Draws
from helip.diagnosis.groups import Ints
from helip.diagnosis.ranks import RANKS
from helip.evaluation.encoding import Subject, encode

#: Random batches and batches of communities are of so many rows at most, of those encoded.
BATCH_PART = 8
TARGET_PART = 20
PLANNED = 2


@dataclass(frozen=True)
class Budget:
    """How many rows are asked about, within a bound on those that are encoded."""

    batch_size: int
    targets: int  # with a community of the window
    ranked: int  # of these, with one of each other window
    plain: int  # random rows, the targets among them

    @classmethod
    def of(cls, encoded_rows: int, batch_size: int, rows: int) -> Budget:
        size = max(2, min(batch_size, rows, encoded_rows // BATCH_PART))
        targets = max(1, min(rows, encoded_rows // TARGET_PART))
        plain = min(rows, max(targets, size))
        left = encoded_rows - PLANNED * size - plain - targets * (COMMUNITY - 1)
        ranked = max(1, min(targets, left // ((COMMUNITY - 1) * len(RANKS))))
        return cls(size, targets, ranked, plain)


@dataclass(frozen=True)
class EncodedRows:
    """Features of the rows of draws, whose numbers count them."""

    image: torch.Tensor  # float32 [M, d]
    text: torch.Tensor
    groups: Ints  # [M, m]
    drawn: Draws
    unread: Mapping[str, int]  # rows that cannot be read, by reason


def encode_rows(subject: Subject, data: Any, drawn: Draws, groups: Any) -> EncodedRows:
    """Encode the pictures and first captions of the rows of ``drawn``; ``groups``: RowGroups."""
    rows = drawn.rows()
    with subject.ready():
        found = encode(subject, data.subset(rows), np.arange(len(rows)), captions=True)
        place = found.place
        kept = [row for row in sorted(found.captions) if row in place]
        captions = [found.captions[row][0] for row in kept]
        distinct = list(dict.fromkeys(captions))
        number = {caption: at for at, caption in enumerate(distinct)}
        text = subject.texts(distinct, subject.progress)[[number[each] for each in captions]]
    image = found.features[[place[row] for row in kept]]
    home = np.full(len(rows), -1, dtype=np.int64)
    home[kept] = np.arange(len(kept))
    reasons: dict[str, int] = dict(found.skipped(data)["reasons"])
    return EncodedRows(image, text, groups.of(rows[kept]), _renumbered(drawn, rows, home), reasons)


def _renumbered(drawn: Draws, rows: Ints, home: Ints) -> Draws:
    """``drawn`` with the numbers ``home`` [M] of its ``rows`` [M], ascending."""

    def numbers(chosen: Ints) -> Ints:
        return home[np.searchsorted(rows, chosen)]

    def communities(each: Communities) -> Communities:
        return replace(each, rows=numbers(each.rows))

    return Draws(
        tuple(map(numbers, drawn.random)),
        communities(drawn.window),
        tuple(map(communities, drawn.ranks)),
        tuple(map(numbers, drawn.planned)),
    )
