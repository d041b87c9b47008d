"""Cross-scores of a model: those of its own encoders, kept once they were made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import helip
from helip.common.array_cache import ArrayCache
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.evaluation import model_features
from helip.evaluation.model_features import ModelFeatures
from helip.models.saving import save_model
from support.evaluate_samples import tiny_model
from support.view_samples import BROKEN, ROWS, sides, write_all, write_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("features") / "made")


pytestmark = pytest.mark.usefixtures("one_thread")


def test_scores_are_those_of_the_models_encoders(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, data = tiny_model(), helip.open_dataset(folder / "pictures")
    save_model(bundle, tmp_path / "model")
    cache = ArrayCache({}, 1 << 30, tmp_path / "cache")
    features = ModelFeatures.of(tmp_path / "model", data, cache, progress=False)
    with torch.inference_mode():
        bundle.model.eval()
        image = bundle.encode_image([data.image(row) for row in (3, 12)])
        text = bundle.encode_text([data.caption(row) for row in (3, 12)])
    expected = (image @ text.T).numpy()
    np.testing.assert_allclose(features.square(3, 12), expected, atol=2e-3)
    gap = max(expected[0, 1], expected[1, 0]) - expected[0, 0]
    assert features.gaps(3, np.array([[12]]))[0, 0] == pytest.approx(gap, abs=4e-3)
    assert np.isnan(features.square(3, BROKEN)[1]).all()
    monkeypatch.setattr(model_features, "_encoded", None)  # it is not encoded again
    again = ModelFeatures.of(tmp_path / "model", data, cache, progress=False)
    np.testing.assert_array_equal(again.square(3, 12), features.square(3, 12))


def test_a_store_of_two_encoders_has_no_cross_scores(folder: Path, tmp_path: Path) -> None:
    cache = ArrayCache({}, 1 << 30, tmp_path)
    with pytest.raises(InvalidArgumentError, match="10 numbers and captions of 6"):
        ModelFeatures.of(folder / "store", range(ROWS), cache, progress=False)
    with pytest.raises(MismatchError, match=r"40 rows .* there, 7 rows"):
        ModelFeatures.of(folder / "before", range(7), cache, progress=False)


def test_a_store_of_other_data_of_as_many_rows_is_refused(folder: Path, tmp_path: Path) -> None:
    data = helip.open_dataset(folder / "pictures")
    text = sides()[1]
    other = write_store(tmp_path / "other", list(data.keys)[::-1], text, text)
    cache = ArrayCache({}, 1 << 30, tmp_path / "cache")
    with pytest.raises(MismatchError, match="keys or their order differ"):
        ModelFeatures.of(other, data, cache, progress=False)
    ModelFeatures.of(folder / "before", data, cache, progress=False)
