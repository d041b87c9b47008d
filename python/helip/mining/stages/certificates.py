"""The exact pools of a table's sample, kept in its folder for its next update."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

import numpy as np

from helip.common.errors import Error
from helip.common.files import remove_leftovers
from helip.common.remote.container import CERTIFICATE
from helip.common.remote.manifest import MANIFEST
from helip.mining.options import MineOptions, ScoreRules
from helip.mining.recall import sample_size
from helip.mining.stages.bases import is_in
from helip.mining.stages.unit_files import open_unit_file, write_unit_file
from helip.pairs.blocks import Pools


def certificate_path(table: str | os.PathLike[str]) -> Path:
    """Where the kept sample of a table lies."""
    return Path(table) / CERTIFICATE


def remove_unpublished(table: str | os.PathLike[str]) -> None:
    """Removes the kept sample of a table that was not published, since its process was killed.

    The folder of a new table may hold nothing else.
    """
    if not (Path(table) / MANIFEST).exists():
        certificate_path(table).unlink(missing_ok=True)
        remove_leftovers(Path(table))


def tag_of(store: str, options: MineOptions) -> str:
    """A digest of what exact pools depend on: the store's fingerprint, and the rules."""
    rules = {name: getattr(options, name) for name in (*ScoreRules().as_dict(), "margin", "skip")}
    text = json.dumps({"store": store, **rules}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_certificate(path: Path, targets: np.ndarray, pools: Pools, tag: str) -> None:
    """Writes ``targets`` int64 [n], ascending, and their pools."""
    write_unit_file(path, {"targets": targets, **pools._asdict()}, job=tag)


def no_certificate(kept: int) -> tuple[np.ndarray, Pools]:
    """No targets, and their pools of ``kept`` pairs."""
    return np.zeros(0, np.int64), Pools.empty(0, kept)


def read_certificate(path: Path, tag: str) -> tuple[np.ndarray, Pools] | None:
    """The targets and their pools; None where there are none of this tag that can be read.

    Without one each target of a sample is solved among all rows, to the same end.
    """
    with contextlib.suppress(Error, KeyError):
        return open_certificate(path, tag)
    return None


def open_certificate(path: Path, tag: str) -> tuple[np.ndarray, Pools]:
    """The targets and their pools, of a file that must be there. Raises as `open_unit_file`."""
    file = open_unit_file(path, job=tag)
    return np.array(file["targets"]), Pools(*(np.array(file[n]) for n in Pools._fields))


def still_exact(
    targets: np.ndarray, pools: Pools, outdated: np.ndarray
) -> tuple[np.ndarray, Pools]:
    """Those of targets whose pools, without outdated rows, are exact among the rows that are left.

    One that was full and lost a pair is not: what moves up is in no table.
    """
    gone = is_in(pools.ids, outdated)
    full = pools.counts == pools.ids.shape[1]
    stays = ~is_in(targets, outdated) & ~(full & gone.any(axis=1))
    return targets[stays], Pools(*(part[stays] for part in pools)).without(gone[stays])


def draw_sample(
    draw: np.random.Generator, rows: int, recall: float, before: int, known: np.ndarray
) -> np.ndarray:
    """int64, random rows, ascending, whose exact pools are to tell the recall.

    ``known`` are random ones of the first ``before`` rows, that take the place of as many others of
    these: so the sample is as random as one that is drawn anew.
    """
    drawn = draw.choice(rows, sample_size(rows, recall), replace=False, shuffle=False)
    old = drawn[drawn < before]
    kept = draw.permutation(known)[: len(old)]
    others = draw.permutation(old[~np.isin(old, kept)])[: len(old) - len(kept)]
    return np.sort(np.concatenate([drawn[drawn >= before], kept, others]))
