"""Reading shards over HTTP: the same as on disk, whatever goes wrong being told."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import helip
from helip import _core
from helip.common.errors import MismatchError, SampleError, StorageError, UnsupportedError
from helip.data import remote_shards
from helip.data.opening import open_dataset
from helip.data.picture_reader import PictureReader
from support.data_samples import assert_row_is, picture, png, write_shard, write_tar
from support.http_shards import ShardServer, serving

ROWS = np.arange(20)


def at(server: ShardServer) -> str:
    return server.url + "/{0..3}.tar"


def saved(shards: Path, tmp_path: Path) -> Path:
    """An index of the files on disk, as it is before they are uploaded."""
    helip.SampleIndex.build(shards, out=tmp_path / "index", progress=False)
    return tmp_path / "index"


def opened(shards: Path, tmp_path: Path, server: ShardServer) -> helip.Dataset:
    return open_dataset(saved(shards, tmp_path), root=server.url)


def failure_of(data, row: int) -> SampleError:
    with pytest.raises(SampleError) as caught:
        data.image(row)
    assert caught.value.reason == "io"
    assert caught.value.key == data.keys[row]
    return caught.value


def pictures_of(data, rows: np.ndarray) -> tuple[np.ndarray, dict]:
    reader = PictureReader(data, [helip.ImageTransform(size=8)], threads=2)
    reader.start()
    begun = reader.begin(rows)
    errors = reader.wait(begun)
    return begun.views[0].numpy(), errors


# The same as on disk


def test_shards_at_urls_read_as_on_disk(shards, server):
    local = open_dataset(shards)
    sources = [at(server), [f"{server.url}/{number}.tar" for number in range(4)]]
    sources.append("::".join(sources[1]))
    for source in sources:
        data = open_dataset(source)
        assert data.keys == local.keys
        assert data.fingerprint == local.fingerprint
        assert data.counts() == local.counts()
        np.testing.assert_array_equal(data.row_digests(ROWS), local.row_digests(ROWS))
        for row in (0, 7, 19):
            assert_row_is(data, row, row)


def test_an_index_of_files_reads_them_where_they_were_uploaded(shards, tmp_path, server):
    data = opened(shards, tmp_path, server)
    assert data.fingerprint == open_dataset(shards).fingerprint
    for row in range(20):
        assert_row_is(data, row, row)
    assert data.index.shards[0]["path"] == f"{server.url}/0.tar"


def test_the_core_decodes_what_python_fetches(shards, tmp_path, server):
    data = opened(shards, tmp_path, server)
    rows = np.random.default_rng(0).permutation(20)
    expected, _ = pictures_of(open_dataset(shards), rows)
    found, errors = pictures_of(data, rows)
    assert not errors
    np.testing.assert_array_equal(found, expected)
    # Neighbours come together, captions with their pictures, and a batch is told of at once.
    assert len(server.gets()) == 4
    assert data.caption(3)
    assert len(server.gets()) == 4


def test_a_sample_that_nobody_announced_comes_by_one_request(shards, tmp_path, server):
    data = opened(shards, tmp_path, server)
    assert_row_is(data, 7, 7)
    assert len(server.gets()) == 1


def test_captions_alone_are_fetched_without_their_pictures(shards, tmp_path, server):
    large = picture(0, (100, 100))
    members = {}
    for number in range(3):
        large.save(tmp_path / "a.bmp")
        members[f"{number}.bmp"] = (tmp_path / "a.bmp").read_bytes()
        members[f"{number}.txt"] = b"words"
    write_tar(shards / "0.tar", members)
    data = opened(shards, tmp_path, server)
    data.caption_groups()
    sizes = [int(asked.partition("-")[2]) - int(asked[6:].partition("-")[0]) + 1
             for name, asked in server.gets() if name == "0.tar"]  # fmt: skip
    assert sizes == [5, 5, 5]


def test_a_subset_is_told_of_as_well(shards, tmp_path, server):
    part = opened(shards, tmp_path, server).subset([3, 18])
    part._will_need(np.array([1, 0]))
    assert [part[row]["key"] for row in range(2)] == ["00003", "00018"]
    assert sorted(name for name, _ in server.gets()) == ["0.tar", "3.tar"]


def test_members_of_no_bytes_and_those_of_the_json_are_read(shards, tmp_path, server):
    write_tar(shards / "0.tar", {"a.png": png(1), "a.json": b'{"caption": "x"}', "b.txt": b""})
    data = opened(shards, tmp_path, server)
    data._will_need(np.array([0, 1]))
    assert data.caption(0) == "x"
    assert data.index.read(1, "text") == b""
    with pytest.raises(SampleError) as caught:
        data.image(1)
    assert caught.value.reason == "missing_image"


def test_paths_are_encoded_as_urls_ask(tmp_path, server, shards):
    write_shard(shards / "a b.tar", range(3))
    shutil.copy(shards / "a b.tar", shards / "a%20b.tar")  # as the small server looks it up
    assert_row_is(open_dataset(f"{server.url}/a%20b.tar"), 1, 1)


def test_many_threads_read_at_once(shards, tmp_path, server):
    data = opened(shards, tmp_path, server)
    wrong: list[BaseException] = []

    def read() -> None:
        try:
            for row in np.random.default_rng().permutation(20).tolist():
                data._will_need(ROWS[row : row + 4])
                assert_row_is(data, row, row)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_held_stays_within_its_bound(shards, tmp_path, server, monkeypatch):
    monkeypatch.setattr(remote_shards, "HELD_BYTES", 1_000)
    data = opened(shards, tmp_path, server)
    data._will_need(ROWS)
    for row in (19, 3, 11):
        assert_row_is(data, row, row)
    cache = data.index._remote._here().cache
    assert cache.held <= 10_000  # a range of neighbours that is larger than the bound
    assert data.index._remote.counts()["dropped"] >= 1


def test_redirects_are_followed(shards, tmp_path, server):
    server.faults = {f"{number}.tar": "moved" for number in range(4)}
    data = open_dataset(at(server))
    data._will_need(ROWS)
    assert_row_is(data, 7, 7)
    server.faults = {}
    assert_row_is(data, 8, 8)


def test_shards_in_buckets_are_read_with_what_the_environment_says(shards, server, monkeypatch):
    (shards / "bucket" / "a b").mkdir(parents=True)
    write_shard(shards / "bucket" / "a b" / "0%20.tar", range(3))
    # The small server gets paths as they are encoded.
    (shards / "bucket" / "a%20b").symlink_to(shards / "bucket" / "a b")
    (shards / "bucket" / "a b" / "0%2520.tar").symlink_to(shards / "bucket" / "a b" / "0%20.tar")
    for name, value in {
        "AWS_ENDPOINT": server.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    data = open_dataset("s3://bucket/a b/0%20.tar")
    assert data.index.shards[0]["path"] == "s3://bucket/a b/0%20.tar"
    assert_row_is(data, 2, 2)
    with pytest.raises(StorageError, match=r"s3://bucket/none\.tar: .*404"):
        open_dataset("s3://bucket/none.tar")


# Changed shards


def test_a_shard_of_another_size_is_named(shards, tmp_path, server):
    data = opened(shards, tmp_path, server)
    write_shard(shards / "1.tar", range(30, 50))
    with pytest.raises(MismatchError, match=r"/1\.tar was changed .*20480 bytes then, \d{5} now"):
        data.image(7)
    assert_row_is(data, 2, 2)


def test_a_picture_of_as_many_bytes_is_found_by_its_digest(shards, tmp_path, server):
    server.tags = False  # times of whole seconds in their place
    data = opened(shards, tmp_path, server)
    path = shards / "1.tar"
    time = path.stat().st_mtime
    _, _, offset, size = data.index.member(7, "image")
    whole = bytearray(path.read_bytes())
    whole[offset + size - 3] ^= 1
    path.write_bytes(whole)
    os.utime(path, (time, time))
    with pytest.raises(MismatchError, match=r"/1\.tar was changed .*the picture of row 7 is anoth"):
        data.image(7)
    with pytest.raises(MismatchError, match="picture of row 7"):
        pictures_of(data, np.array([1, 7]))


def test_a_shard_of_another_tag_is_named(shards, tmp_path, server):
    helip.SampleIndex.build(at(server), out=tmp_path / "index", progress=False)
    data = open_dataset(tmp_path / "index")
    write_shard(shards / "2.tar", [10, 11, 12, 14, 13])
    with pytest.raises(MismatchError, match=r"/2\.tar was changed .*its tag was .*helip index"):
        data.caption(10)
    with pytest.raises(MismatchError, match=r"/2\.tar was changed"):
        open_dataset(tmp_path / "index")


def test_opening_an_index_looks_whether_shards_are_there(shards, tmp_path, server):
    index = saved(shards, tmp_path)
    (shards / "3.tar").unlink()
    with pytest.raises(StorageError, match=r"/3\.tar: 404 Not Found; check its address"):
        open_dataset(index, root=server.url)
    assert helip.SampleIndex.open(index, root=server.url, check=False).read(2, "text")


# Failures


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (404, r"404 Not Found; check its address"),
        (403, r"403 Forbidden; give credentials by the variables"),
        (401, r"401 Unauthorized; give credentials"),
        (416, r"416 Requested Range Not Satisfiable|416 Range Not Satisfiable; it is shorter"),
        (500, r"500 Internal Server Error after 1 more tries; try again later"),
        ("whole", r"sends the whole file where a range was asked for; serve it where HTTP range"),
        ("reset", r"the connection broke off|no connection|error sending request"),
        ("truncated", r"the connection broke off"),
        ("hang", r"no answer in time.*; look whether its server can be reached"),
    ],
)
def test_what_a_server_does_wrong_is_told_with_its_address(shards, tmp_path, server, fault, words):
    data = opened(shards, tmp_path, server)
    server.faults["1.tar"] = fault
    error = failure_of(data, 7)
    assert f"sample '00007' (row 7): cannot read {server.url}/1.tar: " in str(error)
    assert re.search(words, str(error))
    _, errors = pictures_of(data, np.array([2, 7, 12]))
    assert {place: each.reason for place, each in errors.items()} == {1: "io"}
    assert str(errors[1]).count("sample '00007'") == 1
    server.faults.clear()
    assert_row_is(data, 7, 7)


def test_a_failure_that_passes_is_tried_again(shards, tmp_path, server):
    data = opened(shards, tmp_path, server)
    for fault in (503, "reset", "truncated"):
        server.faults["1.tar"], server.times["1.tar"] = fault, 1
        assert_row_is(data, 7, 7)


def test_a_server_that_is_gone_is_told(shards, tmp_path, server):
    index = saved(shards, tmp_path)
    with serving(shards) as short:
        data = open_dataset(index, root=short.url)
    assert re.search(r"(no connection|the connection \w+).* after 1 more", str(failure_of(data, 7)))


def test_without_obstore_the_extra_is_named(shards, tmp_path, monkeypatch, server):
    usual = builtins.__import__

    def refusing(name, *rest):
        if name.partition(".")[0] == "obstore":
            raise ImportError("No module named 'obstore'")
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(UnsupportedError, match=r"needs obstore.*pip install 'helip\[remote\]'"):
        open_dataset(at(server))


# Processes


def test_it_goes_to_another_process_by_its_path_or_as_a_copy(shards, tmp_path, server):
    for data in (opened(shards, tmp_path, server), open_dataset(at(server))):
        data.caption(1)
        again = pickle.loads(pickle.dumps(data))
        assert again.fingerprint == data.fingerprint
        assert_row_is(again, 7, 7)


def _read_row(data, row: int) -> str:
    return data.caption(row)


def test_spawned_workers_read(shards, tmp_path, server):
    data = opened(shards, tmp_path, server)
    data.caption(0)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_read_row, (data, 7)) == data.caption(7)


def test_a_forked_process_is_refused_where_its_parent_has_read(shards, tmp_path, server):
    data = opened(shards, tmp_path, server)
    data.caption(0)
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool, pytest.raises(UnsupportedError, match="method 'spawn'"):
        pool.apply(_read_row, (data, 7))


def test_a_reader_ends_while_the_core_still_reads(shards, tmp_path, server):
    transform = helip.ImageTransform(size=8)
    out = np.empty((len(ROWS), *transform.shape), dtype=np.float32)
    server.delay = 0.05
    data = opened(shards, tmp_path, server)
    assembler = _core.BatchAssembler(data.index.pictures(), [transform._core], seed=0, threads=2)
    assembler.submit(ROWS, ROWS, 0, [out.ctypes.data])
    while not server.gets():
        server.stopped.wait(0.001)
    del assembler


_ENDING = """
import sys, numpy as np, helip
from helip.data import remote_shards
from helip.data.picture_reader import PictureReader
from helip.data import remote_shards
remote_shards.HELD_BYTES = 1
data = helip.open_dataset(sys.argv[1], root=sys.argv[2])
reader = PictureReader(data, [helip.ImageTransform(size=8)], threads=2)
reader.start()
begun = [reader.begin(np.arange(20)) for _ in range(int(sys.argv[3]))]
"""


@pytest.mark.parametrize("batches", [pytest.param(1, marks=pytest.mark.slow), 40])
def test_the_interpreter_ends_while_the_core_still_reads(shards, tmp_path, server, batches):
    index = saved(shards, tmp_path)
    server.delay = 0.02
    command = [sys.executable, "-c", _ENDING, str(index), server.url, str(batches)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ)
    assert (done.returncode, done.stderr) == (0, "")
