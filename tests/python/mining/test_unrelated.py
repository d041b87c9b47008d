"""Embeddings whose rows do not belong together are noticed before they are mined."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import helip

ROWS = 600


def related(rows: int = ROWS, noise: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images and texts of which a common part of 8 numbers shows through noise of 64 and 48."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(rows, 8))
    sides = [common @ random.normal(size=(8, dims)) for dims in (64, 48)]
    # A mean direction, as real encoders have.
    image, text = (side + noise * random.normal(size=side.shape) + 3 for side in sides)
    return image.astype(np.float32), text.astype(np.float32)


def said(**call) -> list[str]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        helip.mine(**call, k=3, device="cpu", progress=False)
    assert all(warning.filename == __file__ for warning in seen)
    return [str(warning.message) for warning in seen]


def reference(image: np.ndarray, text: np.ndarray) -> float:
    """The correlation of similarities over pairs, by loops over float64."""
    found = []
    for side in (image.astype(np.float64), text.astype(np.float64)):
        units = side / np.sqrt((side**2).sum(1))[:, None]
        units = units - units.mean(0)
        found.append([a @ b for i, a in enumerate(units) for b in units[i + 1 :]])
    one, other = map(np.array, found)
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def test_related_rows_are_mined_without_a_word() -> None:
    image, text = related()
    assert said(image=image, text=text) == []
    wrong = np.random.default_rng(1).permutation(ROWS)[: ROWS * 3 // 10]
    text[wrong] = text[np.roll(wrong, 1)]
    assert said(image=image, text=text) == []
    assert said(image=image[:100], text=text[:100]) == []


def test_clusters_that_both_sides_share_are_related_however_many_there_are() -> None:
    random = np.random.default_rng(4)
    cluster = random.integers(0, 6000, 40_000)  # of 256 rows hardly two are of one
    image, text = (
        random.normal(size=(6000, dims)).astype(np.float32)[cluster]
        + random.normal(size=(40_000, dims)).astype(np.float32)
        for dims in (32, 24)
    )
    assert said(image=image, text=text, method="sample", candidates=100) == []
    for wrong in (random.permutation(40_000), np.roll(np.arange(40_000), 1)):
        (words,) = said(image=image, text=text[wrong], method="sample", candidates=100)
        assert "look unrelated" in words


@pytest.mark.parametrize("rows", [100, 250, ROWS])
def test_shuffled_and_shifted_rows_are_told_with_their_numbers(rows: int) -> None:
    image, text = related(rows)
    for wrong in (np.random.default_rng(2).permutation(rows), np.roll(np.arange(rows), 1)):
        (words,) = said(image=image, text=text[wrong])
        assert "image and text look unrelated" in words
        numbers = re.search(r"of (\d+) sampled rows .* correlation ([-.\d]+), and", words)
        assert int(numbers[1]) == min(rows, 256)
        if rows <= 256:  # all rows are in the sample
            assert float(numbers[2]) == pytest.approx(reference(image, text[wrong]), abs=6e-4)
    (again,) = said(image=torch.from_numpy(image).bfloat16(), text=torch.from_numpy(text[wrong]))
    assert "look unrelated" in again


def test_equal_matrices_are_told() -> None:
    image, _ = related()
    (words,) = said(image=image, text=image.copy())
    assert "image and text are the same: so are all of 256 sampled rows" in words


def test_few_rows_one_modality_and_rows_alike_say_nothing() -> None:
    random = np.random.default_rng(3)
    image, text = (random.normal(size=(200, 16)).astype(np.float32) for _ in range(2))
    assert said(image=image[:99], text=text[:99]) == []
    assert said(image=image, text=text, modality="image") == []
    alike = np.ones((200, 4), np.float32)
    assert said(image=alike, text=text) == []
    image[:120] = 0  # unreadable, which leaves 80
    assert said(image=image, text=text) == []


def test_a_store_is_looked_at_likewise(tmp_path: Path) -> None:
    image, text = related()
    for name, rows in (("right", text), ("wrong", text[::-1])):
        with helip.EmbeddingStore.create(tmp_path / name, image_dim=64, text_dim=48) as writer:
            writer.append([str(row) for row in range(ROWS)], image, np.ascontiguousarray(rows))
        store = helip.EmbeddingStore.open(tmp_path / name)
        assert bool(said(store=store)) == (name == "wrong")
