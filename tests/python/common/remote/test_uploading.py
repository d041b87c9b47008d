"""Uploads that fail, are killed or meet another: nothing is half published, and they go on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helip.common.errors import InvalidArgumentError, MismatchError, StorageError
from helip.common.remote import uploading
from helip.common.remote.copying import copy
from helip.common.remote.uploading import MARKER, upload
from support.remote_samples import files_of, write_store
from support.s3_server import Request, S3Server

URL = "s3://bucket/a.store"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "PIECE", 5 << 20)


def send(folder: Path, **options: bool) -> None:
    upload(folder, URL, progress=False, **options)


def names(server: S3Server) -> set[str]:
    return set(uploading.Remote("s3://bucket").listed(URL))


def wait_for(server: S3Server, key: str) -> None:
    until = time.monotonic() + 30
    while not any(key in f"{request.key}?{request.query}" for request in list(server.requests)):
        assert time.monotonic() < until
        time.sleep(0.005)


def expect_sent(store: Path, tmp_path: Path) -> None:
    """An upload ends, and what is there is the store."""
    send(store)
    copy(URL, tmp_path / "back", progress=False)
    assert files_of(tmp_path / "back") == files_of(store)


@pytest.mark.parametrize("fault", [(503, "SlowDown"), (500, "InternalError"), "reset"])
def test_a_passing_failure_is_tried_again(fault, s3: S3Server, large_store: Path, tmp_path: Path):
    met: list[Request] = []

    def once(request: Request):
        if "partNumber=2" in request.query and not met:
            met.append(request)
            return fault
        return None

    s3.fault = once
    send(large_store)
    assert met
    copy(URL, tmp_path / "back", progress=False)
    assert files_of(tmp_path / "back") == files_of(large_store)


def test_a_lasting_failure_leaves_nothing_that_could_be_read(s3: S3Server, large_store: Path):
    s3.fault = lambda request: (503, "SlowDown") if "partNumber=2" in request.query else None
    with pytest.raises(StorageError, match=r"cannot write s3://bucket/a\.store/shard.*503") as met:
        send(large_store)
    assert met.value.errno == errno.EAGAIN
    assert "after 2 more tries; try again later" in str(met.value)
    assert "uploadId" not in str(met.value)
    assert names(s3) == {MARKER}
    assert s3.uploads() == 0


_JOB = """
import sys
from helip.common.remote import uploading
uploading.PIECE = 5 << 20
uploading.upload(__import__("pathlib").Path(sys.argv[1]), sys.argv[2], progress=False)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_a_stopped_upload_leaves_no_manifest_and_goes_on(
    sign, s3: S3Server, large_store: Path, tmp_path: Path
):
    second = "shard-00001.safetensors?partNumber=1"
    s3.fault = lambda request: "hang" if second in f"{request.key}?{request.query}" else None
    job = subprocess.Popen(
        [sys.executable, "-c", _JOB, large_store, URL], stderr=subprocess.DEVNULL
    )
    wait_for(s3, second)
    job.send_signal(sign)
    if sign == signal.SIGINT:
        s3.fault = None
        s3.stopped.set()
    job.wait(timeout=30)
    # What Ctrl-C meets is brought to its end or given up; a killed process can do neither.
    assert s3.uploads() == (1 if sign == signal.SIGKILL else 0)
    assert {MARKER, "shard-00000.safetensors"} <= names(s3)
    assert "manifest.json" not in names(s3)
    s3.fault = None
    s3.requests.clear()
    send(large_store)
    assert not any("shard-00000" in key for key in s3.written())
    copy(URL, tmp_path / "back", progress=False)
    assert files_of(tmp_path / "back") == files_of(large_store)


def test_what_another_upload_left_is_not_taken_for_its_own(
    s3: S3Server, store: Path, tmp_path: Path
):
    other = write_store(tmp_path / "other", seed=1)
    s3.fault = lambda request: (403, "AccessDenied") if "shard-00001" in request.key else None
    with pytest.raises(StorageError):
        send(other)
    s3.fault = None
    expect_sent(store, tmp_path)


def test_who_comes_second_with_other_data_is_refused(s3: S3Server, store: Path, tmp_path: Path):
    other = write_store(tmp_path / "other", seed=1, dims=(5, 5))
    begun = []

    def meanwhile(request: Request):
        last = bool(s3.written()) and s3.written()[-1].endswith("shard-00001.safetensors")
        if "list-type" in request.query and last and not begun:
            begun.append(request)
            send(other)
        return None

    s3.fault = meanwhile
    with pytest.raises(MismatchError, match=r"changed while it was uploaded.*another job"):
        send(store)
    copy(URL, tmp_path / "back", progress=False)
    assert files_of(tmp_path / "back") == files_of(other)


def test_a_manifest_that_came_meanwhile_is_not_replaced(s3: S3Server, store: Path, tmp_path: Path):
    other = write_store(tmp_path / "other", seed=1)
    remote = uploading.Remote("s3://bucket")

    def meanwhile(request: Request):
        if request.method == "PUT" and request.key.endswith("manifest.json"):
            s3.fault = None
            remote.put(f"{URL}/manifest.json", (other / "manifest.json").read_bytes())
        return None

    s3.fault = meanwhile
    with pytest.raises(InvalidArgumentError, match="exists already"):
        send(store)


def test_a_service_that_knows_no_conditional_writes_is_asked_before(
    s3: S3Server, store: Path, tmp_path: Path
):
    s3.fault = lambda request: (501, "NotImplemented") if request.new else None
    expect_sent(store, tmp_path)
    assert sum(request.new for request in s3.requests) >= 1


def test_the_same_upload_twice_at_once_is_no_harm(s3: S3Server, store: Path, tmp_path: Path):
    begun = []

    def meanwhile(request: Request):
        if request.method == "PUT" and "shard-00001" in request.key and not begun:
            begun.append(request)
            send(store)
        return None

    s3.fault = meanwhile
    expect_sent(store, tmp_path)
    assert MARKER not in names(s3)


def test_who_publishes_the_same_a_moment_later_takes_nothing_away(
    s3: S3Server, store: Path, tmp_path: Path
):
    def meanwhile(request: Request):
        if request.method == "PUT" and request.key.endswith("manifest.json"):
            s3.fault = None
            send(store)
        return None

    s3.fault = meanwhile
    expect_sent(store, tmp_path)


def test_who_begins_while_another_publishes_is_noticed(s3: S3Server, store: Path, tmp_path: Path):
    remote = uploading.Remote("s3://bucket")

    def meanwhile(request: Request):
        if request.method == "PUT" and request.key.endswith("manifest.json"):
            s3.fault = None
            remote.put(f"{URL}/{MARKER}", b"another begins")
        return None

    s3.fault = meanwhile
    with pytest.raises(MismatchError, match="changed while it was uploaded"):
        send(store)
    assert "manifest.json" not in names(s3)


def test_a_file_that_is_gone_is_named(s3: S3Server, store: Path):
    os.unlink(store / "shard-00001.safetensors")
    with pytest.raises(StorageError, match=r"cannot read .*shard-00001\.safetensors: No such file"):
        send(store)
    assert "manifest.json" not in names(s3)
