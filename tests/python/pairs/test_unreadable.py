"""Rows without an embedding are counted apart from outliers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import helip
from helip.pairs.unreadable import unreadable_rows

ROWS = 40


def test_rows_of_zeros_and_deleted_rows_are_no_outliers(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    image, text = (np.abs(random.normal(size=(ROWS, 6))).astype(np.float32) for _ in range(2))
    image[3] = 0
    text[4] = 0
    image[5] = -image.sum(axis=0)  # like no other: an outlier
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=6, text_dim=6) as writer:
        writer.append([str(row) for row in range(ROWS)], image, text)
        writer.delete([8])
    store = helip.EmbeddingStore.open(tmp_path / "s")
    found = {"both": [3, 4, 8], "image": [3, 8], "text": [4, 8]}
    for modality, rows in found.items():
        pairs = helip.mine(store, k=5, modality=modality, device="cpu", progress=False)
        assert unreadable_rows(pairs).tolist() == []  # nothing is known without a store
        bare, known = pairs.stats(), pairs.with_store(store).stats()
        assert unreadable_rows(pairs.with_store(store)).tolist() == rows
        assert known["unreadable"] == len(rows) and "unreadable" not in bare
        assert known["outliers"] == (0 if modality == "text" else 1)
        for name in ("outliers", "short_targets"):
            assert bare[name] == known[name] + len(rows)
        assert bare["hubness"]["never_chosen"] == known["hubness"]["never_chosen"] + len(rows)
    joined = pairs.join(helip.mine(store, k=5, device="cpu", progress=False), k=5, progress=False)
    assert joined.options["modality"] == "joined"
    assert unreadable_rows(joined.with_store(store)).tolist() == [4, 8]  # 3 has pools of captions
