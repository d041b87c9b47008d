"""The CSV of the reference implementation, ``target,h1,...,hk``, a line a target."""

from __future__ import annotations

import csv
import os

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.common.files import storage_errors


def read_csv(path: str | os.PathLike[str], rows: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Ids [rows, k], int32 or int64, and scores [rows, k] float32; see `HardPairs.from_csv`."""
    pools: dict[int, list[int]] = {}
    with storage_errors("read", path), open(path, newline="", encoding="utf-8") as file:
        for number, fields in enumerate(csv.reader(file), start=1):
            if not fields or (number == 1 and not fields[0].strip().lstrip("-").isdigit()):
                continue
            try:
                target, *pool = [int(field) for field in fields if field.strip()]
            except ValueError as error:
                raise InvalidArgumentError(
                    f"line {number} of {os.fspath(path)} holds {error}; every field must be a "
                    "row number"
                ) from None
            if target in pools:
                raise InvalidArgumentError(
                    f"line {number} of {os.fspath(path)} is the second one of target {target}; "
                    "keep one"
                )
            pools[target] = [row for row in pool if row >= 0]
    largest = max((max([target, *pool]) for target, pool in pools.items()), default=-1)
    n = largest + 1 if rows is None else rows
    if largest >= n:
        raise InvalidArgumentError(
            f"{os.fspath(path)} names row {largest}; a data set of {n} rows ends at {n - 1}"
        )
    k = max((len(pool) for pool in pools.values()), default=1) or 1
    ids = np.full((n, k), -1, dtype=np.int64)
    scores = np.zeros((n, k), dtype=np.float32)
    for target, pool in pools.items():
        ids[target, : len(pool)] = pool
        scores[target, : len(pool)] = 1.0 - np.arange(len(pool)) / max(len(pool), 1)
    if n < 2**31:
        ids = ids.astype(np.int32)
    return ids, scores


def write_csv(path: str | os.PathLike[str], ids: np.ndarray, counts: np.ndarray) -> None:
    """Write the lines of targets that have a hard pair: ids [n, k], counts [n]."""
    with storage_errors("write", path), open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["target", *(f"h{r + 1}" for r in range(ids.shape[1]))])
        for target, (pool, count) in enumerate(zip(ids, counts, strict=True)):
            if count:
                writer.writerow([target, *pool[:count].tolist()])
