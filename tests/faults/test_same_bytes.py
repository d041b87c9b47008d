"""A table has the same bytes whatever the kernel, the threads, the memory and the parts.

Interruptions: test_checkpoint.py, test_parts.py, test_jobs_killed.py. Devices:
tests/python/mining/test_miner.py.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

import helip
from helip import _core
from support.mined_samples import files_of, write_store

THREADS, MEMORY = (1, 5), (None, "24MB")
PLAIN: list[dict[str, Any]] = [
    {"threads": threads, "memory": memory} for threads, memory in itertools.product(THREADS, MEMORY)
]
#: Rows, and what must change nothing. Those of partition fit in no less memory.
MATRIX: dict[str, tuple[int, list[dict[str, Any]]]] = {
    "exact": (4_000, [*PLAIN, *({**options, "parts": 3} for options in PLAIN)]),
    "partition": (25_000, PLAIN),
    "hnsw": (4_000, PLAIN),
    "sample": (4_000, PLAIN),
}


@pytest.fixture
def kernel() -> Any:
    before = _core.kernel_name()
    yield _core.set_kernel
    _core.set_kernel(before)


def digests(store: Path, out: Path, method: str, options: dict[str, Any]) -> dict[str, str]:
    """Of each file of the table."""
    helip.mine(store, k=10, method=method, out=out, progress=False, device="cpu", **options)
    return {name: hashlib.sha256(data).hexdigest() for name, data in files_of(out).items()}


@pytest.mark.parametrize("method", MATRIX)
def test_the_table_is_the_same(tmp_path: Path, method: str, kernel: Any) -> None:
    rows, matrix = MATRIX[method]
    store = write_store(tmp_path / "s", rows)
    of_kernel: dict[str, dict[str, str]] = {}
    for name in _core.kernel_names():
        kernel(name)
        for number, options in enumerate(matrix):
            found = digests(store, tmp_path / f"{name}-{number}", method, options)
            assert of_kernel.setdefault(name, found) == found, (name, options)
    assert "portable" in of_kernel
    if method == "exact":
        # What a kernel adds up in float32 stands in the report, which the manifest holds; the pools
        # are of float64 sums in one order. Methods that look at fewer pairs choose them by float32.
        shards = {json.dumps({**found, "manifest.json": ""}) for found in of_kernel.values()}
        assert len(shards) == 1, of_kernel
    print(f"{method}: {len(of_kernel) * len(matrix)} tables of {len(of_kernel)} kernels")
