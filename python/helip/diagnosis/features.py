"""What a model tells apart: rows of a random batch, and rows of a community of hard pairs.

All is computed in float64 from rows of length 1, whatever the features come in. A picture is right
where its own caption's cosine is above that of every other caption by more than 1e-6, which is what
float32 sums can tell apart, and a caption likewise; every accuracy is the mean of both directions.

Heads of random weights on good features find next to nothing, and yet have everything to learn
from; towers of random weights have not. A linear map from picture features to caption features, a
ridge regression on other rows, tells the two apart: what they know that is not aligned yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from helip.common.errors import InvalidArgumentError
from helip.common.options import require
from helip.common.proportions import wilson_interval
from helip.common.unit_rows import unit_rows
from helip.diagnosis.draws import COMMUNITY, Bools, Communities, Draws, Ints, draw, equal
from helip.diagnosis.options import DiagnoseOptions
from helip.diagnosis.table import coverage, mean_none_by_chance, members_by_chance, sample_of
from helip.evaluation.tasks.retrieval import TIE
from helip.losses.helip_loss import HelipLoss

Floats = npt.NDArray[np.float64]
#: Weight of the penalty, as a share of the mean eigenvalue of the pictures' covariance.
RIDGE = 0.01
#: Rows that are fitted, for each dimension of the features, at least.
ROWS_PER_DIMENSION = 2
Features = Callable[[Ints], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Estimate:
    """A mean over random targets."""

    value: float | None  # None where there was nothing to measure
    # Half the width of its 95 % interval: 1.96 standard errors, and at least what so many targets
    # leave open where all are alike (Wilson's limit of none of n).
    error: float | None
    n: int  # targets


@dataclass(frozen=True)
class WindowAccuracy:
    """The accuracy within communities of a window of ranks."""

    first: int  # rank from 1
    last: int
    within: Estimate
    left_out: int  # targets with fewer than seven hard pairs there, or one that cannot be read


@dataclass(frozen=True)
class FeatureMeasures:
    """What a model makes of its own training data; see docs/when-it-helps.md."""

    rows: int  # of the data
    batch_size: int  # of the batches that were measured
    window: int  # ranks 1 to this one
    window_members: float  # hard pairs of a row there, on average
    by_chance: float  # hard pairs of a row, of the window, in a random batch to train on; expected
    none_by_chance: float  # probability that there are none, of a row that has hard pairs
    coverage: float  # share of a community's places that rows' own hard pairs can fill
    between: Estimate  # share of rows that are told from all others of a random batch
    mapped: Estimate  # the same after a linear map of the pictures that other rows were fitted by
    among: Estimate  # share of rows that are told from all others of a batch of communities
    within: Estimate  # share of targets that are told from seven hard pairs
    ranks: tuple[WindowAccuracy, ...]  # the same for other windows of ranks
    left_out: int  # targets without a whole community
    violated: Estimate  # share of hard pairs that fit the target at least as well as its own
    random_loss: float | None  # CLIP loss of random batches, with the model's logit scale
    community_loss: float | None  # of batches made of communities; None without such


@dataclass(frozen=True)
class ModelMeasures:
    """What was measured of a model."""

    name: str
    encoded: int  # rows
    unread: Mapping[str, int]  # rows that could not be read, by reason
    features: FeatureMeasures


def measure_features(
    image: Any,
    text: Any,
    pools: Any,
    groups: Any = None,
    *,
    batches: Sequence[Any] = (),
    batch_size: int = 256,
    window: int = 50,
    logit_scale: float = 100.0,
    targets: int = 2000,
    seed: int = 0,
) -> FeatureMeasures:
    """Measure features of all rows of a data set, such as those of an experiment.

    Args:
        image, text: [N, d] arrays or tensors of any float dtype; rows of length 1 are not needed.
        pools: int [N, k], such as HardPairs.ids: hard pairs of each row, best first, -1 for none.
        groups: int64 [N] or [N, m]; the same number in a column for equal rows, 0 for none, such as
            ``data.caption_groups()[1]`` where each row has one caption.
        batches: row numbers of batches of communities, such as `planned_batches` gives.
        batch_size: of the random batches.
        window: ranks from the first.
        logit_scale: of the losses, already exponentiated.
        targets: drawn at random.

    Raises:
        InvalidArgumentError: shapes that disagree, rows outside 0 .. N - 1, NaN or infinity.
    """
    image, text = (side if hasattr(side, "shape") else np.asarray(side) for side in (image, text))
    shape = tuple(image.shape)
    matrices = len(shape) == 2 and shape[0] >= 2 and shape == tuple(text.shape)
    require(
        matrices, "the shape of image and text", [list(shape), list(text.shape)],
        "that of two matrices [N, d], N at least 2",
    )  # fmt: skip
    pools, groups = pools_and_groups(pools, groups, shape[0])
    DiagnoseOptions(batch_size=batch_size, window=window, targets=targets, seed=seed)  # bounds
    chosen = sample_of(shape[0], targets, seed)
    drawn = draw(
        pools[chosen].astype(np.int64),
        chosen,
        np.arange(shape[0]),
        lambda one, others: equal(groups[one], groups[others]),
        batch_size=min(batch_size, shape[0]),
        window=window,
        planned=[whole_numbers(batch, "batches", shape[0], least=0) for batch in batches],
        seed=seed,
    )
    return compare(
        image,
        text,
        groups,
        drawn,
        rows=shape[0],
        batch_size=batch_size,
        members=(pools[:, :window] >= 0).sum(axis=1),
        logit_scale=logit_scale,
    )


def compare(
    image: Any,
    text: Any,
    groups: Ints,
    drawn: Draws,
    *,
    rows: int,
    batch_size: int,
    members: Ints,
    logit_scale: float | None,
) -> FeatureMeasures:
    """Hold against each other what was drawn.

    ``image`` and ``text`` [M, d] and ``groups`` [M, m] are those of the rows of ``drawn``, whose
    numbers count them; -1 there is a row that cannot be read. ``rows`` is N of the data set,
    ``batch_size`` that of training, which may be more than what is measured, and ``members`` [N]
    the hard pairs of each row in the window.
    """
    window_members = float(members.mean())
    features = _Features(image, text, groups)
    random = [batch[batch >= 0] for batch in drawn.random]
    planned = [batch[batch >= 0] for batch in drawn.planned]
    others = np.setdiff1d(drawn.rows(), [-1, *(row for batch in random for row in batch)])
    aligned = mapped(features.of, others)
    within, violated, left_out = _within(features, drawn.window)
    ranks = []
    for each in drawn.ranks:
        accuracy, _, missing = _within(features, each)
        ranks.append(WindowAccuracy(each.first + 1, each.last, accuracy, missing))
    return FeatureMeasures(
        rows=rows,
        batch_size=len(drawn.random[0]),
        window=drawn.window.last,
        window_members=window_members,
        by_chance=members_by_chance(window_members, batch_size, rows),
        none_by_chance=mean_none_by_chance(members, batch_size, rows),
        coverage=coverage(members, COMMUNITY - 1),
        between=_between(features.of, features.groups, random),
        mapped=_between(aligned or features.of, features.groups, random if aligned else ()),
        among=_between(features.of, features.groups, planned),
        within=within,
        ranks=tuple(ranks),
        left_out=left_out,
        violated=violated,
        random_loss=_loss(features, random, logit_scale),
        community_loss=_loss(features, planned, logit_scale),
    )


class _Features:
    """Rows of two matrices in float64 and of length 1, made when they are asked for."""

    def __init__(self, image: Any, text: Any, groups: Ints) -> None:
        self._sides = (image, text)
        self.groups = groups

    def of(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures and captions [*rows.shape, d]."""
        found = []
        for name, side in zip(("image", "text"), self._sides, strict=True):
            chosen = side[torch.from_numpy(rows.ravel())] if isinstance(side, torch.Tensor) else (
                torch.from_numpy(np.asarray(side[rows.ravel()]))
            )  # fmt: skip
            matrix = chosen.detach().to("cpu", torch.float64)
            wrong = ~torch.isfinite(matrix).all(dim=1)
            if bool(wrong.any()):
                row = int(rows.ravel()[int(torch.nonzero(wrong)[0])])
                raise InvalidArgumentError(
                    f"{name}: row {row} holds NaN or infinity; the model has diverged, or needs "
                    "precision='float32'"
                )
            found.append(unit_rows(matrix).reshape(*rows.shape, matrix.shape[1]))
        return found[0], found[1]


def _between(of: Features, groups_of: Ints, batches: Sequence[Ints]) -> Estimate:
    """Mean over rows of their mean over batches; a row in several is one target."""
    right: dict[int, list[float]] = {}
    for batch in batches:
        if len(batch) < 2:
            continue
        image, text = of(batch)
        cosines = (image @ text.T).numpy()
        groups = groups_of[batch]
        same = equal(groups, np.broadcast_to(groups, (len(batch), *groups.shape)))
        np.fill_diagonal(same, True)
        own = cosines.diagonal()
        outcomes = _told(own, cosines, same) / 2 + _told(own, cosines.T, same) / 2
        for row, outcome in zip(batch.tolist(), outcomes.tolist(), strict=True):
            right.setdefault(row, []).append(outcome)
    return _estimate(np.array([np.mean(each) for each in right.values()]))


def _told(own: Floats, cosines: Floats, same: Bools) -> Floats:
    """1 where a row's own cosine is above those with all rows but the same, else 0; [n]."""
    others = np.where(same, -np.inf, cosines).max(axis=1)
    return (others < own - TIE).astype(np.float64)


def _within(features: _Features, communities: Communities) -> tuple[Estimate, Estimate, int]:
    """The accuracy of targets, the share of their hard pairs that are violated, and how many
    targets have no whole community."""
    rows = communities.rows
    whole = (rows >= 0).all(axis=1)
    left_out = communities.left_out + int((~whole).sum())
    rows = rows[whole]
    if not len(rows):
        nothing = _estimate(np.empty(0))
        return nothing, nothing, left_out
    image, text = features.of(rows)
    to_text = torch.einsum("td,tmd->tm", image[:, 0], text).numpy()
    to_image = torch.einsum("td,tmd->tm", text[:, 0], image).numpy()
    right, violated = np.zeros(len(rows)), np.zeros(len(rows))
    for cosines in (to_text, to_image):
        worse = cosines[:, 1:] < cosines[:, :1] - TIE  # [T, 7]
        right += worse.all(axis=1) / 2
        violated += (~worse).mean(axis=1) / 2
    return _estimate(right), _estimate(violated), left_out


def _loss(features: _Features, batches: Sequence[Ints], logit_scale: float | None) -> float | None:
    """Mean CLIP loss of the batches, equal rows left out of each other's."""
    if logit_scale is None or not batches:
        return None
    measured = HelipLoss(gamma=0.0)
    losses = []
    for batch in batches:
        if len(batch) < 2:
            continue
        image, text = features.of(batch)
        groups = torch.from_numpy(np.ascontiguousarray(features.groups[batch]))
        losses.append(float(measured(image, text, logit_scale, groups=groups)["clip"]))
    return float(np.mean(losses)) if losses else None


def _estimate(values: Floats) -> Estimate:
    n = len(values)
    if n == 0:
        return Estimate(None, None, 0)
    mean = float(values.mean())
    error = 1.96 * float(values.std(ddof=1)) / n**0.5 if n > 1 else 0.0
    unseen = wilson_interval(0.0, n)[1]  # of other targets so large a share may do anything
    return Estimate(mean, max(error, unseen * max(mean, 1 - mean)), n)


def pools_and_groups(pools: Any, groups: Any, rows: int) -> tuple[Ints, Ints]:
    """Hard pairs [rows, k] as they are, and groups, int64 [rows, m], of all rows, checked; without
    groups nothing is equal."""
    pools = whole_numbers(pools, "pools", rows)
    whole = pools.ndim == 2 and len(pools) == rows and pools.shape[1] > 0
    require(whole, "the shape of pools", list(pools.shape), f"[{rows}, k]")
    groups = np.zeros(rows, dtype=np.int64) if groups is None else np.asarray(groups)
    told = groups.dtype.kind in "iu" and groups.ndim in (1, 2) and len(groups) == rows
    words = f"whole numbers [{rows}] or [{rows}, kinds]"
    require(told, "the dtype and shape of groups", (str(groups.dtype), groups.shape), words)
    return pools, groups.astype(np.int64).reshape(rows, -1)


def whole_numbers(values: Any, name: str, rows: int, *, least: int = -1) -> Ints:
    array = np.asarray(values)
    require(array.dtype.kind in "iu", f"the dtype of {name}", str(array.dtype), "of whole numbers")
    span = [int(array.min()), int(array.max())] if array.size else [0, 0]
    inside = least <= span[0] and span[1] < rows
    require(inside, f"the span of {name}", span, f"rows in {least} … {rows - 1}")
    return array


def mapped(features: Features, rows: Ints) -> Features | None:
    """Features after a ridge regression of the captions' on the pictures' of ``rows``.

    ``features`` gives unit rows of pictures and captions, float64 [*rows.shape, d]. What is
    returned does the same, of centred features; None where ``rows`` are too few.
    """
    image, text = features(rows)
    dims = image.shape[1]
    if len(rows) < ROWS_PER_DIMENSION * dims:
        return None
    centres = image.mean(dim=0), text.mean(dim=0)
    inputs, outputs = image - centres[0], text - centres[1]
    squares = inputs.T @ inputs
    penalty = RIDGE * squares.diagonal().mean() * torch.eye(dims, dtype=squares.dtype)
    weights = torch.linalg.solve(squares + penalty, inputs.T @ outputs)

    def of(asked: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        image, text = features(np.asarray(asked))
        return unit_rows((image - centres[0]) @ weights), unit_rows(text - centres[1])

    return of
