"""Batches that are chosen from larger super-batches, by a model's losses or by concepts.

Super-batches are drawn without replacement: what is left of an epoch that no longer fills one is
dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import caption_parts
import numpy as np
import torch
from scipy import sparse
from torch import Tensor

GAIN = 1.0  # of JEST's scores: a row is drawn by exp(GAIN * score)


def jest(
    logits: Callable[[np.ndarray], tuple[Tensor, Tensor]],
    n: int,
    rows: int,
    seed: int,
    *,
    factor: int,
    chunks: int = 16,
) -> Iterator[np.ndarray]:
    """JEST (arXiv 2406.17711): batches that are jointly learnable, for ever, int64 [rows].

    Learnability is the learner's loss minus that of a reference model (the paper's "learnability"
    score). A batch is drawn from ``factor * rows`` of the n rows, chunk by chunk: see
    `choose_jointly`. The paper keeps a fifth of a super-batch, in 16 chunks.

    logits: of positions [m], the learner's and the reference model's similarities of each image
    with each text, times the model's scale, float32 [m, m]; asked for once per batch, as the
    models are then. Pairs that are no negatives may be -inf in both, not a row's own.
    """
    rng = np.random.default_rng(seed)
    for positions in _super_batches(n, factor * rows, rng):
        yield positions[choose_jointly(*logits(positions), rows, chunks, rng)]


@torch.no_grad()
def choose_jointly(
    learner: Tensor, reference: Tensor, rows: int, chunks: int, rng: np.random.Generator
) -> np.ndarray:
    """Different rows of two matrices of logits, int64 [rows], in the order in which they are drawn.

    The paper's algorithm for softmax losses. A chunk is drawn without replacement, each row in
    proportion to exp(GAIN * score), its learnability given the rows of the chunks before: the
    largest of scores with Gumbel noise. The first chunk's score is that of a row's own logit.
    """
    models = Conditional(learner), Conditional(reference)
    drawn = np.zeros(len(learner), bool)
    order: list[np.ndarray] = []
    for part in np.array_split(np.arange(rows), min(chunks, rows)):
        score = GAIN * learnability(*models).double().numpy() + rng.gumbel(size=len(drawn))
        score[drawn] = -np.inf
        order.append(np.argpartition(-score, len(part) - 1)[: len(part)])
        drawn[order[-1]] = True
        for model in models:
            model.add(torch.from_numpy(order[-1]))
    return np.concatenate(order)


class Conditional:
    """The losses that a model's logits [m, m] give each row as the rows drawn so far are its only
    negatives, in parts: loss = ``against()`` - ``own``, of means over both directions.

    As the paper has it, a row's own pair is not in the denominator.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.own = logits.diagonal()
        self._by_image = torch.full_like(self.own, -torch.inf)
        self._by_text = self._by_image.clone()

    def add(self, rows: Tensor) -> None:
        """Takes rows, int64 [k], that were not drawn before among the negatives."""
        self._by_image = torch.logaddexp(self._by_image, self.logits[:, rows].logsumexp(1))
        self._by_text = torch.logaddexp(self._by_text, self.logits[rows].logsumexp(0))

    def against(self) -> Tensor:
        """[m]: the log of the sum of the negatives, -inf where there are none."""
        return (self._by_image + self._by_text) / 2


def learnability(learner: Conditional, reference: Conditional) -> Tensor:
    """[m]: the learner's loss minus the reference's; without negatives, of the own logits alone."""
    against = learner.against() - reference.against()
    return reference.own - learner.own + torch.nan_to_num(against, nan=0.0)


def cabs(
    concepts: sparse.csr_array,
    n: int,
    rows: int,
    seed: int,
    *,
    factor: int,
    kind: Literal["diversity", "frequency"],
) -> Iterator[np.ndarray]:
    """CABS (arXiv 2511.20643): batches by the concepts of their rows, for ever, int64 [rows].

    A batch is taken from ``factor * rows`` of the n rows; the paper keeps a fifth.
    concepts: bool [n, C], see `concepts_of`. kind: "diversity" is CABS-DM, see `most_diverse`;
    "frequency" is CABS-FM, which takes the rows with most concepts (h = |C_i|).
    """
    if concepts.shape[0] != n:
        raise ValueError(f"there are concepts of {concepts.shape[0]:,} rows, and not of {n:,}")
    choose = {"diversity": most_diverse, "frequency": _most_concepts}[kind]
    for positions in _super_batches(n, factor * rows, np.random.default_rng(seed)):
        yield positions[choose(concepts[positions], rows)]


def most_diverse(concepts: sparse.csr_array, rows: int) -> np.ndarray:
    """Rows of concepts [m, C], int64 [rows], in the order in which they are taken (CABS-DM).

    Each time the row with the largest gain is taken: the mean over its concepts c of
    (t_c - n_c) / t_c + 1 / F_c, or 0 for concepts with n_c >= t_c. n_c counts the rows taken that
    hold c, F_c those of the super-batch. The target t_c is the same for all concepts that occur:
    ``rows`` by their number, at least 1. Rows without a concept come last.

    The authors' program differs from their formula: a concept beyond its target costs 0.5, and no
    row is taken with a concept that ten rows taken hold. That is for batches of 4,096; captions'
    commonest words would leave too few rows here, so the formula is followed.
    """
    sizes = np.diff(concepts.indptr)
    row_of = np.repeat(np.arange(len(sizes)), sizes)
    present, column = np.unique(concepts.indices, return_inverse=True)
    target = max(1, rows // max(1, len(present)))
    rarity = 1 / np.bincount(column, minlength=len(present))
    shares = np.zeros((len(present), len(sizes)))  # of a concept in its row's mean
    shares[column, row_of] = 1 / sizes[row_of]
    gains = 1 + rarity
    taken = np.zeros(len(present), np.int64)
    values = np.where(sizes > 0, gains @ shares, -1.0)
    order = np.empty(rows, np.int64)
    for place in range(rows):
        order[place] = best = values.argmax()
        values[best] = -np.inf
        held = column[concepts.indptr[best] : concepts.indptr[best + 1]]
        taken[held] += 1
        left = np.maximum(target - taken[held], 0)
        gain = np.where(left > 0, left / target + rarity[held], 0.0)
        values += (gain - gains[held]) @ shares[held]
        gains[held] = gain
    return order


def _most_concepts(concepts: sparse.csr_array, rows: int) -> np.ndarray:
    # Of rows with as many concepts, the first: super-batches are in random order.
    return np.argsort(-np.diff(concepts.indptr), kind="stable")[:rows]


def concepts_of(captions: Sequence[str], least: int = 5) -> sparse.csr_array:
    """bool [n, C]: which concepts each caption holds.

    The paper's concepts are objects that taggers and detectors find in the picture. Here they are
    the content words of its caption, verbs too, that stand in ``least`` captions or more.
    """
    words = [sorted(set(caption_parts.content_words(caption))) for caption in captions]
    counts = Counter(word for held in words for word in held)
    common = sorted(word for word, count in counts.items() if count >= least)
    column = {word: place for place, word in enumerate(common)}
    kept = [[column[word] for word in held if word in column] for held in words]
    ends = np.cumsum([0, *map(len, kept)])
    columns = np.array([place for places in kept for place in places], np.int64)
    shape = len(captions), len(column)
    return sparse.csr_array((np.ones(len(columns), bool), columns, ends), shape=shape)


def _super_batches(n: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    if size > n:
        raise ValueError(f"a super-batch of {size:,} rows is more than the {n:,} that there are")
    while True:
        order = rng.permutation(n)
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]
