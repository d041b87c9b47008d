"""What the viewer keeps is bounded, and nothing fails where it cannot be kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from helip.common.array_cache import ArrayCache


def filled(home: Path, name: str, rows: int, bound: int = 1 << 30, used: str = "") -> ArrayCache:
    cache = ArrayCache({"of": name}, bound, home)
    cache.arrays("a", lambda: {"x": np.arange(rows, dtype=np.int64)})
    if name not in used:
        cache.close()
    return cache


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    folders = [filled(tmp_path, name, 10_000).folder for name in "abc"]
    for age, folder in enumerate(folders):
        os.utime(folder, (age, age))
    own = filled(tmp_path, "d", 10_000, bound=200_000)
    assert [each.exists() for each in folders] == [False, False, True]
    assert own.folder.exists()
    other = filled(tmp_path, "e", 10_000, used="e")
    own = filled(tmp_path, "f", 10_000, bound=10, used="f")  # those that are used stay
    assert set(tmp_path.iterdir()) == {own.folder, other.folder}
    own.close()  # what came into the folder while it was used is bounded from now on
    assert set(tmp_path.iterdir()) == {other.folder}
    other.close()
    assert other.folder.exists()  # by its own bound


def test_what_is_not_whole_is_made_anew(tmp_path: Path) -> None:
    cache = filled(tmp_path, "a", 100)
    for name, bytes_ in (("x.npy", b""), ("arrays.json", b"[]"), ("arrays.json", b'{"x": 3}')):
        (cache.folder / "a" / name).write_bytes(bytes_)
        found = cache.arrays("a", lambda: {"x": np.arange(100)})
        assert found["x"].tolist() == list(range(100))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    cache = filled(tmp_path, "a", 3)
    np.save(cache.folder / "a" / "x.npy", np.array([print], dtype=object), allow_pickle=True)
    assert cache.arrays("a", lambda: {"x": np.ones(3)})["x"].tolist() == [1, 1, 1]


def test_a_folder_that_cannot_be_made_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache = ArrayCache({}, 1 << 30, tmp_path / "file" / "below")
    assert cache.arrays("a", lambda: {"x": np.ones(2)})["x"].tolist() == [1, 1]
    assert "nothing is kept" in caplog.text
    cache.close()
    assert not cache.folder.exists()
