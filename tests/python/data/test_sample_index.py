"""SampleIndex: built, saved, opened, brought up to date, and read from everywhere."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import tarfile
import threading
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import helip
from helip import _core
from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    SampleError,
    StorageError,
)
from helip.data.opening import open_dataset
from support.data_samples import assert_row_is, caption, png, write_shard, write_shards, write_tar
from support.process_group import forking

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder of four shards with five samples each."""
    return write_shards(tmp_path / "data")


def build(shards: Path, **options) -> helip.SampleIndex:
    return helip.SampleIndex.build(shards, progress=False, **options)


# Building and reading


def test_an_index_says_where_members_lie(shards: Path) -> None:
    index = build(shards)
    assert len(index) == 20
    assert index.keys == [f"{i:05d}" for i in range(20)]
    assert index.keys[-1] == "00019"
    assert index.keys[3:5] == ["00003", "00004"]
    assert index.keys[5:3] == []
    assert index.read(7, "image") == png(7)
    assert index.read(7, "text") == caption(7).encode()
    state, shard, offset, size = index.member(7, "image")
    assert (state, shard) == ("present", 1)
    assert (shards / "1.tar").read_bytes()[offset : offset + size] == png(7)
    assert index.member(7, "json").state == "absent"
    assert index.counts() == {"rows": 20, "shards": 4, "missing_image": 0, "missing_caption": 0}
    assert index.fingerprint == open_dataset(shards).fingerprint
    assert [shard["rows"] for shard in index.shards] == [5] * 4
    with pytest.raises(SampleError, match=r"'00007'.*no \.json") as caught:
        index.read(7, "json")
    assert (caught.value.key, caught.value.reason) == ("00007", "missing_caption")
    with pytest.raises(InvalidArgumentError, match="row 20 is outside"):
        index.read(20, "text")
    with pytest.raises(InvalidArgumentError, match="must be image, text"):
        index.read(0, "sound")


@pytest.mark.parametrize("format", FORMATS)
def test_all_formats_of_tarfile_are_read(tmp_path: Path, format: str) -> None:
    names = ["a.txt", "d/" * 20 + "b.txt", "é" * 20 + ".txt", "p" * 90 + "/" + "n" * 90 + ".txt"]
    if format != "ustar":
        names += ["x" * 400 + ".txt", "d/" * 300 + "y" * 200 + ".txt", "z" * 60_000 + ".txt"]
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w", format=FORMATS[format]) as archive:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid = number, 1.5 if format == "pax" else 1, 1000
            info.uname = "ü" if format == "pax" else "u"
            archive.addfile(info, io.BytesIO(b"x" * number))
        archive.addfile(directory := tarfile.TarInfo("folder"))
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
    index = build(path)
    assert index.keys == [name[:-4] for name in names]
    assert [index.read(row, "text") for row in range(len(names))] == [
        b"x" * n for n in range(len(names))
    ]


def test_numbers_in_base_256_are_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.txt")
    info.uid = 1 << 33
    info.mtime = -1
    info.size = 3
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\x80" + (3).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "0.tar").write_bytes(bytes(header) + b"abc".ljust(512, b"\0") + b"\0" * 1024)
    assert build(tmp_path / "0.tar").read(0, "text") == b"abc"


def test_the_extension_of_pictures_can_be_chosen(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"a.png": png(1), "a.Seg.png": png(2)})
    index = build(tmp_path / "0.tar", image_extension=".seg.PNG", out=tmp_path / "index")
    assert index.read(0, "image") == png(2)
    assert open_dataset(tmp_path / "index").counts()["ignored_other"] == 1
    open_dataset(tmp_path / "index", image_column="seg.png")
    with pytest.raises(InvalidArgumentError, match="build it again"):
        open_dataset(tmp_path / "index", image_column="png")
    with pytest.raises(InvalidArgumentError, match="image_extension"):
        build(tmp_path / "0.tar", image_extension=".")


def test_only_tar_shards_are_indexed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,caption\n")
    with pytest.raises(InvalidArgumentError, match="made of tar shards, not of a table"):
        build(tmp_path / "t.csv")
    with pytest.raises(InvalidArgumentError, match="not of int"):
        helip.SampleIndex.build(3)


def test_an_index_is_read_with_as_many_threads_as_the_program_bounds(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    read = _core.SampleIndex.build
    seen = lambda *paths, **named: asked.append(named["threads"]) or read(*paths, **named)  # noqa: E731
    monkeypatch.setattr(_core, "SampleIndex", mock.Mock(build=seen))
    monkeypatch.setattr("helip.common.machine._bound", 1)
    build(shards)
    build(shards, threads=2)
    assert asked == [1, 2]


def test_the_bytes_of_an_index_do_not_depend_on_threads(shards: Path, tmp_path: Path) -> None:
    texts = []
    for threads in (1, 2, 7):
        out = tmp_path / f"index{threads}"
        build(shards, out=out, threads=threads, contents=True)
        texts.append((out / "manifest.json").read_text())
    # The manifest has the digests of all columns and keys.
    assert len(set(texts)) == 1


def test_a_saved_index_is_safetensors(shards: Path, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    index = build(shards, out=tmp_path / "index")
    columns = safetensors.load_file(tmp_path / "index" / "shard-00000.safetensors")
    assert columns["offsets"].shape == (20, 4)
    assert columns["sizes"].dtype == "int32"
    assert columns["offsets"][7].tolist()[0] == index.member(7, "image").offset
    assert columns["offsets"][7].tolist()[2:] == [-1, -1]


# Opening


def test_a_directory_of_an_index_opens_as_a_data_set(shards: Path, tmp_path: Path) -> None:
    build(shards, out=tmp_path / "index")
    data = open_dataset(tmp_path / "index")
    assert data.fingerprint == open_dataset(shards).fingerprint
    assert data.keys == open_dataset(shards).keys
    assert repr(data) == "TarDataset(20 rows in 4 shards)"
    for row in (0, 7, 19):
        assert_row_is(data, row, row)
    with pytest.raises(InvalidArgumentError, match="key_column"):
        open_dataset(tmp_path / "index", key_column="id")


def test_shards_that_were_moved_are_given_as_root(shards: Path, tmp_path: Path) -> None:
    build(shards, out=tmp_path / "index")
    shards.rename(tmp_path / "moved")
    with pytest.raises(StorageError, match=r"root.*0\.tar"):
        open_dataset(tmp_path / "index")
    data = open_dataset(tmp_path / "index", root=tmp_path / "moved")
    assert_row_is(data, 7, 7)
    assert_row_is(pickle.loads(pickle.dumps(data)), 7, 7)


def test_a_changed_shard_is_refused_when_the_index_is_opened(shards: Path, tmp_path: Path) -> None:
    build(shards, out=tmp_path / "index")
    state = os.stat(shards / "2.tar")
    os.utime(shards / "2.tar", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    with pytest.raises(MismatchError, match=r"2\.tar was changed.*another time.*helip index"):
        open_dataset(tmp_path / "index")
    write_shard(shards / "2.tar", range(10, 30))
    with pytest.raises(MismatchError, match=r"2\.tar was changed.*bytes then.*helip index"):
        open_dataset(tmp_path / "index")
    assert len(helip.SampleIndex.open(tmp_path / "index", check=False)) == 20


def test_a_damaged_index_is_told(shards: Path, tmp_path: Path) -> None:
    build(shards, out=tmp_path / "index")
    shard = tmp_path / "index" / "shard-00000.safetensors"
    whole = shard.read_bytes()
    for at in (100, 4096 + 3, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        shard.write_bytes(damaged)
        with pytest.raises(CorruptError):
            helip.SampleIndex.open(tmp_path / "index").verify()
    shard.write_bytes(whole[:-1])
    with pytest.raises(CorruptError):
        helip.SampleIndex.open(tmp_path / "index")
    shard.write_bytes(whole)
    manifest = tmp_path / "index" / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"0.tar"', '"9.tar"'))
    with pytest.raises(CorruptError, match="checksum"):
        helip.SampleIndex.open(tmp_path / "index")


def test_an_index_that_leads_out_of_its_root_is_refused(shards: Path, tmp_path: Path) -> None:
    build(shards, out=tmp_path / "index")
    from helip import _core

    data = build(shards)._core.to_bytes()
    for path in ("../data/0.tar", "/etc/0", ""):
        forged = data.replace(b'"0.tar"', json.dumps(path).encode())
        size = int.from_bytes(data[:8], "little") + len(forged) - len(data)
        with pytest.raises(CorruptError, match="leads out"):
            _core.SampleIndex.from_bytes(size.to_bytes(8, "little") + forged[8:])
    for length in range(0, len(data), 97):
        with pytest.raises(CorruptError):
            _core.SampleIndex.from_bytes(data[:length])


def test_an_index_does_not_take_the_place_of_something_else(shards: Path, tmp_path: Path) -> None:
    with helip.EmbeddingStore.create(tmp_path / "store", image_dim=2, text_dim=2) as writer:
        writer.append(["a"], np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
        writer.commit()
    with pytest.raises(MismatchError, match="embedding_store"):
        build(shards, out=tmp_path / "store")
    with pytest.raises(InvalidArgumentError, match="not empty"):
        build(shards / "0.tar", out=shards)


# Change


def test_only_new_and_changed_shards_are_read_again(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    assert build(shards, out=out).scanned == 4
    untouched = (out / "manifest.json").stat().st_mtime_ns
    assert build(shards, out=out).scanned == 0
    assert (out / "manifest.json").stat().st_mtime_ns == untouched
    write_shard(shards / "1.tar", range(105, 108))
    write_shard(shards / "4.tar", range(20, 25))
    (shards / "0.tar").unlink()
    index = build(shards, out=out)
    assert index.scanned == 2
    fresh = build(shards)
    assert index.keys == fresh.keys
    assert index.fingerprint == fresh.fingerprint
    assert index.counts() == fresh.counts()
    index.verify()
    for row in range(len(index)):
        assert index.read(row, "image") == fresh.read(row, "image")


def test_a_failed_build_leaves_the_index_as_it_was(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    before = build(shards, out=out).fingerprint
    (shards / "9.tar").write_bytes(b"garbage")
    with pytest.raises(CorruptError, match=r"9\.tar"):
        build(shards, out=out)
    assert helip.SampleIndex.open(out).fingerprint == before


def test_verify_compares_headers_and_if_asked_contents(shards: Path, tmp_path: Path) -> None:
    index = build(shards, out=tmp_path / "index", contents=True)
    index.verify(contents=True)
    assert index.has_contents
    path = shards / "3.tar"
    state, whole = os.stat(path), path.read_bytes()

    def change(at: int, byte: int) -> None:
        data = bytearray(whole)
        data[at] = byte
        with path.open("r+b") as file:
            file.write(data)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    change(600, whole[600] ^ 1)
    with pytest.raises(MismatchError, match=r"3\.tar was changed.*members"):
        index.verify()  # the ends of pictures, and the captions, are read with the headers
    with pytest.raises(MismatchError, match=r"3\.tar was changed.*contents"):
        index.verify(contents=True)
    change(0, whole[0] ^ 1)
    with pytest.raises(CorruptError, match="no valid header"):
        index.verify()
    with pytest.raises(InvalidArgumentError, match="build it with contents"):
        build(shards / "0.tar").verify(contents=True)


# Processes and threads


def _read(data: helip.data.Dataset, rows: list[int], results) -> None:
    results.put([data.caption(row) for row in rows])


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("start", ["fork", "forkserver"])  # which pickles, as spawning does
def test_processes_read_on(shards: Path, tmp_path: Path, start: str, saved: bool) -> None:
    index = build(shards, out=tmp_path / "index" if saved else None)
    data = open_dataset(tmp_path / "index" if saved else shards)
    assert data.caption(3) == caption(3)
    context = multiprocessing.get_context(start) if start == "fork" else forking()
    results = context.Queue()
    rows = [3, 19, 0, 7]
    workers = [context.Process(target=_read, args=(data, rows, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for _ in workers:
        assert results.get(timeout=120) == [caption(row) for row in rows]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert data.caption(3) == caption(3)
    assert pickle.loads(pickle.dumps(index)).fingerprint == index.fingerprint


def test_an_index_built_again_is_not_mixed_with_the_one_in_use(
    shards: Path, tmp_path: Path
) -> None:
    data = pickle.dumps(build(shards, out=tmp_path / "index"))
    write_shard(shards / "4.tar", range(20, 25))
    build(shards, out=tmp_path / "index")
    with pytest.raises(MismatchError, match="built again"):
        pickle.loads(data)


def test_a_saved_index_is_pickled_by_its_path(shards: Path, tmp_path: Path) -> None:
    build(shards, out=tmp_path / "index")
    assert len(pickle.dumps(open_dataset(tmp_path / "index"))) < 1000


def test_threads_read_without_the_gil(shards: Path) -> None:
    index = build(shards)
    wrong: list[object] = []

    def read(first: int) -> None:
        for i in range(400):
            row = (first + 7 * i) % 20
            if index.read(row, "image") != png(row):
                wrong.append(row)

    expected = [png(row) for row in range(20)]
    assert [index.read(row, "image") for row in range(20)] == expected
    threads = [threading.Thread(target=read, args=(first,)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_damaged_shards_are_left_out_on_request_and_counted(shards: Path, tmp_path: Path) -> None:
    content = (shards / "1.tar").read_bytes()
    (shards / "1.tar").write_bytes(content[: len(content) // 2 + 100])
    with pytest.raises(CorruptError, match=r"1\.tar is truncated.* index SHARDS .*--skip-damaged"):
        build(shards)
    other = (shards / "3.tar").read_bytes()
    (shards / "3.tar").write_bytes(other[:700])
    with pytest.raises(CorruptError, match=r"^2 of 4 shards are damaged, the first: .*1\.tar"):
        open_dataset(shards)
    (shards / "3.tar").write_bytes(other)
    for out in (None, tmp_path / "index"):
        index = build(shards, skip_damaged=True, out=out)
        assert len(index) == 15
        assert list(index.left_out) == [str(shards / "1.tar")]
        assert "is truncated" in index.left_out[str(shards / "1.tar")]
    assert "00005" not in index.keys
    (shards / "1.tar").write_bytes(content)
    whole = build(shards, skip_damaged=True, out=tmp_path / "index")
    assert (len(whole), whole.left_out) == (20, {})
    for tar in shards.glob("*.tar"):
        tar.write_bytes(tar.read_bytes()[:700])
    with pytest.raises(CorruptError, match="all 4 shards are damaged"):
        build(shards, skip_damaged=True)
    with pytest.raises(InvalidArgumentError, match="skip_damaged is True, which is for files"):
        build("https://example.org/0.tar", skip_damaged=True)
