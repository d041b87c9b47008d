"""Downloads that fail, are killed or race: never taken for whole, and they go on by shards."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from helip.common.errors import InvalidArgumentError, MismatchError, StorageError
from helip.common.remote import downloading
from helip.common.remote.container import RemoteContainer
from helip.common.remote.downloading import cached, download
from support.http_shards import ShardServer, serving
from support.remote_samples import files_of, write_store
from support.s3_server import Request, S3Server


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "PIECE", 64 << 10)


@pytest.fixture
def at(s3: S3Server, store: Path) -> str:
    from helip.common.remote.uploading import upload

    upload(store, "s3://bucket/a.store", progress=False)
    s3.requests.clear()
    return "s3://bucket/a.store"


def fetch(url: str, target: Path) -> None:
    download(RemoteContainer(url), target, progress=False)


def served(server: ShardServer, store: Path) -> str:
    return f"{server.url}/{store.name}"


def ranges(server: ShardServer, name: str) -> list[str | None]:
    return [asked for file, asked in server.gets() if file.endswith(name) and asked]


@pytest.mark.parametrize("fault", [(503, "SlowDown"), (429, "SlowDown"), "reset", "short", "cut"])
def test_a_passing_failure_is_tried_again(
    fault, at: str, s3: S3Server, store: Path, tmp_path: Path
):
    met: set[str] = set()

    def each_once(request: Request):
        end = f"{request.key} {(request.range or '').partition('-')[2]}"
        if request.range and end not in met:  # what is left of a cut body is asked for by its end
            met.add(end)
            return fault
        return None

    s3.fault = each_once
    fetch(at, tmp_path / "back")
    assert met
    assert files_of(tmp_path / "back") == files_of(store)


def test_ranges_that_stay_short_are_told(at: str, s3: S3Server, tmp_path: Path):
    s3.fault = lambda request: "short" if request.range else None
    with pytest.raises(StorageError, match=r"s3://bucket/a\.store/shard-.*asked for 3 times, and"):
        fetch(at, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_container_that_changes_between_ranges_is_refused(
    at: str, s3: S3Server, store: Path, tmp_path: Path
):
    from helip.common.remote.uploading import Remote

    changed = bytearray((store / "shard-00001.safetensors").read_bytes())
    changed[-1] ^= 1

    def meanwhile(request: Request):
        if "shard-00001" in request.key and request.range == "bytes=131072-196607":
            s3.fault = None
            Remote("s3://bucket").put(f"{at}/shard-00001.safetensors", bytes(changed))
        return None

    s3.fault = meanwhile
    with pytest.raises(MismatchError, match=r"after it was opened \(the tag of shard-00001"):
        fetch(at, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_shard_that_was_replaced_as_a_whole_is_refused(
    at: str, s3: S3Server, store: Path, tmp_path: Path
):
    from helip.common.remote.uploading import upload

    container = RemoteContainer(at)
    upload(write_store(tmp_path / "other", seed=1), at, overwrite=True, progress=False)
    with pytest.raises(MismatchError, match=r"changed after it was opened \(its manifest is anoth"):
        download(container, tmp_path / "back", progress=False)


_JOB = """
import sys
from pathlib import Path
from helip.common.remote import downloading
from helip.common.remote.container import RemoteContainer
downloading.PIECE = 64 << 10
downloading.download(RemoteContainer(sys.argv[1]), Path(sys.argv[2]), progress=False)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_a_stopped_download_is_not_whole_and_goes_on_by_shards(sign, store: Path, tmp_path: Path):
    with serving(store.parent) as server:
        name = f"{store.name}/shard-00001.safetensors"
        server.faults[name] = "hang"
        job = subprocess.Popen(
            [sys.executable, "-c", _JOB, served(server, store), tmp_path / "back"],
            stderr=subprocess.DEVNULL,
        )
        partial = tmp_path / ".partial-back"
        until = time.monotonic() + 30
        while not (partial / "shard-00000.safetensors").exists():
            assert time.monotonic() < until
            time.sleep(0.005)
        if sign == signal.SIGINT:
            server.faults.clear()
        job.send_signal(sign)
        if sign == signal.SIGINT:
            server.stopped.set()
        job.wait(timeout=30)
    assert not (tmp_path / "back").exists()
    with serving(store.parent) as server:
        fetch(served(server, store), tmp_path / "back")
        assert not ranges(server, "shard-00000.safetensors")
        assert len(ranges(server, "shard-00001.safetensors")) == 5
    assert files_of(tmp_path / "back") == files_of(store)
    assert not partial.exists()


def test_what_is_left_of_another_container_is_dropped(store: Path, tmp_path: Path):
    other = write_store(tmp_path / "other", seed=1)
    with serving(tmp_path) as server:
        server.faults["other/shard-00001.safetensors"] = 404
        with pytest.raises(StorageError):
            fetch(f"{server.url}/other", tmp_path / "back")
        assert (tmp_path / ".partial-back" / "shard-00000.safetensors").exists()
        fetch(served(server, store), tmp_path / "back")
    assert files_of(tmp_path / "back") == files_of(store)
    assert other.exists()


def test_too_small_a_disk_is_told_with_both_numbers(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=20_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(downloading, "_ROOM", 19_900_000)
    with serving(store.parent) as server:
        with pytest.raises(StorageError, match=r"takes [\d,]+ bytes more.*20,000,000 are") as met:
            cached(RemoteContainer(served(server, store)), tmp_path / "cache", progress=False)
        assert met.value.errno == errno.ENOSPC
        assert "name another cache" in str(met.value)
        assert not ranges(server, "safetensors")


def test_the_cache_is_used_again_whatever_the_address(store: Path, tmp_path: Path):
    folder = tmp_path / "cache"
    with serving(store.parent) as server, serving(store.parent) as mirror:
        first = cached(RemoteContainer(served(server, store)), folder, progress=False)
        again = cached(RemoteContainer(served(mirror, store)), folder, progress=False)
        assert first == again
        assert mirror.gets() == [(f"{store.name}/manifest.json", None)]
    assert files_of(first) == files_of(store)


def test_a_cache_damaged_while_it_was_filled_is_fetched_again(store: Path, tmp_path: Path):
    partial = tmp_path / "cache" / f".partial-{cached_name(store)}"
    partial.mkdir(parents=True)
    (partial / "shard-00000.safetensors").write_bytes(b"other")
    with serving(store.parent) as server:
        place = cached(RemoteContainer(served(server, store)), tmp_path / "cache", progress=False)
    assert files_of(place) == files_of(store)


def cached_name(store: Path) -> str:
    return f"{store.name}-{RemoteContainer(str(store)).manifest.checksum}"


def test_of_several_processes_one_downloads_and_the_others_wait(store: Path, tmp_path: Path):
    with serving(store.parent) as server:
        server.delay = 0.02
        found: list[Path] = []

        def work() -> None:
            container = RemoteContainer(served(server, store))
            found.append(cached(container, tmp_path / "cache", progress=False))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asked = [(file, part) for file, part in server.gets() if part]
        assert len(asked) == len(set(asked))
    assert len(found) == 4
    assert files_of(found[0]) == files_of(store)
    assert [each.name for each in (tmp_path / "cache").iterdir()] == [cached_name(store)]


def test_so_many_pieces_are_on_their_way_and_no_more(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(downloading, "IN_FLIGHT", 3)
    with serving(store.parent) as server:
        server.delay = 0.01
        fetch(served(server, store), tmp_path / "back")
        assert server.most_running == 3


def test_what_was_used_longest_ago_makes_room_but_for_what_is_open(
    s3: S3Server, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from helip.common.remote.uploading import upload

    cache, urls = tmp_path / "cache", []
    for name in "abc":
        other = tmp_path / name
        write_store(other, seed=ord(name))
        upload(other, f"s3://bucket/{name}", progress=False)
        urls.append(f"s3://bucket/{name}")
    size = RemoteContainer(urls[0]).manifest.bytes
    monkeypatch.setenv("HELIP_CACHE_SIZE", str(2 * size + 100_000))
    script = """
import sys, time
from helip.common.remote.container import RemoteContainer
from helip.common.remote.downloading import cached
for url in sys.argv[2:]:
    print(cached(RemoteContainer(url), sys.argv[1], progress=False), flush=True)
sys.stdin.read()
"""

    def opened(*names: str) -> tuple[subprocess.Popen[str], list[Path]]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(cache), *names],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        return process, [Path(process.stdout.readline().strip()) for _ in names]

    def end(process: subprocess.Popen[str]) -> None:
        process.communicate("")

    first, (a,) = opened(urls[0])
    second, (b,) = opened(urls[1])
    # Of a download that was killed.
    stale = cache / f".partial-d-{'0123456789abcdef' * 2}"
    stale.mkdir()
    (stale / ".source").write_text(f'"checksum": "{stale.name[-32:]}"')
    (stale / "shard").write_bytes(b"x" * 100_000)
    shutil.copytree(tmp_path / "a", cache / "own.store")  # of somebody else
    with pytest.raises(StorageError, match=r"bucket/c takes .* HELIP_CACHE_SIZE is .*; raise it"):
        cached(RemoteContainer(urls[2]), cache, progress=False)
    assert (a / "manifest.json").exists() and (b / "manifest.json").exists()
    assert not stale.exists()
    end(second)
    third, (c,) = opened(urls[2])  # takes the place of b, as a is open
    assert files_of(c).keys() == files_of(tmp_path / "c").keys()
    assert a.exists() and not b.exists()
    end(first)
    end(third)
    again, _ = opened(urls[0], urls[1])  # a was used before c, and is used again
    assert a.exists() and b.exists() and not c.exists()
    end(again)
    assert files_of(cache / "own.store") == files_of(tmp_path / "a")
    monkeypatch.setenv("HELIP_CACHE_SIZE", "many")
    with pytest.raises(InvalidArgumentError, match="HELIP_CACHE_SIZE is 'many'"):
        cached(RemoteContainer(urls[2]), cache, progress=False)


def test_what_another_process_downloads_is_counted_in_full(
    s3: S3Server, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from helip.common.remote.uploading import upload

    for name in "ab":
        write_store(tmp_path / name, seed=ord(name))
        upload(tmp_path / name, f"s3://bucket/{name}", progress=False)
    first, second = RemoteContainer("s3://bucket/a"), RemoteContainer("s3://bucket/b")
    cache, pieces = tmp_path / "cache", first.pieces
    monkeypatch.setenv("HELIP_CACHE_SIZE", str(first.manifest.bytes + 100_000))

    def before_the_first_piece(*args: int) -> object:
        with pytest.raises(StorageError, match=r"bucket/b takes .* are in use in"):
            cached(second, cache, progress=False)
        return pieces(*args)

    monkeypatch.setattr(first, "pieces", before_the_first_piece)
    assert files_of(cached(first, cache, progress=False)).keys() == files_of(tmp_path / "a").keys()
    assert not list(cache.glob(".partial-*"))
