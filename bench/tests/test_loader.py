"""The sides of bench/loader.py give the batches that they are compared by."""

from __future__ import annotations

import io
import json
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
    assert module.jpeg(sources, 5, 64) == module.jpeg(sources, 5, 64)
    assert module.jpeg(sources, 5, 64) != module.jpeg(sources, 5 + len(sources), 64)


def test_hard_pairs_are_a_table_of_other_rows(bench: Any) -> None:
    ids, scores = bench("pictures").hard_pairs(150, k=8, cluster=16)
    assert ids.shape == scores.shape == (150, 8)
    for row, pool in enumerate(ids.tolist()):
        known = [other for other in pool if other >= 0]
        assert known and row not in known and len(set(known)) == len(known)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("open_clip", "open_clip_train"),
        ("open_clip-hard", "open_clip_train"),
        ("torchvision", "torchvision"),
        ("simplejpeg", "simplejpeg"),
        ("webdataset", "webdataset"),
        ("spdl", "spdl.io"),
        ("ffcv", "ffcv"),
        ("helip", "helip"),
        ("helip-plain", "helip"),
        ("helip-sequential", "helip"),
    ],
)
def test_a_side_gives_normalised_pictures_and_tokens(
    bench: Any, pictures: Any, name: str, package: str
) -> None:
    pytest.importorskip(package)
    try:
        batches = bench("loader_sides").SIDES[name](pictures, BATCH, 1, ROWS)
    except RuntimeError as error:
        if name != "spdl" or "libspdl" not in str(error):
            raise
        pytest.skip("SPDL finds no FFmpeg")
    for _ in range(8):  # more than an epoch
        images, texts = next(batches)
        bench("loader").check(images, texts, BATCH)
    if hasattr(batches, "close"):
        batches.close()


def test_sides_show_the_picture_that_is_in_the_file(bench: Any, pictures: Any) -> None:
    """One picture, many crops: their mean colour is that of the file, whatever decodes it."""
    sides = bench("loader_sides")
    with Image.open(pictures.files[3]) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float64) / 255
    expected = (pixels.mean(axis=(0, 1)) - sides.MEAN) / sides.DEVIATION
    for decode, package in (("_torchvision_decode", ""), ("_simplejpeg_decode", "simplejpeg")):
        if package:
            pytest.importorskip(package)
        image, _ = sides._Files(pictures, getattr(sides, decode))[3]
        torch.testing.assert_close(
            image.mean(dim=(1, 2)).double(), torch.tensor(expected), atol=0.15, rtol=0
        )


def test_the_sequential_side_reads_rows_in_order(bench: Any, pictures: Any) -> None:
    sides = bench("loader_sides")
    loader = sides._helip(pictures, None, BATCH, 0)
    loader._sampler = sides._InOrder(loader._sampler, ROWS, BATCH)
    assert torch.cat([batch["index"] for batch in loader]).tolist() == list(range(ROWS))


def test_ratios_are_medians_and_goals_say_what_was_measured(bench: Any) -> None:
    loader = bench("loader")

    def run(rate: float) -> dict[str, Any]:
        return {
            "rows": 1, "images_s": rate, "images_s_core": rate / 2, "cold": 1.0, "peak_mb": 5.0,
            "ended": "",
        }  # fmt: skip

    runs = {
        "helip": [run(400), run(600), run(500)],
        "open_clip-hard": [run(100), run(200), run(100)],
        "spdl": [run(200), run(200), run(500)],
        "helip-sequential": [run(500), run(500), run(500)],
        "ffcv": [{"ended": "not installed: no module"}],
    }
    cell = loader.summary(500, {"rows": 1, "mean_bytes": 2}, runs)
    assert cell["sides"]["open_clip-hard"]["helip_over_it"] == {"median": 4, "min": 3, "max": 5}
    assert cell["sides"]["helip"]["images_s"] == 500
    pil, fastest, own = loader.goals(cell)
    assert "4.00 times DataLoader + PIL" in pil and pil.endswith("is met")
    assert "2.00 times the fastest other side, spdl" in fastest
    assert "1.00 times helip's own" in own
    runs["helip"] = [run(100)] * 3
    cell = loader.summary(500, {}, runs)
    assert all(line.endswith("is NOT met") for line in loader.goals(cell))


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
    batches = iter(bench("loader_sides")._HardBatches(640, 64))
    for _ in range(30):  # three epochs of targets
        rows = next(batches)
        targets, hard = rows[:32], rows[32:]
        assert len(set(rows)) == len(rows) and len(hard) >= 30
        pools = {row for target in targets for row in ids[target].tolist()}
        assert set(hard) <= pools
