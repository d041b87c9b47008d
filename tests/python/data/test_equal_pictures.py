"""Rows of one picture, whatever their captions: by the bytes of its file, then by its pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.curation.curating import equal_to_kept
from helip.data.equal_pictures import equal_files
from helip.diagnosis.table import measure_windows
from support.data_samples import encoded, picture, png

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = 160
BYTES, AGAIN, PIXELS, LIKE = 40, 41, 42, 43  # of the picture of rows 1, 1, 2 and nearly that of 3


def mined(folder: Path, lines: list[str], same: dict[int, int]) -> tuple:
    """Data, store and table of random rows, with equal pictures at ``same``: row → row."""
    (folder / "t.csv").write_text("\n".join(["id,image,caption", *lines]) + "\n")
    data = helip.open_dataset(folder / "t.csv", key_column="id", progress=False)
    random = np.random.default_rng(0)
    image, text = random.normal(size=(2, len(data), 32)).astype(np.float32)
    for row, other in same.items():
        image[row] = image[other]
    with helip.EmbeddingStore.create(folder / "s", image_dim=32, text_dim=32) as writer:
        writer.append(list(data.keys), image, text)
    pairs = helip.mine(folder / "s", k=5, image_max=1.0, device="cpu", progress=False)
    return data, helip.EmbeddingStore.open(folder / "s"), pairs


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    folder = tmp_path_factory.mktemp("equal")
    for row in range(ROWS):
        (folder / f"{row}.png").write_bytes(png(row))
    (folder / f"{BYTES}.png").write_bytes(png(1))
    (folder / f"{AGAIN}.png").write_bytes(png(1))
    (folder / f"{PIXELS}.png").write_bytes(encoded(picture(2), compress_level=0))
    lines = [f"k{row},{row}.png,caption {row}" for row in range(ROWS)]
    return mined(folder, lines, {BYTES: 1, AGAIN: 1, PIXELS: 2, LIKE: 3})


def test_rows_of_an_equal_picture_go_for_one_that_stays(sample: tuple, tmp_path: Path) -> None:
    data, store, pairs = sample
    found = helip.curate(pairs, data, store=store, out=tmp_path / "c", progress=False)
    flags = found.flags["equal_picture"]
    assert np.flatnonzero(found.equal_to >= 0).tolist() == np.flatnonzero(flags).tolist()
    of_one, of_two = {1, BYTES, AGAIN} - {*np.flatnonzero(flags)}, {2, PIXELS}
    assert len(of_one) == 1 and flags[list(of_two)].sum() == 1 and flags.sum() == 3
    assert set(found.equal_to[[*({1, BYTES, AGAIN} - of_one)]]) == of_one
    assert not found.keep[flags].any() and found.keep[~flags].all()
    assert found.counts()["dropped_by"]["equal_picture"] == 3 and found.unread_pictures == 0
    lines = (tmp_path / "c" / "keep.csv").read_text().splitlines()
    row = int(np.flatnonzero(flags)[0])
    assert lines[1 + row].startswith(f"k{row},0,equal_picture,")
    assert lines[1 + row].endswith(f",k{found.equal_to[row]}")
    assert "Equal picture" in (tmp_path / "c" / "report.html").read_text()


def test_rows_that_go_for_another_reason_stand_for_no_picture() -> None:
    pictures, goes = np.array([0, 0, 0, 3, 3, -1]), np.array([True, *[False] * 5])
    found = equal_to_kept(pictures, None, np.array([0, 2, 1, 4, 3, 5]), goes)
    assert found.tolist() == [2, 2, -1, 4, -1, -1]


def test_rows_of_one_file_are_its_captions_and_stay(tmp_path: Path) -> None:
    for row in range(ROWS // 2):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    lines = [f"k{row},{row // 2}.png,caption {row}" for row in range(ROWS)]
    data, store, pairs = mined(tmp_path, lines, {row: row - 1 for row in range(1, ROWS, 2)})
    found = helip.curate(pairs, data, store=store, progress=False)
    assert not found.flags["equal_picture"].any()
    assert equal_files(data, ROWS, 0) == (0, ROWS)


def test_a_picture_that_cannot_be_read_is_counted(sample: tuple, tmp_path: Path) -> None:
    for row in range(ROWS):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    (tmp_path / "7.png").write_bytes(png(7)[:60])
    lines = [f"k{row},{row}.png,caption {row}" for row in range(ROWS)]
    data, store, pairs = mined(tmp_path, lines, {8: 7})
    found = helip.curate(pairs, data, store=store, progress=False)
    assert found.unread_pictures == 1 and not found.flags["equal_picture"].any()


def test_a_diagnosis_counts_them_and_finds_them_among_hard_pairs(sample: tuple) -> None:
    data, _, pairs = sample
    assert equal_files(data, ROWS, 0) == (2, ROWS)
    assert equal_files(data, 10, 0)[1] == 10
    first = measure_windows(pairs, data, np.arange(ROWS), window=5)[0]
    ids = np.asarray(pairs.ids)
    same = {(a, b) for a in (1, BYTES, AGAIN) for b in (1, BYTES, AGAIN) if a != b}
    there = [(row, int(other)) for row in range(ROWS) for other in ids[row] if other >= 0]
    share = sum(pair in same for pair in there) / len(there)
    assert first.equal_pictures == pytest.approx(share) and share > 0
