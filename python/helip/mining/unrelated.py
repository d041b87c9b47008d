"""Notices embeddings whose rows do not belong together: image i and text i of different pairs.

Where they do, captions of similar pictures are more alike than those of others. So over pairs of
sampled rows the similarities of images and of texts are correlated, more than they are once the
texts are permuted: a Mantel test (Cancer Research 27, 1967) on similarities without the mean row.

Of rows in many small clusters a small sample holds no two that are alike. So where it shows
nothing, the nearest picture of some rows is sought among more: its text is closer than others.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from helip.mining.inputs import Inputs

#: Rows below which nothing is said: captions of a few pictures may be unrelated by chance.
LEAST_ROWS = 100
_SAMPLE = 256
_NEIGHBOURS = 16_384  # rows among which the nearest are sought
_PERMUTATIONS = 16
_NEIGHBOUR_PERMUTATIONS = 64
#: Standard deviations of permuted texts. Of pictures and captions of the demo, 100 rows had 11 and
#: more, all rows 39 and more, with 30 % of the captions permuted 23 and more; permuted ones never
#: more than 4.4.
_BOUND = 6.0

Floats = npt.NDArray[np.float32]


def warn_of_unrelated(inputs: Inputs, *, stacklevel: int) -> None:
    """Warns where samples of rows show no relation of image and text, or where both are equal.

    The same samples for the same number of rows. Reads these alone, and takes some hundredths of a
    second.
    """
    if inputs.rows < LEAST_ROWS:
        return
    random = np.random.default_rng(0)
    image, text = _sampled(inputs, _SAMPLE, random)
    if len(image) < LEAST_ROWS:
        return
    if image.shape == text.shape and np.array_equal(image, text):
        warnings.warn(
            f"image and text are the same: so are all of {len(image)} sampled rows. A score is "
            "then the square of one similarity; give image and text embeddings, or mine one of "
            "them by modality='image' or modality='text'",
            stacklevel=stacklevel,
        )
        return
    found, chance, spread = _correlation(_similarities(image), _similarities(text), random)
    # Not where all rows are alike, and spread is 0.
    if found - chance < _BOUND * spread and not _neighbours_agree(inputs, random):
        warnings.warn(
            "image and text look unrelated, as if row i of both were not the same pair: over the "
            f"pairs of {len(image)} sampled rows their similarities have correlation {found:.3f}, "
            f"and {chance:.3f} ± {spread:.3f} once the texts are permuted. Check that both have "
            "their rows in one order, such as that of the keys: neither shuffled nor shifted",
            stacklevel=stacklevel,
        )


def _sampled(inputs: Inputs, most: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Images and texts of some rows, without those that could not be read; none where one is not
    finite, which mining names."""
    rows = np.sort(random.choice(inputs.rows, min(most, inputs.rows), replace=False))
    image, text = (_floats(array, rows) for array in inputs.arrays)
    if not (np.isfinite(image).all() and np.isfinite(text).all()):
        return image[:0], text[:0]
    whole = image.any(axis=1) & text.any(axis=1)
    return image[whole], text[whole]


def _neighbours_agree(inputs: Inputs, random: np.random.Generator) -> bool:
    """Whether the texts of rows are closer to those of the nearest pictures than to others; also
    where a row is not finite."""
    image, text = _sampled(inputs, _NEIGHBOURS, random)
    if len(image) == 0:
        return True
    image, text = _centred(image), _centred(text)
    some = random.choice(len(image), min(_SAMPLE, len(image)), replace=False)
    similar = image[some] @ image.T
    similar[np.arange(len(some)), some] = -np.inf
    nearest = similar.argmax(axis=1)

    def closeness(others: npt.NDArray[np.int64]) -> float:
        return float(np.vdot(text[some], text[others]))

    by_chance = [
        closeness(random.permutation(len(text))[nearest]) for _ in range(_NEIGHBOUR_PERMUTATIONS)
    ]
    found = closeness(nearest) - float(np.mean(by_chance))
    return found >= _BOUND * float(np.std(by_chance, ddof=1))


def _floats(array: Any, rows: npt.NDArray[np.int64]) -> Floats:
    """float32 [n, d] of these rows; of int8 the codes, whose scales change no cosine."""
    taken = array[rows]
    if hasattr(taken, "float"):  # torch, which alone knows bfloat16
        taken = taken.float().numpy()
    return np.asarray(taken, dtype=np.float32)


def _similarities(rows: Floats) -> Floats:
    """[n, n] of unit rows without their mean; 0 of a row with itself."""
    units = _centred(rows)
    found: Floats = units @ units.T
    np.fill_diagonal(found, 0)
    return found


def _centred(rows: Floats) -> Floats:
    """Unit rows without their mean, whose length would be common to all."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    units: Floats = rows / lengths.astype(np.float32)[:, None]
    units -= units.mean(axis=0, dtype=np.float64).astype(np.float32)
    return units


def _correlation(
    image: Floats, text: Floats, random: np.random.Generator
) -> tuple[float, float, float]:
    """Of the similarities as they are; mean and standard deviation with texts permuted."""
    length = float(np.linalg.norm(image)) * float(np.linalg.norm(text))
    if length == 0:  # all rows are alike
        return 0.0, 0.0, 0.0
    by_chance = []
    for _ in range(_PERMUTATIONS):
        order = random.permutation(len(text))
        by_chance.append(float(np.vdot(image, text[order][:, order])) / length)
    found = float(np.vdot(image, text)) / length
    return found, float(np.mean(by_chance)), float(np.std(by_chance, ddof=1))
