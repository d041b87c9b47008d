"""Files and folders appear whole or not at all, and what a killed writer left goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import helip
from helip.common.errors import InvalidArgumentError
from helip.common.files import publish_directory, publish_file, read_json, read_text, replace_file
from helip.common.yaml_files import load_yaml
from helip.store.npy_files import map_npy


def published(path: Path) -> None:
    with publish_directory(path) as temporary:
        (temporary / "x").write_text("whole")


@pytest.mark.parametrize("write", [published, lambda path: replace_file(path, "whole")])
def test_what_a_killed_writer_left_is_removed_by_the_next_and_what_a_live_one_writes_is_not(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    (tmp_path / ".tmp-out-1234").mkdir()
    (tmp_path / ".tmp-out-1234" / "half").write_text("half")
    (tmp_path / ".trash-out-5678").mkdir()
    (tmp_path / ".tmp-out-9999").write_text("half")
    (tmp_path / ".tmp-other-1234").mkdir()
    with publish_directory(tmp_path / "out-of-another") as alive:
        write(tmp_path / "out")
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            ".tmp-other-1234", alive.name, "out",
        ]  # fmt: skip
    with publish_directory(tmp_path / "late") as alive:
        published(tmp_path / "late")
        assert alive.exists()
        (tmp_path / "late").rename(tmp_path / "first")
    assert (tmp_path / "late").is_dir()


def test_a_file_is_published_when_it_is_whole(tmp_path: Path) -> None:
    with publish_file(tmp_path / "new" / "a") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "new" / "a").exists()
    assert (tmp_path / "new" / "a").read_text() == "whole"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_a_file_that_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyError), publish_file(tmp_path / "a", overwrite=True) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_is_overwritten_on_request_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(InvalidArgumentError, match="overwrite=True"), publish_file(tmp_path / "a"):
        pass
    with publish_file(tmp_path / "a", overwrite=True) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize("links", [True, False], ids=["with hard links", "without"])
def test_a_file_that_came_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr("os.link", refuse)
    late = publish_file(tmp_path / "a")
    with pytest.raises(InvalidArgumentError, match="exists already"), late as temporary:
        temporary.write_text("late")
        (tmp_path / "a").write_text("first")
    assert (tmp_path / "a").read_text() == "first"
    with publish_file(tmp_path / "b") as temporary:
        temporary.write_text("b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


OPENS: dict[str, Callable[[Path], object]] = {
    "text": read_text,
    "json": read_json,
    "yaml": load_yaml,
    "npy": map_npy,
    "csv": helip.open_dataset,
    "parquet": helip.open_dataset,
    "tar": helip.open_dataset,
    "pairs": helip.HardPairs.from_csv,
    "hnswlib": lambda path: helip.PairIndex.open_hnswlib(path, image_dim=8),
}


@pytest.mark.parametrize("name", OPENS)
def test_what_is_no_regular_file_is_refused_and_nobody_waits_for_a_pipe(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / f"a.{name}"
    os.mkfifo(path)
    with pytest.raises(InvalidArgumentError, match="is a pipe, not a regular file"):
        OPENS[name](path)


@pytest.mark.parametrize("name", ["text", "json", "yaml", "npy", "pairs", "hnswlib"])
def test_devices_and_folders_are_no_files(tmp_path: Path, name: str) -> None:
    for path, kind in ((Path("/dev/null"), "device"), (tmp_path, "directory")):
        with pytest.raises(InvalidArgumentError, match=f"is a {kind}, not a regular file"):
            OPENS[name](path)


def test_a_pipe_in_the_place_of_a_manifest_is_damage(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    for kind in (helip.EmbeddingStore, helip.HardPairs, helip.PairIndex):
        with pytest.raises(helip.Error, match="is a pipe, not a regular file"):
            kind.open(tmp_path)
    with pytest.raises(helip.Error):
        helip.open_dataset(tmp_path)
