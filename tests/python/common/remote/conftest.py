"""Containers on disk, a bucket on loopback, and services that are given up on soon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helip.common.remote import client, container
from support.remote_samples import write_store
from support.s3_server import S3Server, serving_s3


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tries, after no time."""
    monkeypatch.setattr(client, "RETRIES", 2)
    monkeypatch.setattr(client, "RETRY_SECONDS", 5)
    monkeypatch.setattr(container, "WAITS", (0.0, 0.0))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with serving_s3(monkeypatch) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of two small shards."""
    return write_store(tmp_path / "small.store")


@pytest.fixture(scope="session")
def large_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two shards of 6 MB, which S3 takes in two pieces each."""
    return write_store(tmp_path_factory.mktemp("large") / "large.store", dims=(256, 128))
