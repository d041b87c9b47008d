"""Trials on icons: what they measure, and the batches that they compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helip

SPLITS = [
    "train", "designers-validation", "designers-test", "names-validation", "names-test",
    "variants-validation", "variants-test",
]  # fmt: skip


def _icons(experiments: Any) -> Any:
    """Of 300 rows and 90 captions."""
    rng = np.random.default_rng(4)
    groups = np.concatenate([np.arange(90), rng.integers(0, 90, 210)])
    splits = rng.integers(0, len(SPLITS), 300)
    known = np.isin(groups, groups[splits == 0])
    icons = experiments("icons")
    return icons.Icons(
        folder=Path(), keys=[str(row) for row in range(300)],
        captions=[f"caption {group}" for group in groups], groups=groups,
        sets=np.zeros(300, np.int64), set_names=["a"], designers=np.zeros(300, np.int64),
        designer_names=["a"], splits=splits, split_names=SPLITS, known=known,
    )  # fmt: skip


def test_recall_is_that_of_a_plain_search(experiments: Any) -> None:
    icon_recall, data = experiments("icon_recall"), _icons(experiments)
    rng = np.random.default_rng(5)
    image, text = rng.normal(size=(300, 6)), rng.normal(size=(90, 6))
    # So that some answers are right.
    image += 1.5 * text[data.groups]
    found = icon_recall.recall(data, torch.from_numpy(image), torch.from_numpy(text), "test")
    for split in ("variants", "names", "designers"):
        rows = [row for row in range(300) if SPLITS[data.splits[row]] == f"{split}-test"]
        if split == "designers":
            rows = [row for row in rows if data.known[row]]
        to_text = [int(np.argmax(text @ image[row]) == data.groups[row]) for row in rows]
        assert found["figures"][f"{split} I→T"] == pytest.approx(np.mean(to_text))
        to_image = []
        for caption in sorted({data.groups[row] for row in rows}):
            gallery = [row for row in range(300) if data.groups[row] != caption or row in rows]
            best = max(gallery, key=lambda row: image[row] @ text[caption])
            to_image.append(data.groups[best] == caption)
        assert found["figures"][f"{split} T→I"] == pytest.approx(np.mean(to_image))
        assert 0 < np.mean(to_text) < 1


def _table(rows: int = 400, k: int = 12) -> helip.HardPairs:
    """Groups of 20 rows, scattered; pools lie within a group."""
    rng = np.random.default_rng(6)
    ids = np.empty((rows, k), np.int64)
    for row in range(rows):
        near = np.arange(row % (rows // 20), rows, rows // 20)
        ids[row] = rng.permutation(near[near != row])[:k]
    scores = np.broadcast_to(np.linspace(0.9, 0.5, k, dtype=np.float32), ids.shape)
    return helip.HardPairs.from_arrays(
        ids, scores, fingerprint="a", data_fingerprint="b", options={}
    )


def test_b3_covers_each_row_once_an_epoch_in_batches_of_parts(experiments: Any) -> None:
    pytest.importorskip("pymetis")
    rivals, pairs = experiments("rivals"), _table()
    batches = rivals.b3(pairs, 40, 0, ranks=10, part=20)
    epoch = [next(batches) for _ in range(10)]
    assert sorted(np.concatenate(epoch).tolist()) == list(range(400))
    inside = np.mean([np.isin(pairs.ids[batch], batch).mean() for batch in epoch])
    assert inside > 0.5  # of any batch of 40: 0.1


def test_every_way_of_the_scout_is_one_that_the_loader_takes(experiments: Any) -> None:
    pytest.importorskip("pymetis")
    scout = experiments("scout")
    from support.loader_samples import FakeData, random_pools, table_of

    pairs = table_of(random_pools(300, 100, seed=1), 100)
    for way, options in scout.WAYS.items():
        loader = helip.HardPairLoader(FakeData(300), pairs, batch_size=64, workers=0, **options)
        batch = next(iter(loader.planned_rows(0)))
        assert 32 <= len(batch) <= 64, way
