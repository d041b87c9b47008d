"""Cosines of rows of a store, against a plain float64 reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.store import PairCosines


@pytest.mark.parametrize("sides", ["image_image", "text_text", "image_text", "text_image"])
def test_cosines_are_those_of_float64(tmp_path: Path, sides: str) -> None:
    random = np.random.default_rng(0)
    image, text = random.standard_normal((2, 9, 5)).astype(np.float32)
    image[4] = text[4] = 0
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=5, text_dim=5) as writer:
        writer.append([str(row) for row in range(9)], image, text)
    ids = np.array([[1, 8], [3, -1], [4, 0]])
    found = PairCosines(helip.EmbeddingStore.open(tmp_path / "s")).of(sides, 2, ids)
    with np.errstate(invalid="ignore"):
        unit = {
            name: side / np.linalg.norm(side, axis=1, keepdims=True)
            for name, side in (("image", image.astype(float)), ("text", text.astype(float)))
        }
    one, other = sides.split("_")
    expected = np.einsum("td,tkd->tk", unit[one][2:5], unit[other][ids])
    expected[ids < 0] = np.nan
    np.testing.assert_allclose(found, expected, atol=1e-7)
