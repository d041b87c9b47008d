"""The sides of bench/loader.py give the batches that they are compared by."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

ROWS, BATCH = 24, 4


@pytest.fixture(scope="module")
def pictures(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return bench("pictures").pictures_of(tmp_path_factory.mktemp("bench"), 64, ROWS)


def test_pictures_are_jpegs_of_about_the_size_in_shards_and_files_alike(pictures: Any) -> None:
    found = {}
    for shard in pictures.shards:
        with tarfile.open(shard) as archive:
            for info in archive:
                found[info.name] = archive.extractfile(info).read()  # type: ignore[union-attr]
    assert len(found) == 2 * ROWS and len(pictures.files) == ROWS
    lines = pictures.table.read_text().splitlines()[1:]
    for path, line in zip(pictures.files, lines, strict=True):
        data = found[Path(path).name]
        assert Path(path).read_bytes() == data
        name, text = line.split("\t")
        assert Path(name).name == Path(path).name
        assert found[Path(path).stem + ".txt"].decode() == text
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "JPEG" and 58 <= min(picture.size) <= 70
    assert pictures.about["rows"] == ROWS and pictures.about["sources"]


def test_the_same_pictures_are_made_again(bench: Any) -> None:
    module = bench("pictures")
    sources = list(module.photographs().values())
    assert module.encoded(sources, 5, 64) == module.encoded(sources, 5, 64)
    assert module.encoded(sources, 5, 64) != module.encoded(sources, 5 + len(sources), 64)


def test_hard_pairs_are_a_table_of_other_rows(bench: Any) -> None:
    ids, scores = bench("pictures").hard_pairs(150, k=8, cluster=16)
    assert ids.shape == scores.shape == (150, 8)
    for row, pool in enumerate(ids.tolist()):
        known = [other for other in pool if other >= 0]
        assert known and row not in known and len(set(known)) == len(known)


NAMES = (
    "open_clip", "torchvision", "simplejpeg", "simplejpeg-scaled", "webdataset", "spdl",
    "spdl-simplejpeg", "ffcv", "dali", "dali-linear", "grain", "litdata", "mosaic", "turboloader",
    "turboloader-whole", "turboloader-raw", "helip", "helip-exact", "helip-wide",
    "helip-sequential", "pread-1", "pread-16", "pread-64",
)  # fmt: skip
SHOWN = [name for name in NAMES if not name.startswith("pread")]
HARD = [name for name in SHOWN if not name.startswith(("webdataset", "turboloader", "helip-s"))]


def opened(bench: Any, pictures: Any, name: str, order: str, batch: int = BATCH) -> Any:
    """The batches of a side; skips the test where it is not installed."""
    sides = bench("loader_sides")
    side = sides.SIDES[name]
    for module in side.imports:
        pytest.importorskip(module, exc_type=ImportError)
    if side.prepare:
        side.prepare(pictures)
    try:
        return side.open(pictures, sides.ORDERS[order](ROWS, batch), 1)
    except RuntimeError as error:
        if name != "spdl" or "libspdl" not in str(error):
            raise
        pytest.skip("SPDL finds no FFmpeg")


def rows_of(pictures: Any, bench: Any, texts: Any) -> list[int]:
    """Rows by the tokens of their captions, no two of which are equal."""
    tokens = bench("loader_sides").tokenizer()(pictures.captions).tolist()
    assert len(set(map(tuple, tokens))) == ROWS
    return [tokens.index(text) for text in texts.tolist()]


def test_every_side_has_its_tests(bench: Any) -> None:
    sides = bench("loader_sides").SIDES
    assert set(NAMES) == set(sides)
    assert [name for name in SHOWN if sides[name].hard_pairs] == HARD


@pytest.mark.parametrize("name", NAMES)
def test_a_side_gives_normalised_pictures_and_tokens(bench: Any, pictures: Any, name: str) -> None:
    batches = opened(bench, pictures, name, "plain")
    for _ in range(8):  # more than an epoch
        images, texts = next(batches)
        bench("loader").check(images, texts, BATCH)
    if hasattr(batches, "close"):
        batches.close()


@pytest.mark.parametrize("name", SHOWN)
def test_sides_show_the_picture_that_belongs_to_the_caption(
    bench: Any, pictures: Any, name: str
) -> None:
    """The mean colour of a row's crops is that of its file, whatever decodes it."""
    side = bench("loader_sides.side")
    expected = np.empty((ROWS, 3))
    for row, path in enumerate(pictures.files):
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"), np.float64) / 255
        expected[row] = (pixels.mean(axis=(0, 1)) - side.MEAN) / side.DEVIATION
    batches = opened(bench, pictures, name, "plain")
    # Crops of 8 % show another part each time.
    wide = name in ("turboloader", "helip-wide")
    seen: dict[int, list[Any]] = {row: [] for row in range(ROWS)}
    for _ in range(3 * ROWS // BATCH):
        images, texts = next(batches)
        for row, image in zip(rows_of(pictures, bench, texts), images, strict=True):
            seen[row].append(image.mean(dim=(1, 2)).double().numpy())
    if hasattr(batches, "close"):
        batches.close()
    known = [row for row in range(ROWS) if seen[row]]
    assert len(known) >= ROWS // 2
    found = np.array([np.mean(seen[row], axis=0) for row in known])
    assert np.abs(found - expected[known]).max() < (1.5 if wide else 0.2)
    assert np.corrcoef(found.ravel(), expected[known].ravel())[0, 1] > (0.7 if wide else 0.9)


@pytest.mark.parametrize("name", HARD)
def test_batches_of_a_side_that_reads_given_rows_are_half_hard_pairs(
    bench: Any, pictures: Any, name: str
) -> None:
    ids, _ = bench("pictures").hard_pairs(ROWS)
    asked = iter(bench("loader_sides").HardOrder(ROWS, 8))
    batches = opened(bench, pictures, name, "hard", batch=8)
    for _ in range(3):
        rows = rows_of(pictures, bench, next(batches)[1])
        if name.startswith("helip"):  # its own draw from the same table
            assert len(set(rows)) == len(rows) == 8
            assert sum(any(row in ids[other] for other in rows) for row in rows) >= 4
        else:
            assert rows == next(asked)
    if hasattr(batches, "close"):
        batches.close()


def test_the_sequential_side_reads_rows_in_order(bench: Any, pictures: Any) -> None:
    sides = bench("loader_sides")
    loader = bench("loader_sides.helip_side").in_order(pictures, sides.Order(ROWS, BATCH), 0)
    assert torch.cat([batch["index"] for batch in loader]).tolist() == list(range(ROWS))


@pytest.mark.parametrize("format", ["png", "webp"])
def test_other_formats_show_the_same_pictures(
    bench: Any, tmp_path_factory: pytest.TempPathFactory, format: str
) -> None:
    module = bench("pictures")
    sources = list(module.photographs().values())
    made = module.encoded(sources, 3, 64, format)
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.format == format.upper()
        pixels = np.asarray(picture.convert("RGB"), np.float64)
    with Image.open(io.BytesIO(module.encoded(sources, 3, 64))) as picture:
        assert np.abs(pixels - np.asarray(picture.convert("RGB"))).mean() < 8


def cell_of(bench: Any, runs: dict[str, list[dict[str, Any]]], **about: Any) -> Any:
    return bench("loader_summary").summary({"own_order": [], "less_work": {}, **about}, runs)


def run(rate: float, core: float | None = None) -> dict[str, Any]:
    return {
        "rows": 1, "images_s": rate, "images_s_core": rate / 2 if core is None else core,
        "cold": 1.0, "peak_mb": 5.0, "disk_mb_s": 0.0, "ended": "",
    }  # fmt: skip


def test_ratios_are_medians_and_goals_say_what_was_measured(bench: Any) -> None:
    goals = bench("loader_summary").goals
    runs = {
        "helip": [run(400), run(600), run(500)],
        "open_clip": [run(100), run(200), run(100)],
        "spdl": [run(200), run(200), run(500)],
        "turboloader-raw": [run(9000)] * 3,
        "helip-sequential": [run(500), run(500), run(500)],
        "ffcv": [{"ended": "not installed: no module"}],
    }
    less = {"turboloader-raw": "decoded beforehand"}
    cell = cell_of(bench, runs, less_work=less)
    assert cell["sides"]["open_clip"]["helip_over_it"] == {"median": 4, "min": 3, "max": 5}
    assert cell["sides"]["helip"]["images_s"] == 500
    pil, fastest, own = goals(cell)
    assert "4.00 (4.00 a core-second) times DataLoader + Pillow" in pil and pil.endswith("is met")
    assert "2.00 (2.00 a core-second) times the fastest other side, spdl" in fastest
    assert "1.00 (1.00 a core-second) times helip's own" in own
    runs["helip"] = [run(100)] * 3
    assert all(line.endswith("is NOT met") for line in goals(cell_of(bench, runs, less_work=less)))


def test_a_goal_is_met_by_images_a_core_second_as_well_or_not_at_all(bench: Any) -> None:
    runs = {
        "helip": [run(600, core=100)],
        "spdl": [run(300, core=60)],
        "dali": [run(200, core=90)],
    }
    spdl, dali = bench("loader_summary").goals(cell_of(bench, runs))
    assert "2.00 (1.67 a core-second)" in spdl and "side, spdl, " in spdl
    assert "3.00 (1.11 a core-second)" in dali and dali.endswith("is NOT met")


def test_reading_from_a_disk_is_held_beside_reading_alone(bench: Any) -> None:
    runs = {"helip": [run(450)], "pread-1": [run(200)], "pread-64": [run(500)]}
    (line,) = bench("loader_summary").goals(cell_of(bench, runs))
    assert line == "goal: 0.90 times reading alone, pread-64, at least 0.9 is met"


def test_pages_are_dropped_and_read_again_from_the_disk(bench: Any, tmp_path: Path) -> None:
    storage, path = bench("cold_storage"), tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(bytes(2_000_000))
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    before = storage.bytes_read(os.getpid())
    path.read_bytes()
    warm = storage.bytes_read(os.getpid()) - before
    storage.drop_pages(tmp_path)
    path.read_bytes()
    if storage.bytes_read(os.getpid()) == before:
        pytest.skip("this file system lies in memory, or counts no reads")
    assert warm == 0
    assert storage.bytes_read(os.getpid()) - before >= 2_000_000


@pytest.mark.slow
def test_a_run_is_measured_and_written(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = bench("loader")
    out = tmp_path / "loader.json"
    arguments = [
        "--size", "64", "--pictures", "24", "--batches", "2", "--batch-size", "4", "--repeats", "1",
        "--workers", "1", "--sides", "torchvision", "helip", "--cache", str(tmp_path / "cache"),
        "--out", str(out),
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["loader.py", *arguments])
    loader.main()
    (cell,) = json.loads(out.read_text())["cells"]
    for name in ("torchvision", "helip"):
        side = cell["sides"][name]
        assert side["ended"] == "" and side["images_s"] > 0 and side["cold"] > 0
        assert side["peak_mb"] > 10


def test_processes_are_found_with_those_that_they_start(bench: Any) -> None:
    watch = bench("watch")
    if not watch.held():
        pytest.skip("no /proc")
    code = (
        "import subprocess, sys; fill = 'x = bytearray(200_000_000); import time; time.sleep(2)';"
        "subprocess.run([sys.executable, '-c', fill])"
    )
    watched = watch.Watched([sys.executable, "-c", code], tree=True)
    list(watched.lines())
    assert watched.ended == "" and 2e8 < watched.most < 3e8


def test_half_of_a_batch_with_hard_pairs_are_hard_pairs_of_the_other_half(bench: Any) -> None:
    ids, _ = bench("pictures").hard_pairs(640)
    batches = iter(bench("loader_sides").HardOrder(640, 64))
    for _ in range(30):  # three epochs of targets
        rows = next(batches)
        assert len(set(rows)) == len(rows) == 64
        targets, others = rows[:32], rows[32:]
        pools = {row for target in targets for row in ids[target].tolist()}
        assert len(pools & set(others)) >= 30
