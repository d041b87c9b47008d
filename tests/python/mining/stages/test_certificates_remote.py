"""Certificates of tables that were copied, moved or saved: they go with the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.remote import container
from helip.mining.stages.certificates import certificate_path
from support.http_shards import serving
from support.remote_samples import files_of
from support.s3_server import S3Server
from support.stage_samples import CALL, IMAGE, clustered_rows, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)

URL = "s3://bucket/x/a.pairs"
OLD, ROWS = 1200, 1260


@pytest.fixture
def table(tmp_path: Path) -> helip.HardPairs:
    """A table of stages at a.pairs, whose store has grown since."""
    values = clustered_rows(ROWS)
    store = write_store(tmp_path / "s", values[:OLD])
    table = helip.mine(store, out=tmp_path / "a.pairs", **CALL)
    with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
        keys = [str(row) for row in range(OLD, ROWS)]
        writer.append(keys, values[OLD:, :IMAGE].copy(), values[OLD:, IMAGE:].copy())
    return table


def by_bucket(folder: Path) -> str:
    return helip.copy(folder / "a.pairs", URL, progress=False)


def by_bucket_and_another(folder: Path) -> str:
    by_bucket(folder)
    return helip.copy(URL, "s3://bucket/y/b.pairs", progress=False)


def by_file_url(folder: Path) -> str:
    helip.copy(folder / "a.pairs", f"file://{folder}/b.pairs", progress=False)
    return f"file://{folder}/b.pairs"


def by_saving(folder: Path) -> str:
    helip.HardPairs.open(folder / "a.pairs").save(URL)
    return URL


def by_moving(folder: Path) -> str:
    return str((folder / "a.pairs").rename(folder / "b.pairs"))


@pytest.mark.parametrize("way", [by_bucket_and_another, by_file_url, by_saving, by_moving])
def test_a_table_that_was_brought_elsewhere_has_its_report_and_its_kept_sample(
    s3: S3Server, table: helip.HardPairs, tmp_path: Path, way: Callable[[Path], str]
) -> None:
    kept = certificate_path(tmp_path / "a.pairs").read_bytes()
    place = way(tmp_path)
    opened = helip.HardPairs.open(place)
    assert opened.report == table.report and opened.report["recall"]["low"] > 0.9
    assert certificate_path(opened.path).read_bytes() == kept
    updated = helip.update(opened, tmp_path / "s", out=tmp_path / "u", threads=1, progress=False)
    report = updated.report["update"]
    assert (report["added"], report["certified_before"] > 100) == (ROWS - OLD, True)


def test_a_table_is_updated_at_its_url_as_on_disk(
    s3: S3Server, table: helip.HardPairs, tmp_path: Path
) -> None:
    by_bucket(tmp_path)
    here = tmp_path / "a.pairs"
    for each in (here, URL):
        helip.update(each, tmp_path / "s", out=each, threads=1, progress=False)
    there = helip.HardPairs.open(URL, cache=tmp_path / "c")
    np.testing.assert_array_equal(there.ids, helip.HardPairs.open(here).ids)
    assert there.report["update"]["certified_before"] > 100
    assert certificate_path(there.path).read_bytes() == certificate_path(here).read_bytes()


def test_a_table_is_mined_to_a_url_with_its_kept_sample(
    s3: S3Server, table: helip.HardPairs, tmp_path: Path
) -> None:
    mined = helip.mine(tmp_path / "s", out=URL, **CALL)
    again = helip.HardPairs.open(URL, cache=tmp_path / "c")
    assert files_of(Path(again.path)) == files_of(Path(mined.path))
    assert certificate_path(again.path).exists()


def test_a_table_of_a_plain_server_is_updated_to_another_place(
    s3: S3Server, table: helip.HardPairs, tmp_path: Path
) -> None:
    with serving(tmp_path) as server:
        url = f"{server.url}/a.pairs"
        assert helip.HardPairs.open(url).stats() == table.stats()
        with pytest.raises(UnsupportedError, match=r"where helip writes nothing; give a URL of"):
            helip.update(url, tmp_path / "s", out=url, progress=False)
        with pytest.raises(InvalidArgumentError, match=r"out is None.* give out"):
            helip.update(url, tmp_path / "s", progress=False)
        options = {"out": tmp_path / "u", "threads": 1, "progress": False}
        updated = helip.update(url, tmp_path / "s", **options)
    assert updated.report["update"]["certified_before"] > 100


def test_a_kept_sample_that_is_too_large_to_be_copied_is_named(
    s3: S3Server, table: helip.HardPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = certificate_path(table.path).stat().st_size
    monkeypatch.setattr(container, "MOST_BYTES", size - 1)
    with pytest.warns(UserWarning, match=rf"certificate\.safetensors has {size:,} bytes.*anew"):
        by_bucket(tmp_path)
    np.testing.assert_array_equal(helip.HardPairs.open(URL).ids, table.ids)
