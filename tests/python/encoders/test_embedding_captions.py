"""Embedding rows with several captions: their mean, or the first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helip.common.errors import MismatchError
from support.embed_samples import Numbered, Numbers, run


class Several(Numbered):
    """Row i has captions of 1 + i % 3 numbers: i, i + 1000, i + 2000."""

    def _read_captions(self, row):
        return [str(row + 1000 * place) for place in range(1 + row % 3)]


@pytest.mark.parametrize("captions", ["mean", "first"])
def test_of_several_captions_the_store_has_the_mean_or_the_first(tmp_path, captions):
    class Angles(Numbers):
        """The number as an angle, at a length of its own."""

        dim = 2

        def encode(self, texts):
            angles = torch.tensor([float(text) for text in texts]) / 1000
            rows = torch.stack([angles.cos(), angles.sin()], dim=1)
            return rows * (1 + angles[:, None])

    store = run(
        Several(40), tmp_path / "s", text_encoder=Angles(), captions=captions, dtype="float32"
    )
    for row in range(40):
        count = 1 + row % 3 if captions == "mean" else 1
        angles = (row + 1000 * np.arange(count)) / 1000
        expected = np.stack([np.cos(angles), np.sin(angles)]).mean(axis=1)
        expected *= 1 + angles[0] if count == 1 else 1
        np.testing.assert_allclose(store.text[row], expected, atol=1e-5)
    with pytest.raises(MismatchError, match="captions is"):
        other = "first" if captions == "mean" else "mean"
        run(Several(40), tmp_path / "s", text_encoder=Angles(), captions=other, dtype="float32")
