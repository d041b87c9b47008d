"""Manifests and headers of shards: what is damaged is refused before it is believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helip.common.errors import CorruptError, MismatchError, UnsupportedError
from helip.common.remote.manifest import (
    HEADER_BYTES,
    MANIFEST,
    ShardDigests,
    digest_of,
    parse_manifest,
    tensors_of,
)


def changed(text: bytes, **fields) -> bytes:
    """The same manifest with other fields and a checksum that fits."""
    root = {**json.loads(text), **fields}
    del root["checksum"]
    root["checksum"] = digest_of(json.dumps(root, indent=1, sort_keys=True).encode())
    return json.dumps(root, indent=1, sort_keys=True).encode() + b"\n"


@pytest.fixture
def text(store: Path) -> bytes:
    return (store / MANIFEST).read_bytes()


def test_a_manifest_is_read(text: bytes):
    manifest = parse_manifest(text, "here")
    assert (manifest.rows, manifest.format) == (8000, "helip.embedding_store")
    assert [shard.rows for shard in manifest.shards] == [4096, 3904]
    assert manifest.columns["image"] == ("float32", 8)


def test_each_bit_counts(text: bytes):
    for at in range(0, len(text), 97):
        damaged = bytearray(text)
        damaged[at] ^= 1
        with pytest.raises(CorruptError, match="here is damaged"):
            parse_manifest(bytes(damaged), "here")


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"version": 2}, UnsupportedError, "version 2.*upgrade helip"),
        ({"requires": ["wings"]}, UnsupportedError, "needs .'wings'.*upgrade helip"),
        ({"format": "helip.sample_index"}, MismatchError, "is of a helip.sample_index, not of"),
        ({"rows": 7999}, CorruptError, "not the sum"),
        ({"shards": 3}, CorruptError, "damaged"),
        ({"shard_rows": 0}, CorruptError, "damaged"),
        ({"shard_rows": 4096.0}, CorruptError, "no whole numbers"),
        ({"shards": [{"file": "../a"}]}, CorruptError, "damaged"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_a_manifest_may_not_say(fields, error, words, text: bytes):
    with pytest.raises(error, match=words):
        parse_manifest(changed(text, **fields), "here")


@pytest.mark.parametrize("name", ["/etc/passwd", "../a", ".lock", ""], ids=[*"0123"])
def test_names_that_lead_elsewhere_are_refused(name: str, text: bytes):
    shards = json.loads(text)["shards"]
    shards[0]["file"] = name
    with pytest.raises(CorruptError, match="no plain name"):
        parse_manifest(changed(text, shards=shards), "here")


def test_a_header_is_compared_with_the_manifest(store: Path, text: bytes):
    shard = parse_manifest(text, "here").shards[0]
    header = (store / shard.file).read_bytes()[:HEADER_BYTES]
    tensors = tensors_of(header, shard, "there")
    assert tensors["image"].shape == (4096, 8)
    assert tensors["image"].end - tensors["image"].begin == 4096 * 8 * 4
    with pytest.raises(CorruptError, match="there is damaged: its header"):
        tensors_of(header.replace(b"F32", b"I32"), shard, "there")


@pytest.mark.parametrize("piece", [1000, 4096, 1 << 20])
def test_bytes_are_compared_as_they_come(piece: int, store: Path, text: bytes):
    shard = parse_manifest(text, "here").shards[1]
    data = (store / shard.file).read_bytes()

    def check(data: bytes) -> None:
        digests = ShardDigests(shard, "there")
        for first in range(0, len(data), piece):
            digests.update(data[first : first + piece])
        digests.finish()

    check(data)
    for damaged in (data[:-1], data + b"\0", data[:9000] + b"\1" + data[9001:]):
        with pytest.raises(CorruptError, match="there is damaged"):
            check(damaged)
