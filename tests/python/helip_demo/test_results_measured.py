"""Held-out rows ask among all rows; the rows of each split are where they are said to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import MismatchError
from helip_demo import results
from helip_demo.data import SPLITS, Picture, write_shards

ROWS = 40
ASKED = range(12, 22)


def features(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows of pictures, and captions near enough that some are found and some are not."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(ROWS, 8))
    text = image + rng.normal(size=(ROWS, 8))
    return tuple(side / np.linalg.norm(side, axis=1, keepdims=True) for side in (image, text))


def result(seed: int, rows: range) -> dict[str, Any]:
    image, text = (side.astype(np.float32) for side in features(seed))
    captions = [f"caption {row}" for row in range(ROWS)]
    found = helip.evaluation.retrieval(image, text, captions=captions, keep_ranks=True)
    found["queries"] = "those of this test"
    return results.asked_by(found, rows, bootstrap=50)


def test_ranks_are_those_among_all_rows_of_the_queries_of_the_asked_rows() -> None:
    image, text = features(0)
    asked = result(0, ASKED)
    for direction, similar in {
        "image_to_text": image @ text.T,
        "text_to_image": text @ image.T,
    }.items():
        ranks = [1 + int((similar[row] > similar[row, row]).sum()) for row in ASKED]
        among_themselves = [
            1 + int((similar[row, ASKED] > similar[row, row]).sum()) for row in ASKED
        ]
        assert asked["per_query"][direction]["ranks"] == ranks != among_themselves
        figure = asked[direction]["recall@1"]
        assert figure["value"] == pytest.approx(np.mean([rank == 1 for rank in ranks]))
        assert figure["low"] < figure["value"] < figure["high"]
        assert figure["n"] == len(ASKED)
        assert asked[direction]["candidates"] == ROWS


def test_results_of_the_same_rows_are_compared_and_of_others_refused() -> None:
    one, two = ({"retrieval": result(seed, ASKED)} for seed in (0, 1))
    found = helip.compare(one, two)["retrieval"]["text_to_image"]["recall@1"]
    value = [model["retrieval"]["text_to_image"]["recall@1"]["value"] for model in (one, two)]
    assert found["value"] == pytest.approx(value[0] - value[1])
    with pytest.raises(MismatchError, match="different queries"):
        helip.compare(one, {"retrieval": result(1, range(11, 21))})


def test_all_splits_are_one_data_set_in_which_each_has_its_place(tmp_path: Path) -> None:
    png = b"\x89PNG"
    sizes = dict(zip(SPLITS, (5, 2, 3), strict=True))
    for name, size in sizes.items():
        pictures = [
            Picture(f"{name}-{n}", f"{name} {n}", "concept", "thing", png) for n in range(size)
        ]
        write_shards(tmp_path / name, pictures, shard_rows=2)
    sets = {name: helip.open_dataset(tmp_path / name, progress=False) for name in SPLITS}
    everything, rows = results.open_all(tmp_path), results.places(sets)
    assert len(everything) == sum(sizes.values())
    for name, data in sets.items():
        assert [everything.keys[row] for row in rows[name]] == list(data.keys)
        assert [everything.caption(row) for row in rows[name]] == [
            data.caption(row) for row in range(len(data))
        ]
