"""Small heads on frozen features: how they are trained, and what they find.

A head is Linear-GELU-Linear on the features of pictures, and another on those of captions. A fifth
of the features of each row is left out at random as it is trained on: the encoders see each row but
once, and heads learn the same few thousand rows by heart, where a model sees other cuts of a
picture and other captions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from helip.common.errors import InvalidArgumentError
from helip.common.options import require
from helip.common.progress import ProgressBar
from helip.common.unit_rows import unit_rows
from helip.diagnosis.draws import Ints
from helip.evaluation.tasks.retrieval import TIE
from helip.losses.helip_loss import HelipLoss

WIDTH, OUT = 512, 256
DROPOUT = 0.2
#: Of batches of 256 rows; it goes with the square root of the rows, up to the second.
RATE, MOST_RATE = 1e-3, 2e-3
WARM = 20  # steps in which the rate rises
WEIGHT_DECAY = 0.1
_QUERIES = 256  # that are compared together
_READ = 8192  # rows that are read together


@dataclass(frozen=True)
class FrozenFeatures:
    """Of all rows of the data."""

    image: Any  # [N, d], an array or a tensor of any float dtype
    text: Any  # [N, e]
    groups: torch.Tensor  # int64 [N, m]: the same number in a column for equal rows, 0 for none

    def of(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """float32, with elements of about 1, as layers expect them."""
        image, text = (unit_rows(_taken(side, rows)) for side in (self.image, self.text))
        return image * image.shape[1] ** 0.5, text * text.shape[1] ** 0.5


def embedded_rows(image: Any, text: Any) -> Ints:
    """Rows with both features: one that was not embedded is 0.

    InvalidArgumentError for shapes other than [N, d] and [N, e], and for NaN.
    """
    sides = {"image": image, "text": text}
    shapes = [list(side.shape) for side in sides.values()]
    matrices = all(len(shape) == 2 and 0 not in shape for shape in shapes)
    alike = matrices and shapes[0][0] == shapes[1][0]
    words = "that of matrices [N, d] and [N, e]"
    require(alike, "the shape of image and text", shapes, words)
    there = np.ones(shapes[0][0], dtype=bool)
    for name, side in sides.items():
        for first in range(0, len(there), _READ):
            rows = np.arange(first, min(first + _READ, len(there)))
            largest = _taken(side, rows).abs().amax(dim=1).numpy()
            wrong = rows[~np.isfinite(largest)]
            if wrong.size:
                raise InvalidArgumentError(f"{name}: row {wrong[0]} holds NaN or infinity")
            there[rows] &= largest > 0
    return np.flatnonzero(there)


def _taken(side: Any, rows: Ints) -> torch.Tensor:
    if isinstance(side, torch.Tensor):
        return side.detach()[torch.from_numpy(rows).to(side.device)].to("cpu", torch.float32)
    return torch.from_numpy(np.asarray(side[rows], dtype=np.float32))


class Heads(nn.Module):
    """Of both modalities, into one space."""

    def __init__(self, image: int, text: int) -> None:
        super().__init__()
        self.image, self.text = (
            nn.Sequential(
                nn.Dropout(DROPOUT), nn.Linear(dim, WIDTH), nn.GELU(), nn.Linear(WIDTH, OUT)
            )
            for dim in (image, text)
        )
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.image(image), self.text(text)


def train_heads(
    heads: Heads, features: FrozenFeatures, batches: Iterable[Ints], steps: int, bar: ProgressBar
) -> None:
    """AdamW under the CLIP loss, equal rows masked; the rate goes up over some steps, then down
    along a cosine. ``batches`` are so many ``steps``."""
    loss = HelipLoss(gamma=0.0)
    optimizer = torch.optim.AdamW(heads.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
    warm = min(WARM, max(1, steps // 5))
    heads.train()
    for step, rows in enumerate(batches):
        rate = min(MOST_RATE, RATE * (len(rows) / 256) ** 0.5)
        rate *= min(1.0, (step + 1) / warm) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        found = heads(*features.of(rows))
        scale = heads.scale.exp().clamp(max=100)
        optimizer.zero_grad()
        loss(*found, scale, groups=features.groups[rows])["loss"].backward()
        optimizer.step()
        bar.update()


@dataclass(frozen=True)
class Found:
    """Of held-out pairs, 0 to 1: means of both directions."""

    recall: float  # at 1, among held-out and other rows
    recall_held_out: float  # at 1, among held-out rows alone
    reciprocal_rank: float  # the mean, among held-out and other rows


@torch.no_grad()
def found_of(heads: Heads, features: FrozenFeatures, held: Ints, others: Ints) -> Found:
    """What the heads find of the pairs ``held`` [h], among these and ``others``.

    What is equal to a query is right among ``held``, and left out among ``others``. Ties count
    against the heads.
    """
    heads.eval()
    rows = np.concatenate([held, others])
    parts = [
        [unit_rows(side) for side in heads(*features.of(rows[first : first + _READ]))]
        for first in range(0, len(rows), _READ)
    ]
    image, text = (torch.cat(side) for side in zip(*parts, strict=True))
    groups = features.groups[rows]
    told = torch.zeros(3, dtype=torch.float64)
    for first in range(0, len(held), _QUERIES):
        at = torch.arange(first, min(first + _QUERIES, len(held)))
        own = groups[at, None]
        same = ((own == groups) & (own != 0)).any(dim=2)  # [queries, rows]
        same[torch.arange(len(at)), at] = True
        for queries, sought in ((image, text), (text, image)):
            cosines = queries[at] @ sought.T
            right = cosines[:, : len(held)].masked_fill(~same[:, : len(held)], -math.inf)
            before = cosines.masked_fill(same, -math.inf) >= right.amax(dim=1)[:, None] - TIE
            rank = 1 + before.sum(dim=1)
            rank_held_out = 1 + before[:, : len(held)].sum(dim=1)
            for place, part in enumerate((rank == 1, rank_held_out == 1, 1 / rank)):
                told[place] += part.sum()
    return Found(*(told / (2 * len(held))).tolist())
