"""The same of two services of S3 that have nothing in common: moto's, and that of rclone."""

from __future__ import annotations

import datetime
import errno
import itertools
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import helip
from helip.common.errors import CorruptError, StorageError
from helip.common.remote import downloading, uploading
from helip.common.remote.client import Remote
from helip.common.remote.container import RemoteContainer
from helip.common.remote.errors import PastEnd, storage_error
from support.rclone_server import KEY, SECRET, RcloneServer, serving_rclone
from support.remote_samples import files_of
from support.s3_server import S3Server, serving_s3

_numbers = itertools.count()


class Service(NamedTuple):
    """A service, and a folder of its bucket that nothing else writes to."""

    folder: str
    server: S3Server | RcloneServer
    pieces: Callable[[], int]  # of uploads so far

    @property
    def is_moto(self) -> bool:
        return isinstance(self.server, S3Server)


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneServer]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "bucket").mkdir()
    with serving_rclone(folder) as server:
        yield server


@pytest.fixture(params=["moto", "rclone"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    folder = f"s3://bucket/{next(_numbers)}"
    if request.param == "moto":
        with serving_s3(monkeypatch) as moto:
            yield Service(
                folder, moto, lambda: sum("partNumber" in each.query for each in moto.requests)
            )
    else:
        server = request.getfixturevalue("rclone")
        speak_to(server.url, monkeypatch)
        server.requests.clear()
        yield Service(
            folder, server, lambda: sum("partNumber" in path for _, path, _ in server.requests)
        )


def speak_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": url, "AWS_ALLOW_HTTP": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


def copy(source: object, target: object, **options: bool) -> None:
    helip.copy(source, target, progress=False, **options)


# What is written and read


def test_large_shards_go_in_pieces_and_come_by_ranges(
    service: Service, large_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(uploading, "PIECE", 5 << 20)
    monkeypatch.setattr(downloading, "PIECE", 1 << 20)
    copy(large_store, f"{service.folder}/a b.store")
    assert service.pieces() == 4
    copy(f"{service.folder}/a b.store", tmp_path / "back")
    assert files_of(tmp_path / "back") == files_of(large_store)


def test_rows_are_read_by_ranges(service: Service, store: Path):
    copy(store, f"{service.folder}/a.store")
    remote, local = (
        helip.EmbeddingStore.open(each) for each in (f"{service.folder}/a.store", store)
    )
    for found, expected in zip(
        remote.rows([3, 4090, 7999]), local.rows([3, 4090, 7999]), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert remote.keys[4100] == local.keys[4100]


def test_a_range_behind_the_end_is_told(service: Service):
    remote, url = Remote("s3://bucket"), f"{service.folder}/file"
    remote.put(url, b"hello world")
    assert bytes(remote.read(url, 6, 11)[1]) == b"world"
    for begin, end in ((6, 30), (20, 30)):
        with pytest.raises(PastEnd):
            remote.read(url, begin, end)


def test_an_upload_that_fails_leaves_nothing(service: Service):
    def pieces() -> Iterator[bytes]:
        yield bytes(5 << 20)
        yield bytes(5 << 20)
        raise CorruptError("damaged")

    remote = Remote("s3://bucket")
    with pytest.raises((CorruptError, StorageError), match="damaged"):
        remote.put(f"{service.folder}/file", pieces(), piece=5 << 20)
    assert remote.listed(service.folder) == {}


def test_files_and_folders_are_listed_and_deleted(service: Service):
    remote = Remote("s3://bucket")
    for name in ("a", "b", "sub/c"):
        remote.put(f"{service.folder}/{name}", name.encode())
    assert {name: each.bytes for name, each in remote.listed(service.folder).items()} == {
        "a": 1, "b": 1,
    }  # fmt: skip
    assert remote.folders(service.folder) == ["sub"]
    remote.delete([f"{service.folder}/{name}" for name in ("a", "none", "sub/c")])
    assert set(remote.listed(service.folder)) == {"b"}
    assert remote.listed(f"{service.folder}/none") == {}


def test_another_container_takes_its_place(service: Service, store: Path, large_store: Path):
    url = f"{service.folder}/a.store"
    copy(store, url)
    copy(large_store, url, overwrite=True)
    assert set(Remote("s3://bucket").listed(url)) == set(files_of(large_store))


# What is refused


def refused(work: Callable[[], object], number: int, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught:
        work()
    assert caught.value.errno == number
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "code"),
    [
        ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_told(service: Service, variable: str, code: str, monkeypatch):
    if service.is_moto:  # which looks at none
        service.server.fault = lambda _: (403, code)
    monkeypatch.setenv(variable, "another")
    words = rf"the credentials are refused \({code}\); check the variables"
    refused(lambda: RemoteContainer(f"{service.folder}/a"), errno.EACCES, words)
    refused(lambda: Remote("s3://bucket").put(f"{service.folder}/a", b""), errno.EACCES, words)
    refused(lambda: Remote("s3://bucket").listed(service.folder), errno.EACCES, words)


def test_credentials_that_hold_no_longer_are_told(
    service: Service, store: Path, monkeypatch: pytest.MonkeyPatch
):
    """moto says that they have expired, rclone that it does not know them any more."""
    url = f"{service.folder}/a.store"
    copy(store, url)
    opened = helip.EmbeddingStore.open(url)
    if service.is_moto:
        service.server.fault = lambda _: (400, "ExpiredToken")
        words = r"credentials have expired \(ExpiredToken\); renew them"
        refused(lambda: opened.rows([5]), errno.EACCES, words)
        return
    with serving_rclone(service.server.folder, key="newer") as renewed:
        speak_to(renewed.url, monkeypatch)
        refused(lambda: RemoteContainer(url), errno.EACCES, "InvalidAccessKeyId")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "newer")
        assert RemoteContainer(url).manifest.rows == len(opened)


def test_a_bucket_without_permission_is_told(service: Service, store: Path, tmp_path: Path):
    if not service.is_moto:
        pytest.skip("rclone has no permissions of buckets")
    url = f"{service.folder}/a.store"
    copy(store, url)
    service.server.fault = lambda request: (
        (403, "AccessDenied") if request.method in ("PUT", "POST") else None
    )
    refused(lambda: copy(store, f"{url}2"), errno.EACCES, "AccessDenied.*or let them write it")
    service.server.fault = lambda request: (403, "AccessDenied")
    refused(lambda: copy(url, tmp_path / "a"), errno.EACCES, "AccessDenied.*or let them read it")
    refused(
        lambda: Remote("s3://bucket").listed(service.folder), errno.EACCES,
        "cannot list s3://.*AccessDenied.*or let them list it",
    )  # fmt: skip
    assert not (tmp_path / "a").exists()


def test_no_such_bucket_is_told(service: Service, store: Path):
    refused(lambda: RemoteContainer("s3://none/a"), errno.ENOENT, "there is no such bucket")
    refused(lambda: copy(store, "s3://none/a"), errno.ENOENT, "there is no such bucket")


def test_a_clock_that_is_wrong_is_told(service: Service, monkeypatch: pytest.MonkeyPatch):
    words = r"clock of this machine and the service's.*RequestTimeTooSkewed.*set the clock"
    if service.is_moto:  # which does not compare them
        service.server.fault = lambda _: (403, "RequestTimeTooSkewed")
        refused(lambda: RemoteContainer(f"{service.folder}/a"), errno.EACCES, words)
        return
    error = storage_error("read", service.folder, Exception(asked_later(service, monkeypatch)))
    assert error.errno == errno.EACCES
    assert re.search(words, str(error))


def asked_later(service: Service, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the service says to a request of a machine whose clock is 20 minutes fast, in the words
    of obstore, whose own clock cannot be set."""
    auth = pytest.importorskip("botocore.auth")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=20)
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_, **__: later)
    asked = AWSRequest("GET", f"{service.server.url}/bucket/a")
    auth.S3SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(asked)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(asked.url, headers=dict(asked.headers)))
    body = caught.value.read().decode()
    return f"Server returned non-2xx status code: {caught.value.code} Forbidden: {body}"
