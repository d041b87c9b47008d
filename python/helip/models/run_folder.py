"""Where a training run keeps its checkpoints, and hashes of the rows that it is trained on.

<run>/checkpoints/step-000042/
<run>/trained_rows.npy
"""

from __future__ import annotations

import re
from pathlib import Path

from helip.common.errors import StorageError
from helip.common.files import storage_errors

CHECKPOINTS = "checkpoints"
TRAINED_ROWS = "trained_rows.npy"  # of helip.store.data_identity.keep_rows
_NAME = re.compile(r"step-(\d{6,})")


def checkpoint_path(root: Path, step: int) -> Path:
    return root / f"step-{step:06d}"


def list_checkpoints(root: Path) -> list[tuple[int, Path]]:
    """(step, path) of every published checkpoint, the newest first; none is read."""
    if not root.is_dir():
        return []
    found = []
    with storage_errors("list", root):
        for entry in root.iterdir():
            match = _NAME.fullmatch(entry.name)
            if match and entry.is_dir():
                found.append((int(match[1]), entry))
    return sorted(found, reverse=True)


def within_run(path: Path) -> Path:
    """The newest checkpoint where ``path`` is the folder of a run; else ``path`` as it is."""
    root = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path
    checkpoints = list_checkpoints(root)
    if checkpoints:
        return checkpoints[0][1]
    if root != path:
        raise StorageError(
            f"{path} is the folder of a training run that holds no checkpoint yet; a run writes "
            "one after checkpoint_every steps, after each epoch and when it is stopped"
        )
    return path
