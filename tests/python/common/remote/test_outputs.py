"""Results at URLs: written on this machine, uploaded whole, and then in the cache."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, StorageError, UnsupportedError
from helip.common.remote.outputs import scratch_of, written_to
from support.embed_samples import SHARD, Colours, Numbered, Numbers
from support.http_shards import serving
from support.remote_samples import files_of, write_store
from support.s3_server import S3Server

URL = "s3://bucket/x/a.store"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HELIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_written_is_there_and_in_the_cache_and_no_longer_in_the_scratch(
    s3: S3Server, store: Path, own_cache: Path
):
    place = written_to(URL, lambda path: helip.copy(store, path, progress=False), Path)
    assert files_of(place) == files_of(store)
    assert place.parent == own_cache / "remote"
    s3.requests.clear()
    assert helip.EmbeddingStore.open(URL).download(progress=False).path == str(place)
    assert s3.of("GET") == ["x/a.store/manifest.json"]
    assert [path.name for path in (own_cache / "scratch").glob("*/*")] == ["lock"]


def test_a_job_that_has_opened_the_lock_holds_the_one_that_the_next_job_finds(
    s3: S3Server, store: Path
):
    lock = scratch_of(URL).parent / "lock"
    opened: list[int] = []

    def work(path: str) -> None:
        opened.append(os.open(lock, os.O_RDWR))
        helip.copy(store, path, progress=False)

    written_to(URL, work, Path)
    try:
        assert os.path.samestat(os.fstat(opened[0]), lock.stat())
    finally:
        os.close(opened[0])


def test_what_is_there_is_refused_before_any_work(s3: S3Server, store: Path):
    helip.copy(store, URL, progress=False)

    def work(path: str) -> None:
        raise AssertionError

    with pytest.raises(InvalidArgumentError, match=r"s3://bucket/x/a\.store exists already"):
        written_to(URL, work, Path)


def test_a_url_that_cannot_be_written_is_refused_before_any_work(store: Path):
    with pytest.raises(UnsupportedError, match=r"http://, where helip writes nothing"):
        helip.mine(store, k=2, out="http://127.0.0.1/a.pairs", progress=False)


def test_a_job_finds_what_it_left(s3: S3Server, store: Path):
    def stopped(path: str) -> None:
        Path(path).mkdir()
        (Path(path) / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written_to(URL, stopped, Path, resumes=True)
    assert (scratch_of(URL) / "half").exists()
    found = []
    for resumes in (True, False):
        with pytest.raises(StorageError, match="nothing that helip wrote"):
            written_to(
                URL, lambda path: found.append(Path(path).exists()), Path, resumes=resumes
            )  # fmt: skip
    assert found == [True, False]


def test_tables_are_joined_and_saved_at_urls(s3: S3Server, store: Path, tmp_path: Path):
    small = write_store(tmp_path / "b.store", rows=300)
    by_image, by_text = (
        helip.mine(small, k=3, modality=each, progress=False) for each in ("image", "text")
    )
    expected = by_image.join(by_text, progress=False)
    table = by_image.join(by_text, out="s3://bucket/joined", progress=False)
    by_image.save("s3://bucket/saved")
    np.testing.assert_array_equal(table.ids, expected.ids)
    np.testing.assert_array_equal(helip.HardPairs.open("s3://bucket/joined").ids, expected.ids)
    np.testing.assert_array_equal(helip.HardPairs.open("s3://bucket/saved").ids, by_image.ids)
    with pytest.raises(InvalidArgumentError, match="exists already"):
        by_image.save("s3://bucket/saved")


def test_embeddings_are_imported_to_a_url(s3: S3Server):
    image, text = np.eye(5, 4, dtype=np.float32), np.eye(5, 3, dtype=np.float32)
    store = helip.EmbeddingStore.import_from(image=image, text=text, out=URL, progress=False)
    assert len(store) == len(helip.EmbeddingStore.open(URL)) == 5
    np.testing.assert_array_equal(helip.EmbeddingStore.open(URL).rows([2])[0][0], image[2])


def test_data_are_embedded_to_a_url_and_go_on_where_they_were_stopped(s3: S3Server):
    data = Numbered(600, bad={7: "io"})
    how = {"image_encoder": Colours(), "text_encoder": Numbers(), "shard_rows": SHARD}
    how |= {"out": URL, "workers": 0, "batch_size": 64, "progress": False}
    data.stop_at = 400
    with pytest.raises(KeyboardInterrupt):
        helip.embed(data, **how)
    data.stop_at, data.read = None, []
    store = helip.embed(data, **how)
    assert min(data.read) >= 256
    there = helip.EmbeddingStore.open(URL)
    assert (len(there), there.fingerprint) == (len(data), store.fingerprint)
    assert "quarantine.jsonl" in files_of(Path(there.download(progress=False).path))
    with pytest.raises(UnsupportedError, match=r"out is s3://.*needs a directory that all its pro"):
        helip.embed(data, part=(1, 2), **how)


def test_other_results_are_not_written_to_a_folder_named_as_a_url(store: Path, tmp_path: Path):
    with pytest.raises(UnsupportedError, match=r"this is not written to s3://bucket; write it"):
        helip.mine(store, k=2, progress=False).save_pretrained("s3://bucket/x")
    assert not Path("s3:").exists()


def test_a_file_url_is_a_directory(store: Path, tmp_path: Path):
    helip.mine(store, k=2, out=f"file://{tmp_path}/t.pairs", progress=False)
    assert helip.HardPairs.open(tmp_path / "t.pairs").k == 2


def test_a_store_that_is_read_and_a_table_that_is_written_elsewhere(s3: S3Server, store: Path):
    with serving(store.parent) as server:
        helip.mine(f"{server.url}/{store.name}", k=2, out="s3://bucket/t", progress=False)
    assert len(helip.HardPairs.open("s3://bucket/t")) == len(helip.EmbeddingStore.open(store))
