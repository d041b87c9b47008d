"""Which queries a task asked, as a digest: two results are compared where it is the same."""

from __future__ import annotations

import hashlib
from typing import Any


def digest_of(*lists: Any) -> str:
    digest = hashlib.sha256()
    for strings in lists:
        for string in strings:
            raw = string.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        digest.update(b"\xff" * 8)  # no length looks like this: lists cannot run into each other
    return digest.hexdigest()[:32]
