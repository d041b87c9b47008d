"""The linear map that is fitted from picture features to caption features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from helip.diagnosis.features import measure_features
from helip.diagnosis.linear_map import RIDGE, ROWS_PER_DIMENSION, mapped

DIMS = 6


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def sides(rows: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Captions that are a linear map of their pictures, but for noise and their length."""
    random = np.random.default_rng(seed)
    image = unit(random.normal(size=(rows, DIMS)) + 0.3)
    weights = random.normal(size=(DIMS, DIMS))
    return image, unit(image @ weights + noise * random.normal(size=(rows, DIMS)))


def test_it_is_a_ridge_regression_of_centred_rows() -> None:
    image, text = sides(60, 0.3)

    def of(rows: Any) -> Any:
        return torch.from_numpy(image[rows]), torch.from_numpy(text[rows])

    fitted, asked = np.arange(40), np.array([41, 50, 3])
    told = mapped(of, fitted)
    assert told is not None
    centred = image[:40] - image[:40].mean(axis=0), text[:40] - text[:40].mean(axis=0)
    # With the penalty as rows of their own, a plain least squares.
    penalty = RIDGE * (centred[0] ** 2).sum(axis=0).mean()
    inputs = np.concatenate([centred[0], np.sqrt(penalty) * np.eye(DIMS)])
    outputs = np.concatenate([centred[1], np.zeros((DIMS, DIMS))])
    weights = np.linalg.lstsq(inputs, outputs, rcond=None)[0]
    expected = unit((image[asked] - image[:40].mean(axis=0)) @ weights)
    found = told(asked)
    assert found[0].numpy() == pytest.approx(expected)
    assert found[1].numpy() == pytest.approx(unit(text[asked] - text[:40].mean(axis=0)))


def test_too_few_rows_are_not_fitted() -> None:
    image, text = sides(40, 0.1)

    def of(rows: Any) -> Any:
        return torch.from_numpy(image[rows]), torch.from_numpy(text[rows])

    assert mapped(of, np.arange(ROWS_PER_DIMENSION * DIMS - 1)) is None
    assert mapped(of, np.arange(ROWS_PER_DIMENSION * DIMS)) is not None


@pytest.mark.parametrize("noise", [0.0, 30.0])
def test_features_that_are_not_aligned_are_known_where_a_map_aligns_them(noise: float) -> None:
    rows = 400
    image, text = sides(rows, noise)
    pools = np.stack([np.delete(np.arange(rows), row)[:30] for row in range(rows)])
    batches = [np.arange(first, first + 32) for first in range(0, rows - 31, 32)]
    found = measure_features(image, text, pools, batch_size=16, batches=batches, targets=50)
    assert found.between.value is not None and found.mapped.value is not None
    assert found.between.value < 0.3
    assert (found.mapped.value > 0.6) is (noise == 0.0)
    assert noise == 0.0 or found.mapped.value < 0.3


def test_none_is_told_where_too_few_rows_are_left() -> None:
    image, text = sides(20, 0.0)
    pools = np.stack([np.delete(np.arange(20), row)[:10] for row in range(20)])
    found = measure_features(image, text, pools, batch_size=20, targets=10)
    assert found.mapped.value is None and found.mapped.n == 0
