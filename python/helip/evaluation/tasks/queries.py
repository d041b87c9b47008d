"""The queries of a task: distinct strings of theirs, and a digest of them all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from helip.evaluation.statistics.intervals import Ints


def numbered(strings: Sequence[str]) -> tuple[list[str], Ints]:
    """The distinct strings in order of appearance, and the number of each of ``strings`` there."""
    number = {string: i for i, string in enumerate(dict.fromkeys(strings))}
    return list(number), np.array([number[string] for string in strings], dtype=np.int64)


def digest_of(*lists: Any) -> str:
    """Two results are compared where this is the same."""
    digest = hashlib.sha256()
    for strings in lists:
        for string in strings:
            raw = string.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        digest.update(b"\xff" * 8)  # no length looks like this: lists cannot run into each other
    return digest.hexdigest()[:32]
