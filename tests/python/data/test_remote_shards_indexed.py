"""An index of shards at URLs: read once, kept, and brought up to date."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

import helip
from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from helip.data import remote_shards
from support.data_samples import encoded, picture, png, write_shard, write_tar
from support.http_shards import ShardServer


def build(server: ShardServer, **options) -> helip.SampleIndex:
    return helip.SampleIndex.build(server.url + "/{0..3}.tar", progress=False, **options)


@pytest.mark.parametrize("contents", [False, True])
def test_it_is_that_of_the_files_but_for_where_they_lie(shards, server, tmp_path, contents):
    local = helip.SampleIndex.build(shards, contents=contents, progress=False)
    index = build(server, contents=contents, out=tmp_path / "index")
    assert index.fingerprint == local.fingerprint
    assert index.keys == local.keys
    for found, expected in zip(index.shards, local.shards, strict=True):
        assert found["path"] == f"{server.url}/{expected['path'].name}"
        assert found["tag"].startswith('"')
        same = ("first_row", "rows", "bytes", "headers", "contents", "ignored")
        assert {name: found[name] for name in same} == {name: expected[name] for name in same}
    for row in range(20):
        for field in ("image", "text"):
            assert index.member(row, field) == local.member(row, field)
            assert index.read(row, field) == local.read(row, field)


def test_each_byte_is_fetched_once_and_no_copy_is_left(shards, server, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    build(server)
    assert sorted(name for name, _ in server.gets()) == ["0.tar", "1.tar", "2.tar", "3.tar"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_copy_goes_once_it_is_scanned(shards, server, monkeypatch):
    seen: list[int] = []
    usual = remote_shards._Fetching._fetch

    def counted(self, url, stamp, path):
        seen.append(len(list(path.parent.iterdir())))
        usual(self, url, stamp, path)

    monkeypatch.setattr(remote_shards._Fetching, "_fetch", counted)
    build(server, threads=1)
    assert seen == [0, 0, 0, 0]


def test_large_shards_come_in_pieces(shards, server, monkeypatch):
    monkeypatch.setattr("helip.data.remote_shards._PIECE", 8_000)
    index = build(server)
    assert index.keys == helip.SampleIndex.build(shards, progress=False).keys
    asked = [asked for name, asked in server.gets() if name == "2.tar"]
    assert asked == ["bytes=0-7999", "bytes=8000-15999", "bytes=16000-20479"]


def test_only_what_changed_is_fetched_again(shards, server, tmp_path):
    assert build(server, out=tmp_path / "index").scanned == 4
    server.requests.clear()
    assert build(server, out=tmp_path / "index").scanned == 0
    assert server.gets() == []
    write_shard(shards / "2.tar", range(40, 47))
    index = build(server, out=tmp_path / "index")
    assert index.scanned == 1
    assert [name for name, _ in server.gets()] == ["2.tar"]
    assert index.keys == helip.SampleIndex.build(shards, progress=False).keys
    assert build(server, out=tmp_path / "index", contents=True).scanned == 4


def test_the_time_stands_for_a_tag_where_there_is_none(shards, server, tmp_path):
    server.tags = False
    index = build(server, out=tmp_path / "index")
    assert index.shards[0]["tag"].startswith("20")
    assert build(server, out=tmp_path / "index").scanned == 0


def test_a_damaged_index_is_built_anew(shards, server, tmp_path):
    build(server, out=tmp_path / "index")
    (column,) = (tmp_path / "index").glob("shard-*.safetensors")
    data = bytearray(column.read_bytes())
    data[4096 + 8] ^= 1
    column.write_bytes(data)
    assert build(server, out=tmp_path / "index").scanned == 4


def test_the_manifest_has_urls_and_tags(shards, server, tmp_path):
    build(server, out=tmp_path / "index")
    attributes = json.loads((tmp_path / "index" / "manifest.json").read_text())["attributes"]
    assert attributes["root"] == server.url
    assert [shard["file"] for shard in attributes["shards"]] == [f"{n}.tar" for n in range(4)]
    assert all(shard["tag"].startswith('"') for shard in attributes["shards"])


def test_verify_reads_the_shards_again(shards, server, tmp_path):
    index = build(server, out=tmp_path / "index")
    index.verify()
    with pytest.raises(InvalidArgumentError, match="no digests of contents"):
        index.verify(contents=True)
    write_shard(shards / "2.tar", [10, 11, 12, 13, 75])
    with pytest.raises(MismatchError, match=r"/2\.tar was changed"):
        index.verify()


def test_verify_compares_contents_where_they_were_taken(shards, server, tmp_path):
    write_tar(shards / "1.tar", {"a.png": encoded(picture(1, (40, 40))), "a.txt": b"a"})
    helip.SampleIndex.build(shards, contents=True, out=tmp_path / "index", progress=False)
    index = helip.SampleIndex.open(tmp_path / "index", root=server.url)
    index.verify(contents=True)
    _, _, offset, _ = index.member(5, "image")
    data = bytearray((shards / "1.tar").read_bytes())
    data[offset + 99] ^= 1
    (shards / "1.tar").write_bytes(data)
    index.verify()
    with pytest.raises(MismatchError, match=r"/1\.tar was changed .*its contents"):
        index.verify(contents=True)


# What goes wrong


def test_damage_is_told_with_the_address(shards, server, tmp_path):
    (shards / "1.tar").write_bytes(b"x" * 2048)
    with pytest.raises(CorruptError, match=rf"{server.url}/1\.tar"):
        build(server)


def test_two_samples_of_one_key_are_refused(shards, server):
    write_tar(shards / "3.tar", {"00002.png": png(1)})
    with pytest.raises(InvalidArgumentError, match=r"key '00002': http.*/0\.tar.*/3\.tar"):
        build(server)


def test_a_shard_without_samples_is_no_fault_but_all_of_them_are(shards, server):
    write_tar(shards / "1.tar", {})
    assert [shard["rows"] for shard in build(server).shards] == [5, 0, 5, 5]
    for number in range(4):
        write_tar(shards / f"{number}.tar", {})
    with pytest.raises(InvalidArgumentError, match="4 shards have no samples"):
        build(server)


def test_a_shard_that_is_not_there_is_named(shards, server):
    with pytest.raises(StorageError, match=r"cannot read http.*/4\.tar: 404 Not Found"):
        helip.SampleIndex.build(server.url + "/{0..4}.tar", progress=False)


def test_a_server_without_ranges_is_told(shards, server):
    server.faults["1.tar"] = "whole"
    with pytest.raises(StorageError, match=r"/1\.tar: its server sends the whole file"):
        build(server)


def test_a_shard_that_changes_meanwhile_is_refused(shards, server, monkeypatch):
    usual = server.fault_of

    def changing(name: str):
        if name == "3.tar" and server.requests[-1][0] == "GET":
            write_shard(shards / "3.tar", range(60, 65))
        return usual(name)

    monkeypatch.setattr(server, "fault_of", changing)
    with pytest.raises(MismatchError, match=r"/3\.tar was changed while it was indexed"):
        build(server, threads=1)


def test_a_full_disk_is_told(shards, server, monkeypatch, tmp_path):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(28, "No space left on device")

    usual = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, *how, **also: Full() if how == ("wb",) else usual(path, *how, **also),
    )
    with pytest.raises(StorageError, match="No space left on device; let TMPDIR name a folder"):
        build(server)


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("http://host/a.csv", UnsupportedError, "only tar shards are read"),
        ("http://host/a.tar.gz", UnsupportedError, "is compressed"),
        ("s3://bucket/*.tar", UnsupportedError, "name shards by braces"),
        ("http://host/a.tar?token=1", UnsupportedError, "has a query"),
        ("http://user:secret@host/a.tar", InvalidArgumentError, "URL at host has credentials"),
        ("http://host/../a.tar", InvalidArgumentError, "without empty parts"),
        ("http:///a.tar", InvalidArgumentError, "SCHEME://HOST/PATH"),
        (["http://a/a.tar", "http://b/a.tar"], InvalidArgumentError, "at one host"),
        (["http://a/a.tar", "a.tar"], InvalidArgumentError, "cannot mix files and URLs"),
    ],
)
def test_sources_that_are_no_shards_are_refused(source, error, words):
    with pytest.raises(error, match=words) as caught:
        helip.open_dataset(source)
    assert "secret" not in str(caught.value)
