"""A table of hard pairs as a repository of a hub holds it, with a card that says what it is."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from helip import _core
from helip.common.errors import StorageError
from helip.common.hub.cards import (
    NO_REPOSITORY,
    card_of,
    without_paths,
    words_without_paths,
)
from helip.common.hub.client import located, push, save, without_links
from helip.common.hub.options import CardOptions, PullOptions, PushCall, SaveCall
from helip.pairs.blocks import pool_blocks
from helip.store.embedding_store import EmbeddingStore

PARQUET = "pairs.parquet"
_MANIFEST = "manifest.json"
_TABLE = (_MANIFEST, "shard-*.safetensors")
#: Names of all that a repository of a table holds but its card.
FILES = (*_TABLE, PARQUET)
_SIZES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M"}
_SIZES |= {10**7: "1M<n<10M", 10**8: "10M<n<100M", 10**9: "100M<n<1B", 10**10: "1B<n<10B"}


@dataclass(frozen=True, kw_only=True)
class TableCardOptions(CardOptions):
    """How a table is published."""

    parquet: bool = False
    """Also write pairs.parquet, a row a pair without keys, which datasets and the hub's viewer
    read; needs pyarrow."""


@dataclass(frozen=True, kw_only=True)
class SaveTableCall(TableCardOptions, SaveCall):
    """What `HardPairs.save_pretrained` is asked."""


@dataclass(frozen=True, kw_only=True)
class PushTableCall(TableCardOptions, PushCall):
    """What `HardPairs.push_to_hub` is asked."""


@dataclass(frozen=True, kw_only=True)
class PullTableCall(PullOptions):
    """What `HardPairs.from_pretrained` is asked."""

    folder_or_repo: str | os.PathLike[str] = field(kw_only=False)
    """The directory of a table, or a repository of a data set, NAME or OWNER/NAME."""
    store: EmbeddingStore | str | os.PathLike[str] | None = None
    """The store that was mined, or its path: the table then knows keys and similarities."""


def save_table(table: _core.HardPairs, statistics: dict[str, Any], call: SaveTableCall) -> Path:
    """Write the new directory of the call, all or nothing."""
    return save(call, partial(_write, table, statistics, TableCardOptions.of(call)))


def push_table(
    table: _core.HardPairs, statistics: dict[str, Any], call: PushTableCall, card: str | None = None
) -> str:
    """Upload what `save_table` writes; the address of the commit. card: in place of its own."""
    write = partial(_write, table, statistics, TableCardOptions.of(call), card=card)
    return push(call, "dataset", FILES, write)


def folder_of(call: PullTableCall) -> Path:
    """The directory of the call, or one with the files of its repository."""
    options = PullOptions.of(call)
    folder = located(call.folder_or_repo, "dataset", options, _TABLE)
    if Path(call.folder_or_repo).is_dir():
        return folder
    if not (folder / _MANIFEST).is_file():
        raise StorageError(
            errno.ENOENT,
            f"{call.folder_or_repo} has no {_MANIFEST}; it holds no table, or what is in the cache "
            "is not whole: download it again, with HF_HUB_OFFLINE unset",
        )
    return without_links(folder, options, _TABLE)


def _write(
    table: _core.HardPairs,
    statistics: dict[str, Any],
    call: TableCardOptions,
    directory: Path,
    *,
    card: str | None = None,
) -> Callable[[str], str]:
    """The table into an empty directory; its options and report name no paths of this machine.

    What it returns gives the card of a repository, or ``card``.
    """
    options, report = json.loads(table.options_json), json.loads(table.report_json)
    # The core publishes a directory of its own.
    inner = directory / ".table"
    if without_paths([options, report]) == [options, report]:
        table.save(os.fspath(inner))
    else:
        _rewrite(table, inner, without_paths(options), without_paths(report))
    for file in inner.iterdir():
        if not file.name.startswith("."):
            file.rename(directory / file.name)
        else:
            file.unlink()
    inner.rmdir()
    if call.parquet:
        from helip.pairs.exchange.arrow import write_parquet

        saved = _core.HardPairs.open(os.fspath(directory))  # its options name no paths
        file = directory / PARQUET
        write_parquet(saved, None, file, "long", similarities=False, overwrite=False)
    return lambda repository: card or _card(table, statistics, call, repository)


def _rewrite(
    table: _core.HardPairs, path: Path, options: dict[str, Any], report: dict[str, Any]
) -> None:
    writer = _core.HardPairsWriter(os.fspath(path), len(table), table.k)
    for first, pools in pool_blocks(table):
        writer.write(first, *pools)
    writer.finish(
        fingerprint=table.fingerprint,
        data_fingerprint=table.data_fingerprint,
        options_json=json.dumps(options),
        report_json=json.dumps(report),
    )


def _card(
    table: _core.HardPairs, statistics: dict[str, Any], options: TableCardOptions, repository: str
) -> str:
    mined = without_paths(json.loads(table.options_json))
    parquet = options.parquet
    rows = statistics["pairs"] if parquet else len(table)  # of what a hub reads
    size = next((words for most, words in _SIZES.items() if rows < most), "10B<n<100B")
    metadata = {
        "license": options.license,
        "task_categories": ["zero-shot-image-classification"],
        "size_categories": [size],
        "tags": ["helip", "hard-negatives", "clip"],
        "configs": [{"config_name": "default", "data_files": PARQUET}] if parquet else None,
        "viewer": None if parquet else False,
    }
    return card_of(
        "dataset",
        metadata,
        title="Hard pairs" if repository == NO_REPOSITORY else repository.rpartition("/")[2],
        repository=repository,
        targets=len(table),
        k=table.k,
        parquet=parquet,
        fingerprint=table.fingerprint,
        data_fingerprint=table.data_fingerprint,
        options=[(name, value) for name, value in sorted(mined.items()) if value is not None],
        recall=statistics.get("recall"),
        exact=mined.get("method") == "exact",
        pairs=statistics["pairs"],
        outliers=statistics["outliers"],
        short=statistics["short_targets"],
        data=options.data,
        results=words_without_paths(options.results or ""),
        license=options.license,
    )
