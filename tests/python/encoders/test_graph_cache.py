"""Graphs are made once, and anew where versions or bytes are others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helip.common.errors import StorageError
from helip.encoders.graph_cache import cache_folder, kept_graph

OF = {"encoder": "own:one", "engine": "openvino"}


class Maker:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, folder: Path) -> Path:
        self.count += 1
        (folder / "graph.xml").write_text(f"graph {self.count}")
        (folder / "graph.bin").write_bytes(bytes(100))
        return folder / "graph.xml"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HELIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def read(make: Maker, of=OF, versions=None) -> str:
    with kept_graph(of, versions or {"torch": "1"}, make) as path:
        return path.read_text()


def test_a_graph_is_made_once_for_each_encoder():
    make = Maker()
    assert [read(make), read(make)] == ["graph 1", "graph 1"]
    assert read(make, {**OF, "encoder": "own:two"}) == "graph 2"
    assert read(make) == "graph 1"


def test_a_graph_of_other_versions_is_replaced(cache):
    make = Maker()
    read(make)
    assert read(make, versions={"torch": "2"}) == "graph 2"
    assert read(make, versions={"torch": "2"}) == "graph 2"
    assert len(list((cache / "graphs").iterdir())) == 1


@pytest.mark.parametrize("file", ["graph.xml", "graph.bin", "graph.json"])
@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_damaged_graph_is_made_anew(cache, file, harm):
    make = Maker()
    read(make)
    (path,) = (cache / "graphs").glob(f"*/{file}")
    path.unlink() if harm == "gone" else path.write_bytes(b"x" * 100)
    assert read(make) == "graph 2"
    assert read(make) == "graph 2"


def test_where_nothing_can_be_kept_a_warning_says_so(cache):
    cache.write_text("a file in place of the folder")
    make = Maker()
    with pytest.warns(RuntimeWarning, match="own:one is not kept .*HELIP_CACHE"):
        assert read(make) == "graph 1"


def test_a_kept_graph_that_is_wrong_is_not_used_where_no_other_can_be_kept(cache, monkeypatch):
    make = Maker()
    read(make)

    def full(*_):
        raise StorageError("no space left")

    monkeypatch.setattr("helip.encoders.graph_cache.discard_directory", full)
    right = lambda path: path.read_text() != "graph 1"  # noqa: E731
    with (
        pytest.warns(RuntimeWarning, match="is not kept"),
        kept_graph(OF, {"torch": "1"}, make, right) as path,
    ):
        assert path.read_text() == "graph 2"


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("HELIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "helip" / "graphs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path(os.path.expanduser("~/.cache/helip/graphs"))


def test_a_failed_export_leaves_nothing(cache):
    def fail(folder: Path) -> Path:
        (folder / "graph.xml").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), kept_graph(OF, {}, fail):
        pass
    assert list((cache / "graphs").iterdir()) == []
