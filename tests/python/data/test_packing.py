"""Packed shards hold the same samples, with pictures that need no decoding any more."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helip
from helip.common.errors import InvalidArgumentError, SampleError, UnsupportedError
from support.data_samples import caption, encoded, picture, write_pictures, write_tar

LARGE, SMALL = (60, 40), (9, 6)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder of two shards: large and small pictures, turned and damaged ones, and none."""
    folder = tmp_path / "old"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    write_tar(folder / "0.tar", {
        "a.jpg": encoded(picture(0, LARGE), "JPEG", exif=exif), "a.txt": caption(0).encode(),
        "b.png": encoded(picture(1, SMALL)), "b.json": json.dumps({"caption": "two"}).encode(),
        "b.mask.png": encoded(picture(9, SMALL)),
    })  # fmt: skip
    write_tar(folder / "1.tar", {
        "c.txt": b"no picture", "d.jpg": b"\xff\xd8\xffno", "d.txt": b"damaged",
        "e.png": encoded(picture(2, LARGE)), "e.ppm": b"another", "e.txt": b"two of them",
    })  # fmt: skip
    return folder


def members_of(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            for info in archive:
                file = archive.extractfile(info)
                assert file is not None
                found[info.name] = file.read()
    return found


@pytest.mark.parametrize("threads", [1, 3])
def test_pictures_are_resized_and_all_else_is_as_it_was(shards, tmp_path, threads):
    old = helip.open_dataset(shards)
    packed = helip.pack(shards, out=tmp_path / "new", size=20, threads=threads, progress=False)
    new = helip.open_dataset(packed.path)
    assert list(new.keys) == list(old.keys) == ["a", "b", "c", "d", "e"]
    for row in (0, 4):  # as Pillow resizes what it has turned upright
        whole = old.image(row)
        small = tuple(round(side * 20 / min(whole.size)) for side in whole.size)
        expected = whole.resize(small, Image.Resampling.BICUBIC)
        assert new.image(row).size == small
        levels = np.asarray(new.image(row)).astype(int) - np.asarray(expected)
        assert np.abs(levels).max() <= 2
    np.testing.assert_array_equal(np.asarray(new.image(1)), np.asarray(old.image(1)))
    for row in range(5):
        assert new.captions(row) == old.captions(row)
    for row in (2, 3):
        with pytest.raises(SampleError) as before:
            old.image(row)
        with pytest.raises(SampleError) as after:
            new.image(row)
        assert after.value.reason == before.value.reason
    there, here = members_of(shards), members_of(tmp_path / "new")
    assert {name: here[name] for name in here if not name.endswith("ppm")} == {
        name: there[name] for name in ("a.txt", "b.json", "b.mask.png", "c.txt", "d.txt", "e.txt")
    }
    assert packed.to_dict() == {
        "path": str(tmp_path / "new"), "rows": 5, "shards": 1, "resized": 2,
        "bytes": sum(path.stat().st_size for path in (tmp_path / "new").iterdir()),
        "as_they_were": {"missing_image": 1, "unreadable_image": 1}, "left_out": {"extra": 1},
    }  # fmt: skip


def test_tables_and_stores_of_the_old_shards_belong_to_the_new_ones(shards, tmp_path):
    old = helip.open_dataset(shards)
    ids = np.array([[1], [0], [0], [0], [0]], np.int32)
    pairs = helip.HardPairs.from_arrays(
        ids, np.ones((5, 1), np.float32), data_fingerprint=old.fingerprint, options={}
    )
    helip.pack(shards, out=tmp_path / "new", size=20, progress=False)
    new = helip.open_dataset(tmp_path / "new")
    helip.HardPairLoader(new, pairs, batch_size=4)
    assert new.fingerprint != old.fingerprint  # what is known of the pictures
    assert new.row_digests(np.arange(5))[0].tolist() == [0] * 5


def test_batches_of_packed_pictures_are_those_of_pillow(shards, tmp_path):
    packed = helip.pack(shards, out=tmp_path / "new", size=20, progress=False)
    data = helip.open_dataset(packed.path)
    transform = helip.ImageTransform.train(size=16)
    for row in (0, 1, 4):
        content = data._image_bytes(row)
        assert content is not None
        assert content.startswith(b"P6")
        direct = transform.from_bytes(content, seed=1, row=row)
        through_pillow = transform.from_image(data.image(row), seed=1, row=row)
        np.testing.assert_array_equal(direct.numpy(), through_pillow.numpy())


def test_shards_are_as_large_as_they_may_be(shards, tmp_path):
    packed = helip.pack(shards, out=tmp_path / "new", size=20, shard_size=8192, progress=False)
    assert packed.shards > 1
    assert len(helip.open_dataset(packed.path)) == 5
    whole = helip.pack(shards, out=tmp_path / "again", size=20, progress=False)
    assert members_of(tmp_path / "new") == members_of(tmp_path / "again")
    assert whole.shards == 1
    part = helip.open_dataset(shards).subset([4, 0])
    helip.pack(part, out=tmp_path / "part", size=20, progress=False)
    assert list(helip.open_dataset(tmp_path / "part").keys) == ["e", "a"]


def test_what_cannot_be_packed_is_refused(shards, tmp_path):
    with pytest.raises(InvalidArgumentError, match="exists already"):
        helip.pack(shards, out=shards, progress=False)
    write_pictures(tmp_path / "folder", range(2))
    with pytest.raises(UnsupportedError, match="not made of tar shards"):
        helip.pack(tmp_path / "folder", out=tmp_path / "new", progress=False)
    masks = helip.open_dataset(shards, image_column="mask.png")
    with pytest.raises(InvalidArgumentError, match="without image_column"):
        helip.pack(masks, out=tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()
