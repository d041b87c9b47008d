"""Copies to and from object storage: the same bytes, the manifest last, nothing else replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip import copy
from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    StorageError,
    UnsupportedError,
)
from helip.common.remote import downloading, uploading
from support.http_shards import serving
from support.remote_samples import files_of, write_store
from support.s3_server import S3Server

URL = "s3://bucket/folder/a b.store"


def table_of(store: Path, path: Path) -> Path:
    helip.mine(store, k=3, out=path, progress=False)
    return path


def part_of(store: Path, path: Path) -> Path:
    helip.mine(store, k=3, part=(1, 3), out=path, progress=False)
    return path


@pytest.mark.parametrize("make", [None, table_of, part_of], ids=["store", "table", "part"])
def test_a_copy_there_and_back_has_the_same_bytes(make, s3: S3Server, store: Path, tmp_path: Path):
    path = store if make is None else make(store, tmp_path / "made")
    (path / "quarantine.jsonl").write_text("{}\n")
    assert copy(path, URL, progress=False) == URL
    copy(URL, tmp_path / "back", progress=False)
    assert files_of(tmp_path / "back") == files_of(path)


def test_the_manifest_is_written_last_and_nothing_is_left_beside(s3: S3Server, store: Path):
    copy(store, URL, progress=False)
    shards = [f"folder/a b.store/shard-0000{n}.safetensors" for n in (0, 1)]
    marker, manifest = (f"folder/a b.store/{n}" for n in (uploading.MARKER, "manifest.json"))
    assert s3.written() == [marker, marker, *shards, manifest]
    client = uploading.Remote("s3://bucket")
    assert sorted(client.listed(URL)) == sorted(files_of(store))


def test_large_shards_go_in_pieces(
    s3: S3Server, large_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(uploading, "PIECE", 5 << 20)
    monkeypatch.setattr(downloading, "PIECE", 1 << 20)
    copy(large_store, URL, progress=False)
    assert sum("partNumber" in request.query for request in s3.requests) == 4
    copy(URL, tmp_path / "back", progress=False)
    assert files_of(tmp_path / "back") == files_of(large_store)
    shards = [path.stat().st_size for path in large_store.glob("shard-*")]
    asked = [request.range for request in s3.requests if request.range]
    assert len(asked) == sum(-(-size // (1 << 20)) for size in shards)


def test_files_on_this_machine_are_copied_by_path_and_by_url(store: Path, tmp_path: Path):
    copy(store, f"file://{tmp_path}/a%20copy", progress=False)
    copy(Path(f"file://{tmp_path}/a%20copy"), tmp_path / "again", progress=False)
    assert files_of(tmp_path / "a copy") == files_of(store) == files_of(tmp_path / "again")


def test_a_plain_server_is_read(store: Path, tmp_path: Path):
    with serving(store.parent) as server:
        copy(f"{server.url}/{store.name}", tmp_path / "copy", progress=False)
    assert files_of(tmp_path / "copy") == files_of(store)


# What is there already


def test_what_is_there_is_refused(s3: S3Server, store: Path, tmp_path: Path):
    other = write_store(tmp_path / "other", seed=1)
    copy(store, URL, progress=False)
    before = files_of(store)
    with pytest.raises(InvalidArgumentError, match=r"s3://.* exists already.*overwrite=True"):
        copy(other, URL, progress=False)
    with pytest.raises(InvalidArgumentError, match=r"exists already.*overwrite=True"):
        copy(URL, other, progress=False)
    copy(URL, tmp_path / "back", progress=False)
    assert files_of(tmp_path / "back") == before


def test_the_same_is_not_sent_again(s3: S3Server, store: Path):
    copy(store, URL, progress=False)
    s3.requests.clear()
    copy(store, URL, progress=False)
    assert {request.method for request in s3.requests} == {"GET"}


def test_overwriting_takes_the_manifest_away_before_it_touches_a_shard(
    s3: S3Server, store: Path, tmp_path: Path
):
    other = write_store(tmp_path / "other", seed=1, rows=3000)
    copy(store, URL, progress=False)
    s3.requests.clear()
    copy(other, URL, overwrite=True, progress=False)
    changes = [request.method for request in s3.requests if request.method in ("POST", "PUT")]
    assert changes[0] == "POST"  # a deletion
    assert s3.written()[-1].endswith("/manifest.json")
    copy(URL, store, overwrite=True, progress=False)
    assert files_of(store) == files_of(other)
    assert sorted(uploading.Remote("s3://bucket").listed(URL)) == sorted(files_of(other))


def test_of_a_store_that_grew_new_shards_alone_are_sent(s3: S3Server, tmp_path: Path):
    store = write_store(tmp_path / "store", rows=5000)
    copy(store, URL, progress=False)
    with helip.EmbeddingStore.append_to(store) as writer:
        writer.append(["new"], np.ones((1, 8), np.float32), np.ones((1, 6), np.float32))
    s3.requests.clear()
    copy(store, URL, overwrite=True, progress=False)
    sent = [key.rpartition("/")[2] for key in s3.written()]
    assert sent == [uploading.MARKER, uploading.MARKER, "shard-00002.safetensors", "manifest.json"]
    copy(URL, tmp_path / "back", progress=False)
    assert files_of(tmp_path / "back") == files_of(store)


def test_overwriting_deletes_nothing_that_helip_did_not_write(store: Path, tmp_path: Path):
    other = write_store(tmp_path / "other", seed=1)
    (other / "notes.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "deep").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(store)
    for name, words in (
        ("other", "it holds notes.txt"), ("folder", "it holds deep"), ("file", "no directory"),
        ("link", "no directory"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgumentError, match=rf"{name} is not what helip.*{words}"):
            copy(store, tmp_path / name, overwrite=True, progress=False)
    assert (other / "notes.txt").exists()
    (other / "notes.txt").unlink()
    (other / "codes").mkdir()  # as mining keeps them there where that is asked for
    (other / "codes" / "manifest.json").write_text("{}")
    copy(store, other, overwrite=True, progress=False)
    assert files_of(other) == files_of(store)


# What is refused


def test_a_damaged_directory_is_not_published(
    s3: S3Server, large_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(uploading, "PIECE", 5 << 20)
    copy(large_store, tmp_path / "damaged", progress=False)
    shard = tmp_path / "damaged" / "shard-00001.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptError, match=r"damaged/shard-00001\.safetensors.* digest"):
        copy(tmp_path / "damaged", URL, progress=False)
    assert not any(key.endswith("manifest.json") for key in s3.written())
    assert s3.uploads() == 0


def test_damage_on_the_way_is_found(s3: S3Server, store: Path, tmp_path: Path):
    copy(store, URL, progress=False)
    url = f"{URL}/shard-00001.safetensors"
    remote = uploading.Remote("s3://bucket")
    data = bytearray(remote.whole(url, most=1 << 30)[1])
    data[5000] ^= 1
    remote.put(url, bytes(data))
    with pytest.raises(CorruptError, match=r"s3://.*shard-00001\.safetensors.* digest"):
        copy(URL, tmp_path / "back", progress=False)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("source", "target", "error", "words"),
    [
        ("s3://bucket/a", "http://host/b", UnsupportedError, "where helip writes nothing"),
        ("here", "http://host/b", UnsupportedError, "http://, where helip writes nothing"),
        ("here", "ftp://host/b", UnsupportedError, "neither a local path nor a URL"),
        ("https://host/a?X-Amz-Signature=hidden", "b", UnsupportedError, "has a query"),
        ("s3://user:hidden@bucket/a", "b", InvalidArgumentError, "has credentials in it"),
        ("s3://bucket//a", "b", InvalidArgumentError, "without empty parts"),
        ("file://host/a", "b", InvalidArgumentError, "with three slashes"),
        ("nowhere", "b", StorageError, r"nothing that helip wrote at nowhere"),
        ("", "b", InvalidArgumentError, "source is '', must be a path or a URL"),
        ("a", None, InvalidArgumentError, "target is None"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_other_places_are_refused(source, target, error, words):
    with pytest.raises(error, match=words) as caught:
        copy(source, target, progress=False)
    assert "hidden" not in str(caught.value)


def test_a_folder_that_holds_something_else_is_named(s3: S3Server, tmp_path: Path):
    with pytest.raises(StorageError, match=r"nothing that helip wrote at s3://bucket/folder/a b"):
        copy(URL, tmp_path / "back", progress=False)
