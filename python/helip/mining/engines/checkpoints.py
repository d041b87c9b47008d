"""What an interrupted job of ``partition`` has left, beside where its table goes.

The core writes it and takes it up; here is what Python asks about it.
"""

from __future__ import annotations

import os
from pathlib import Path

from helip.common.files import storage_errors


def checkpoint_folder(out: str | os.PathLike[str]) -> Path:
    """Where a job keeps what it has found, until its table is there."""
    return Path(os.fspath(out).rstrip("/") + ".checkpoint")


def has_checkpoint(out: str | os.PathLike[str]) -> bool:
    """Whether there is something to go on from."""
    return (checkpoint_folder(out) / "manifest.json").exists()


def remove_checkpoint(out: str | os.PathLike[str]) -> None:
    """Removes what a job left that was killed between its commit and its tidying up."""
    folder = checkpoint_folder(out)
    if not folder.is_dir():
        return
    with storage_errors("remove", folder):
        for pattern in ("manifest.json", "state-*.safetensors", ".pending-*"):
            for file in folder.glob(pattern):
                file.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
