"""Copies from URL to URL: through this machine, checked."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

import helip
from helip.common.errors import CorruptError, InvalidArgumentError, StorageError
from helip.common.remote import uploading
from helip.common.remote.client import Remote
from helip.common.remote.container import RemoteContainer
from support.http_shards import serving
from support.remote_samples import files_of, write_store
from support.s3_server import S3Server

HERE = "s3://bucket/from/a b.store"
THERE = "s3://bucket/to/a b.store"
ELSEWHERE = "s3://other/to/a.store"


def copy(source: object, target: object, **options: bool) -> None:
    helip.copy(source, target, progress=False, **options)


def same(url: str, store: Path, folder: Path) -> bool:
    copy(url, folder / "back")
    return files_of(folder / "back") == files_of(store)


def damage(url: str) -> None:
    remote = Remote("s3://bucket")
    data = bytearray(remote.whole(url, most=1 << 30)[1])
    data[-1] ^= 1
    remote.put(url, bytes(data))


@pytest.fixture
def other(s3: S3Server) -> None:
    """Another bucket."""
    urllib.request.urlopen(urllib.request.Request(f"{s3.url}/other", method="PUT")).close()


@pytest.mark.parametrize("target", [THERE, ELSEWHERE], ids=["within", "across"])
def test_bytes_go_through_in_pieces(
    target: str,
    s3: S3Server,
    other,
    large_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(uploading, "PIECE", 5 << 20)
    copy(large_store, HERE)
    s3.requests.clear()
    copy(HERE, target)
    assert sum("partNumber" in request.query for request in s3.requests) == 4
    assert same(target, large_store, tmp_path)


@pytest.mark.parametrize(
    "fault", ["short", "cut", "reset", (503, "SlowDown")], ids=["short", "cut", "reset", "busy"]
)
def test_a_range_that_fails_on_its_way_is_asked_for_again(
    fault, s3: S3Server, other, store: Path, tmp_path: Path
):
    copy(store, HERE)
    met: list[str] = []

    def once(request):
        meets = request.range and request.key.startswith("from") and request.key not in met
        met.extend([request.key] if meets else [])
        return fault if meets else None

    s3.fault = once
    copy(HERE, ELSEWHERE)
    assert len(met) == 2
    assert same(ELSEWHERE, store, tmp_path)


def test_a_plain_server_is_copied_to_a_bucket(s3: S3Server, store: Path, tmp_path: Path):
    with serving(store.parent) as server:
        copy(f"{server.url}/{store.name}", THERE)
    assert same(THERE, store, tmp_path)


@pytest.mark.parametrize("target", [THERE, ELSEWHERE], ids=["within", "across"])
def test_a_damaged_source_is_not_published(s3: S3Server, other, store: Path, target: str):
    copy(store, HERE)
    damage(f"{HERE}/shard-00001.safetensors")
    with pytest.raises(CorruptError, match=rf"{HERE}/shard-00001\.safetensors is damaged"):
        copy(HERE, target)
    there = Remote(target.rpartition("/to/")[0]).listed(target)
    assert set(there) == {uploading.MARKER, "shard-00000.safetensors"}


@pytest.mark.parametrize("target", [THERE, ELSEWHERE], ids=["within", "across"])
def test_a_copy_that_was_stopped_goes_on(s3: S3Server, other, store: Path, target: str, tmp_path):
    copy(store, HERE)
    name = target.rpartition("/")[2]

    def fault(request):
        second = request.key.endswith(f"to/{name}/shard-00001.safetensors")
        return (503, "SlowDown") if second and request.method == "PUT" else None

    s3.fault = fault
    with pytest.raises(StorageError, match="503"):
        copy(HERE, target)
    s3.fault = None
    s3.requests.clear()
    copy(HERE, target)
    assert not any("shard-00000" in request.key for request in s3.requests)
    assert same(target, store, tmp_path)


def test_what_is_there_is_refused_or_stays(s3: S3Server, store: Path, tmp_path: Path):
    copy(store, HERE)
    copy(write_store(tmp_path / "other", seed=1), THERE)
    with pytest.raises(InvalidArgumentError, match=r"exists already.*overwrite=True"):
        copy(HERE, THERE)
    copy(HERE, THERE, overwrite=True)
    assert same(THERE, store, tmp_path)
    s3.requests.clear()
    copy(HERE, HERE)
    copy(HERE, THERE)
    assert {request.method for request in s3.requests} == {"GET"}


def test_few_pieces_are_held(s3: S3Server, large_store: Path, monkeypatch: pytest.MonkeyPatch):
    copy(large_store, HERE)
    container = RemoteContainer(HERE)
    asked = []
    read = container.read
    monkeypatch.setattr(container, "read", lambda *piece: asked.append(piece) or read(*piece))
    coming = container.pieces([0], 1 << 18, 4)
    taken = b"".join(bytes(next(coming)[1]) for _ in range(3))
    assert len(asked) <= 3 + 4
    taken += b"".join(bytes(data) for _, data, _ in coming)
    assert taken == (large_store / "shard-00000.safetensors").read_bytes()
