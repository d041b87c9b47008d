"""Which captions are wrong: pairs that agree no better than pictures with captions of other rows.

The captions are exchanged at random among the rows. That gives as many pairs as there are rows, of
which nearly all are wrong. Fisher's linear discriminant of the features between the
exchanged pairs and those of the data makes one score, greater for pairs that agree. The pairs of
the data are a mixture: a share p0 scores as exchanged pairs do, f = p0 f0 + (1 - p0) f1. p0 is
estimated from the lowest scores, as Storey (2002) does from the largest p-values, and the
probability that a pair with score s is a wrong one is p0 f0(s) / f(s), Efron's local false
discovery rate (2004); f / f0 rises with s, and is fitted so. Comparing captions of near pictures is
due to LEMoN (Zhang et al. 2025, arXiv 2407.18941).

A feature of a pair is a number of its picture i and its caption t. For each row, N_I are the
nearest rows by image and N_T those by text; without a model the features are the mean and the
greatest similarity of caption t to the captions of N_I(i), the same of picture i to the pictures of
N_T(t), the best products of both similarities on either side, and how close N_I(i) and N_T(t) are.
With a model they have its score of the pair, and the best scores of picture i with the captions of
N_I(i) and of caption t with the pictures of N_T(t), as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from helip.curation.similar_rows import Cosines, Floats, Ints, SimilarRows
from helip.pairs.blocks import row_blocks

NAMES = (
    "captions of like pictures, mean", "captions of like pictures, best",
    "captions of like pictures, best product", "pictures of like captions, mean",
    "pictures of like captions, best", "pictures of like captions, best product",
    "like pictures, mean", "like pictures, best", "like captions, mean", "like captions, best",
)  # fmt: skip
CROSS_NAMES = (
    "own cross-score", "cross-scores of like pictures, best", "cross-scores of like captions, best",
)  # fmt: skip
FEWEST = 100  # rows with both embeddings, below which nothing is estimated
TRIED = 0.1  # share of the captions that are exchanged to see how far flags can be trusted
ALIKE = 0.98  # text cosine from which an exchanged caption is nearly the row's own
LOWEST = 0.25  # share of the exchanged pairs whose scores tell p0
_MOST_STEPS = 20_000  # of the rising fit
_RIDGE = 1e-6
Doubles = npt.NDArray[np.float64]


class Neighbourhoods:
    """The nearest rows of each row by either side, and what does not depend on who is paired.

    Keeps 16 bytes a row and neighbour.
    """

    def __init__(self, rows: SimilarRows, cross: Cosines | None) -> None:
        self._rows, self._cross = rows, cross
        self.by_image, self.by_text = rows.nearest("image"), rows.nearest("text")
        self.image = _cosines_of_all(rows.cosines, "image_image", self.by_image)
        self.text = _cosines_of_all(rows.cosines, "text_text", self.by_text)
        self._best_cross = (
            None if cross is None
            else (
                _greatest(_cosines_of_all(cross, "image_text", self.by_image)),
                _greatest(_cosines_of_all(cross, "text_image", self.by_text)),
            )
        )  # fmt: skip

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features."""
        return NAMES if self._cross is None else NAMES + CROSS_NAMES

    def pictures_of_like_captions(self) -> Floats:
        """float32 [N, k]: image cosines to the nearest rows by text."""
        return _cosines_of_all(self._rows.cosines, "image_image", self.by_text)

    def features(self, caption_of: Ints, standing: Ints | None = None) -> Floats:
        """float32 [N, features] of pictures 0 … N - 1 with the captions ``caption_of`` [N], a
        permutation; NaN where a row has no neighbour to compare with.

        ``standing`` [N], a permutation: the caption that each row of the data has, by default its
        own.
        """
        own = np.arange(len(caption_of))
        by_image, by_text = self.by_image, self.by_text  # captions at rows, rows of captions
        if standing is not None:
            by_image = np.where(by_image < 0, -1, standing[by_image])
            by_text = np.where(by_text < 0, -1, _inverse(standing)[by_text])
        captions = _cosines_of_all(
            self._rows.cosines, "text_text", by_image, _inverse(caption_of)
        )[caption_of]  # fmt: skip
        pictures = _cosines_of_all(self._rows.cosines, "image_image", by_text, caption_of)
        # What stands at the pair's own rows tells nothing.
        captions[by_image == caption_of[:, None]] = np.nan
        pictures[by_text[caption_of] == own[:, None]] = np.nan
        text = self.text[caption_of]
        found = [
            _mean(captions), _greatest(captions), _greatest(captions * self.image),
            _mean(pictures), _greatest(pictures), _greatest(pictures * text),
            _mean(self.image), _greatest(self.image), _mean(text), _greatest(text),
        ]  # fmt: skip
        if self._cross is not None and self._best_cross is not None and standing is None:
            found.append(_cosines_of_all(self._cross, "image_text", caption_of[:, None])[:, 0])
            found += [self._best_cross[0], self._best_cross[1][caption_of]]
        return np.stack(found, axis=1)


def _cosines_of_all(
    cosines: Cosines, sides: str, ids: npt.NDArray[np.integer[Any]], of: Ints | None = None
) -> Floats:
    """float32 [N, k]: of the targets 0 … N - 1 with ``ids`` [N, k], or with ``ids[of]``."""
    order = np.arange(len(ids), dtype=np.int64) if of is None else of
    found = np.empty(ids.shape, dtype=np.float32)
    for block in row_blocks(*ids.shape):
        found[block] = cosines(sides, block.start, np.asarray(ids[order[block]], dtype=np.int64))
    return found


def _greatest(values: Floats) -> Floats:
    """The greatest of each row; NaN where none is known."""
    best = np.where(np.isnan(values), -np.inf, values).max(axis=1)
    return np.where(np.isinf(best), np.nan, best).astype(np.float32)


def _mean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


@dataclass(frozen=True)
class Mismatch:
    """What was found of all rows."""

    probability: Floats  # [N], NaN where nothing is known of a row
    score: Floats  # [N], greater where picture and caption agree
    noise_rate: float  # p0, estimated; NaN where nothing was
    weights: dict[str, float]  # of the standardised features


def mismatch(
    neighbourhoods: Neighbourhoods, readable: npt.NDArray[np.bool_], seed: int
) -> Mismatch:
    """Probabilities that captions are wrong; with cross-scores the greater one of those with them
    and without. A model that learnt the wrong captions finds them right, and does not hide what
    the neighbours tell."""
    own = neighbourhoods.features(np.arange(len(readable), dtype=np.int64))
    exchanged = neighbourhoods.features(exchange(readable, seed))
    names = neighbourhoods.names
    plain = len(NAMES)
    found = _estimated(own[:, :plain], exchanged[:, :plain], readable, NAMES)
    if len(names) == plain:
        return found
    with_model = _estimated(own, exchanged, readable, names)
    return Mismatch(
        np.fmax(found.probability, with_model.probability),
        with_model.score,
        float(np.fmax(found.noise_rate, with_model.noise_rate)),
        with_model.weights,
    )


class Expected(NamedTuple):
    """What was found of captions that were exchanged to try it out."""

    exchanged: int
    """Rows that got an unlike caption of another row."""
    flagged: int
    precision: float | None
    """Share of the flagged rows that had got one; None where none is flagged."""
    recall: float
    """Share of the exchanged rows that are flagged."""

    def in_words(self) -> str:
        precision = "none" if self.precision is None else f"{100 * self.precision:.0f} %"
        return (
            f"Tried out on these data: the captions of {self.exchanged:,} random rows were "
            f"exchanged. Of the rows that were flagged then {precision} had got a wrong caption, "
            f"and {100 * self.recall:.0f} % of those with one were flagged. Where fewer captions "
            "are wrong, fewer of the flagged ones are: look at them before you drop them."
        )


def expected(
    near: Neighbourhoods,
    readable: npt.NDArray[np.bool_],
    least: float,
    alike: Callable[[Ints], Floats],
    seed: int,
) -> Expected | None:
    """Exchange captions of `TRIED` of the readable rows among them, and see which rows are flagged,
    by a probability of ``least`` or more. None where rows are too few to tell.

    ``alike`` gives the text cosine of each row's caption to that of the rows it is given, float32
    [N]; a caption that is nearly the row's own is no wrong one.
    """
    random = np.random.default_rng([seed, 3])
    moved = random.permutation(np.flatnonzero(readable))[: round(TRIED * readable.sum())]
    standing = np.arange(len(readable), dtype=np.int64)
    standing[moved] = np.roll(moved, 1)
    others = standing[exchange(readable, seed)]
    plain = slice(0, len(NAMES))
    found = _estimated(
        near.features(standing, standing)[:, plain], near.features(others, standing)[:, plain],
        readable, NAMES,
    )  # fmt: skip
    wrong = np.zeros(len(readable), dtype=np.bool_)
    wrong[moved] = True
    wrong &= alike(standing) < ALIKE
    if np.isnan(found.noise_rate) or not wrong.any():
        return None
    flagged = found.probability >= least
    hits, count = int((flagged & wrong).sum()), int(flagged.sum())
    precision = hits / count if count else None
    return Expected(int(wrong.sum()), count, precision, hits / int(wrong.sum()))


def _inverse(permutation: Ints) -> Ints:
    found = np.empty_like(permutation)
    found[permutation] = np.arange(len(permutation))
    return found


def _estimated(
    own: Floats, exchanged: Floats, readable: npt.NDArray[np.bool_], names: tuple[str, ...]
) -> Mismatch:
    blank = np.full(len(readable), np.nan, dtype=np.float32)
    known = readable & ~np.isnan(own).any(axis=1)
    others = exchanged[readable & ~np.isnan(exchanged).any(axis=1)].astype(np.float64)
    if min(int(known.sum()), len(others)) < FEWEST:
        return Mismatch(blank, blank, float("nan"), {})
    scores, null, weights = discriminant(own[known].astype(np.float64), others)
    found, noise_rate = wrong_probability(scores, null)
    probability, score = blank.copy(), blank.copy()
    probability[known], score[known] = found, scores
    return Mismatch(probability, score, noise_rate, dict(zip(names, weights.tolist(), strict=True)))


def exchange(readable: npt.NDArray[np.bool_], seed: int) -> Ints:
    """int64 [N]: the caption of which row each row gets; readable ones exchange theirs in one
    random cycle, so that none keeps its own."""
    order = np.random.default_rng([seed, 0]).permutation(np.flatnonzero(readable))
    caption_of = np.arange(len(readable), dtype=np.int64)
    caption_of[order] = np.roll(order, 1)
    return caption_of


def discriminant(own: Doubles, null: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Scores of ``own`` [n, d] and of ``null`` [m, d] along Fisher's linear discriminant, and its
    weights [d] of the features, which are standardised by ``null``."""
    middle, spread = null.mean(axis=0), null.std(axis=0)
    spread = np.where(spread > 1e-9, spread, np.inf)  # a constant tells nothing
    own, null = (own - middle) / spread, (null - middle) / spread
    scatter = np.cov(own.T) + np.cov(null.T) + _RIDGE * np.eye(own.shape[1])
    weights = np.linalg.solve(scatter, own.mean(axis=0) - null.mean(axis=0))
    return own @ weights, null @ weights, weights


def wrong_probability(scores: Doubles, null: Doubles) -> tuple[Doubles, float]:
    """The probability [n] that each of ``scores`` is one of ``null``'s kind, and their share p0."""
    noise_rate = float((scores <= np.quantile(null, LOWEST)).mean() / LOWEST)
    noise_rate = min(noise_rate, 1.0)
    both = np.concatenate([scores, null])
    order = np.argsort(both, kind="stable")
    own = (order < len(scores)).astype(np.float64)
    # So many scores in each step, of which the last may have fewer.
    starts = np.arange(0, len(both), -(-len(both) // _MOST_STEPS))
    sizes = np.diff(np.append(starts, len(both)))
    share = rising(np.add.reduceat(own, starts) / sizes, sizes)
    ratio = (1 - share) / np.maximum(share, 1e-12) * (len(scores) / len(null))  # f0 / f
    probability = np.empty(len(both))
    probability[order] = np.repeat(np.minimum(1.0, noise_rate * ratio), sizes)
    return probability[: len(scores)], noise_rate


def rising(values: Doubles, weights: npt.NDArray[Any]) -> Doubles:
    """The closest values that never fall, by weighted least squares: pool adjacent violators."""
    means: list[float] = []
    totals: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        means.append(value)
        totals.append(weight)
        counts.append(1)
        while len(means) > 1 and means[-2] >= means[-1]:
            total = totals[-2] + totals[-1]
            means[-2:] = [(means[-2] * totals[-2] + means[-1] * totals[-1]) / total]
            totals[-2:], counts[-2:] = [total], [counts[-2] + counts[-1]]
    return np.repeat(means, counts)
