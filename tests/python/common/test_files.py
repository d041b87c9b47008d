"""Files and folders appear whole or not at all, and what a killed writer left goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helip.common.files import publish_directory, replace_file


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
