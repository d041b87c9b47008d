"""The options that a run began with, which decide what a later call leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, StorageError
from helip.common.files import read_json
from helip.models.run_folder import list_checkpoints


def options_begun_with(checkpoints: Path) -> dict[str, Any] | None:
    """Of the newest checkpoint that can be read; None where there is none.

    Whoever resumes says what is wrong with a damaged one.
    """
    for _, path in list_checkpoints(checkpoints):
        try:
            found = read_json(path / "state.json")["state"]["options"]
        except (CorruptError, StorageError, KeyError, TypeError):
            continue
        if isinstance(found, dict):
            return found
    return None
