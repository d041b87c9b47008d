"""Files that earlier releases wrote open, and hold what was put in (tests/golden/make.py)."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xxhash

import helip
from helip.common.errors import UnsupportedError

GOLDEN = Path(__file__).parents[1] / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.name.isdigit())


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = _module()


@pytest.fixture(params=VERSIONS)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy, since a lock lies beside what is opened."""
    return Path(shutil.copytree(GOLDEN / request.param, tmp_path / "golden"))


@pytest.mark.parametrize("dtype", make.DTYPES)
def test_a_store_has_its_rows(golden: Path, dtype: str) -> None:
    store = helip.EmbeddingStore.open(golden / f"store-{dtype}")
    store.verify()
    keys, image, text = make.rows(0, make.ROWS)
    assert list(store.keys) == keys
    tolerance = 0.01 if dtype == "int8" else 0
    for found, put in zip(store.rows(slice(None)), (image, text), strict=True):
        np.testing.assert_allclose(found.numpy(), put, rtol=0, atol=tolerance)
    if dtype == "int8":
        assert store.digests is not None
        np.testing.assert_array_equal(store.digests[0], np.arange(make.ROWS))
        np.testing.assert_array_equal(store.digests[1], np.arange(100, 100 + make.ROWS))


def test_a_store_of_two_generations_has_its_deletions_and_takes_more(golden: Path) -> None:
    store = helip.EmbeddingStore.open(golden / "store-deleted")
    store.verify()
    assert (len(store), list(store.deleted), store.generation) == (make.ROWS + 2, [3, 7], 2)
    with helip.EmbeddingStore.append_to(golden / "store-deleted") as writer:
        writer.append(*make.rows(100, 101))
    assert len(helip.EmbeddingStore.open(golden / "store-deleted")) == make.ROWS + 3


def test_a_table_has_its_pairs(golden: Path) -> None:
    pairs = helip.HardPairs.open(golden / "pairs")
    pairs.verify()
    ids, scores = make.table()
    np.testing.assert_array_equal(pairs.ids, ids)
    np.testing.assert_array_equal(pairs.scores, scores)
    assert pairs.counts.tolist() == [3] * (make.ROWS - 1) + [0]


def test_a_part_makes_the_table_of_today(golden: Path) -> None:
    options = {
        "k": 3, "method": "exact", "device": "cpu", "image_max": 1, "text_max": 1,
        "progress": False,
    }  # fmt: skip
    store = golden / "store-float32"
    parts = [golden / "part"]
    for number in (1, 3):
        parts.append(golden / f"part-{number}")
        helip.mine(store, part=(number, 3), out=parts[-1], **options)
    merged, mined = helip.merge(parts, progress=False), helip.mine(store, **options)
    np.testing.assert_array_equal(merged.ids, mined.ids)
    np.testing.assert_array_equal(merged.scores, mined.scores)


def test_an_index_of_pairs_finds_them(golden: Path) -> None:
    index = helip.PairIndex.open(golden / "index")
    _, image, text = make.rows(0, make.ROWS)
    assert len(index) == make.ROWS
    ids, scores = index.query(image=image, text=text, k=3)
    assert ((ids >= 0) & (ids < make.ROWS))[:, 0].all()
    assert (scores[:, 0] > 0).all()


def test_an_index_of_samples_reads_its_shard(golden: Path) -> None:
    os.utime(golden / "shard.tar", (make.MODIFIED, make.MODIFIED))
    index = helip.SampleIndex.open(golden / "samples", root=golden)
    index.verify()
    assert list(index.keys) == ["a", "b", "c"]
    assert bytes(index.read(0, "image")) == b"not decoded"
    assert bytes(index.read(2, "text")) == b"no picture"


@pytest.mark.parametrize(
    ("name", "opened"),
    [
        ("store-float32", helip.EmbeddingStore.open), ("pairs", helip.HardPairs.open),
        ("part", helip.HardPairsPart.open), ("index", helip.PairIndex.open),
        ("samples", helip.SampleIndex.open),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("was", "is_now", "told"),
    [
        ('"version": 1', '"version": 2', "version 2"),
        ('"requires": []', '"requires": ["wings"]', "wings"),
    ],
)
def test_what_a_later_release_wrote_is_refused_by_name(
    golden: Path, name: str, opened, was: str, is_now: str, told: str
) -> None:
    file = golden / name / "manifest.json"
    text = file.read_text()
    assert was in text
    file.write_text(_sealed(text.replace(was, is_now)))
    with pytest.raises(UnsupportedError, match=told):
        opened(golden / name)


def _sealed(text: str) -> str:
    body = re.sub(r'\n "checksum": "[0-9a-f]*",', "", text).rstrip("\n")
    digest = xxhash.xxh3_128(body.encode()).hexdigest()
    return re.sub(r'("checksum": ")[0-9a-f]*', rf"\g<1>{digest}", text)
