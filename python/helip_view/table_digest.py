"""What a table is: one digest of its contents."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from helip.common.files import sha256_of


def table_digest(pairs: Any) -> str:
    """What the table is: of one in a folder its manifest, which names the sums of all its bytes."""
    if pairs.path:
        return sha256_of(Path(pairs.path) / "manifest.json")
    digest = hashlib.sha256(f"{len(pairs)} {pairs.k}".encode())
    for array in (pairs.ids, pairs.scores):
        digest.update(array.tobytes())
    return digest.hexdigest()
