"""Shards in a folder, the same over HTTP, and servers that are given up on soon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helip.common.remote import client
from support.data_samples import write_shards
from support.http_shards import ShardServer, serving


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Four shards with five samples each."""
    return write_shards(tmp_path / "data")


@pytest.fixture
def server(shards: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    monkeypatch.setattr(client, "REQUEST_SECONDS", 1)
    monkeypatch.setattr(client, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(client, "RETRIES", 1)
    monkeypatch.setattr(client, "RETRY_SECONDS", 2)
    with serving(shards) as running:
        yield running
