"""What measures curating: whose captions are wrong, and those who find them otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def curation(experiments: Any) -> Any:
    pytest.importorskip("sklearn", reason="the experiment ranks by scikit-learn")
    return experiments("curation")


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_a_share_of_the_captions_goes_to_other_rows(curation: Any, noise: float) -> None:
    of, wrong = curation.shuffled(500, noise)
    assert sorted(of) == list(range(500))
    assert wrong.sum() == round(500 * noise)
    assert np.array_equal(wrong, of != np.arange(500))


def test_a_score_without_a_bound_flags_the_share_that_it_is_told(curation: Any) -> None:
    found = curation.by_score(np.array([0.1, 0.9, 0.2, 0.8, 0.3]), 0.4)
    assert found["flag"].tolist() == [False, True, False, True, False]


def test_neighbours_of_lemon_tell_most_wrong_captions(curation: Any) -> None:
    random = np.random.default_rng(0)
    topic = random.integers(0, 20, 600)
    image, text = (
        unit(random.normal(size=(20, 32))[topic] + 0.5 * random.normal(size=(600, 32)))
        for _ in range(2)
    )
    of, wrong = curation.shuffled(600, 0.1)
    scores = curation.lemon(image, text[of], None)
    above = (scores[wrong][:, None] > scores[~wrong]).mean()
    assert above > 0.9, above


def test_a_tenth_of_the_captions_that_are_curated_are_of_others(bench: Any, tmp_path: Path) -> None:
    store = bench("curate").store_at(tmp_path / "s", 1000, 64)
    image, text = (unit(np.asarray(each, np.float64)) for each in (store.image, store.text))
    alike = image @ image.T > 0.3  # rows of a topic
    near = np.array([(text[row] @ text[alike[row]].T).mean() for row in range(1000)])
    assert (near < 0.2).sum() == pytest.approx(100, abs=15)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
