"""An index of pairs at a URL: saved, opened and copied there, the same as in a directory."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from helip.common.remote.client import Remote
from support.remote_samples import files_of, write_store
from support.s3_server import S3Server

URL = "s3://bucket/x/a.index"


@pytest.fixture(scope="module")
def index() -> helip.PairIndex:
    numbers = np.random.default_rng(0)
    image, text = (numbers.standard_normal((400, dim), np.float32) for dim in (8, 6))
    return helip.PairIndex.build(image=image, text=text, progress=False)


def answers(index: helip.PairIndex) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(1)
    image, text = (numbers.standard_normal((20, dim), np.float32) for dim in (8, 6))
    return index.query(image=image, text=text, k=5)


def test_it_answers_as_the_one_that_was_saved(s3: S3Server, index, tmp_path):
    index.save(Path(URL))
    assert s3.written()[-1] == "x/a.index/manifest.json"
    opened = helip.PairIndex.open(URL, cache=tmp_path / "mine")
    for found, expected in zip(answers(opened), answers(index), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert opened.options == index.options
    assert [each.name[:8] for each in (tmp_path / "mine").iterdir()] == ["a.index-"]


def test_what_was_saved_is_in_the_cache(s3: S3Server, index):
    index.save(URL)
    s3.requests.clear()
    helip.PairIndex.open(URL)
    assert s3.of("GET") == ["x/a.index/manifest.json"]


def test_it_is_copied_to_a_bucket_and_back(s3: S3Server, index, tmp_path):
    index.save(f"file://{tmp_path}/here")
    helip.copy(tmp_path / "here", URL, progress=False)
    helip.copy(URL, tmp_path / "back", progress=False)
    assert files_of(tmp_path / "back") == files_of(tmp_path / "here")
    assert len(helip.PairIndex.open(f"file://{tmp_path}/back")) == 400


def test_what_is_there_is_refused(s3: S3Server, index):
    index.save(URL)
    with pytest.raises(InvalidArgumentError, match=rf"{URL} exists already"):
        index.save(URL)


def test_damage_is_found(s3: S3Server, index, tmp_path):
    index.save(URL)
    remote, shard = Remote("s3://bucket"), f"{URL}/shard-00000.safetensors"
    data = bytearray(remote.whole(shard, most=1 << 30)[1])
    data[5000] ^= 1
    remote.put(shard, bytes(data))
    with pytest.raises(CorruptError, match=rf"{URL}/shard-00000\.safetensors is damaged"):
        helip.PairIndex.open(URL, cache=tmp_path / "other")


def test_other_things_are_named(s3: S3Server, index, tmp_path):
    helip.copy(write_store(tmp_path / "a.store"), "s3://bucket/a.store", progress=False)
    with pytest.raises(MismatchError, match=r"is of a helip\.embedding_store, not of a helip\.pai"):
        helip.PairIndex.open("s3://bucket/a.store")
    index.save(URL)
    with pytest.raises(MismatchError, match=r"is of a helip\.pair_index, not of a helip\.embeddin"):
        helip.EmbeddingStore.open(URL)
    with pytest.raises(StorageError, match=r"nothing that helip wrote at s3://bucket/none"):
        helip.PairIndex.open("s3://bucket/none")


def test_files_of_hnswlib_stay_on_this_machine(index):
    for call in (
        lambda: index.save_hnswlib("s3://bucket/a.bin"),
        lambda: helip.PairIndex.open_hnswlib(Path("s3://bucket/a.bin"), 8),
    ):
        with pytest.raises(UnsupportedError, match=re.escape("s3://bucket/a.bin is a URL, and")):
            call()
    assert not Path("s3:").exists()
