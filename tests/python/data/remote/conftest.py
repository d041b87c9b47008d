"""Shards in a folder, the same over HTTP, and servers that are given up on soon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helip.data.remote import store
from support.data_samples import write_shards
from support.http_shards import ShardServer, serving


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Four shards with five samples each."""
    return write_shards(tmp_path / "data")


@pytest.fixture
def server(shards: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    monkeypatch.setattr(store, "REQUEST_SECONDS", 1)
    monkeypatch.setattr(store, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(store, "RETRIES", 1)
    monkeypatch.setattr(store, "RETRY_SECONDS", 2)
    with serving(shards) as running:
        yield running
