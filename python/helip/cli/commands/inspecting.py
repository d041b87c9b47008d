"""Commands on what helip has written: what it holds, and whether it is whole."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import Done, command, text
from helip.cli.showing import (
    figure,
    index_shown,
    label_rows,
    pairs_shown,
    planned_rows,
    pool_shown,
)
from helip.common.errors import Error, InvalidArgumentError
from helip.common.files import read_json
from helip.common.remote.urls import shown, url_of

_PAIR_INDEX = "helip.pair_index"
_BATCH_PLAN = "helip.batch_plan"
_SOFT_LABELS = "helip.soft_labels"
_NO_TABLE = (
    "helip.sample_index", "helip.embedding_store", "helip.hard_pairs_part", _PAIR_INDEX,
    _BATCH_PLAN, _SOFT_LABELS,
)  # fmt: skip


@command()
def inspect(
    path: Annotated[Path, text("A store, index, table, part, or its URL; plan, soft labels.")],
    /,
    *,
    row: Annotated[int | None, text("A table: show the hard pairs of this target.")] = None,
    key: Annotated[str | None, text("The target by its key; with --store.")] = None,
    store: Annotated[Path | None, text("The store that was mined: keys and similarities.")] = None,
) -> Done:
    """Show what a store, an index, a table, a plan of batches or soft labels hold."""
    from helip.data.sample_index import SampleIndex
    from helip.loading.batch_plan import BatchPlan
    from helip.pairs.soft_labels import SoftLabels
    from helip.store.embedding_store import EmbeddingStore

    if row is not None or key is not None or store is not None:
        return Done(**pool_shown(_pool_at(path, row, key, store)))
    if _format_of(path) == "helip.sample_index":
        return Done(**index_shown(SampleIndex.open(path, check=False)))
    if (table := _table_at(path)) is not None:
        return Done(**pairs_shown(table, shown(path)))
    if _format_of(path) == _PAIR_INDEX:
        return _facts_shown(_facts_of_pair_index(path), "options")
    if _format_of(path) == _SOFT_LABELS:
        labels = SoftLabels.open(path)
        return Done(facts=labels.to_dict(), rows=label_rows(labels))
    if _format_of(path) == _BATCH_PLAN:
        plan = BatchPlan.open(path)
        return Done(facts=plan.to_dict(), rows=planned_rows(plan))
    opened = EmbeddingStore.open(path)
    facts = {
        "path": opened.path,
        "rows": len(opened),
        "image_dim": opened.image_dim,
        "text_dim": opened.text_dim,
        **({"matrices": ", ".join(opened.matrix_names)} if len(opened.matrix_names) > 2 else {}),
        "dtype": opened.dtype,
        "deleted": len(opened.deleted),
        "generation": opened.generation,
        "fingerprint": opened.fingerprint,
        "keys_fingerprint": opened.keys_fingerprint,
        "data_fingerprint": opened.data_fingerprint,
        "metadata": opened.metadata,
    }
    return _facts_shown(facts, "metadata")


@command()
def verify(
    path: Annotated[Path, text("A store, index, table, part, or its URL; plan, soft labels.")],
    /,
    *,
    contents: Annotated[bool, text("An index: also every byte of its shards.")] = False,
    quiet: bool = False,
) -> Done:
    """Read every byte and compare checksums; of an index, also the headers of its shards."""
    from helip.common.remote.container import RemoteContainer
    from helip.data.sample_index import SampleIndex
    from helip.loading.batch_plan import BatchPlan
    from helip.mining.pair_index import PairIndex
    from helip.pairs.soft_labels import SoftLabels
    from helip.store.embedding_store import EmbeddingStore

    if (url := url_of(path)) is not None:
        RemoteContainer(url).verify(progress=not quiet)
    elif _format_of(path) == "helip.sample_index":
        SampleIndex.open(path).verify(contents=contents, progress=not quiet)
    elif contents:
        raise InvalidArgumentError(f"--contents is for an index of shards, and {path} is none")
    elif (table := _table_at(path)) is not None:
        table.verify()
    elif _format_of(path) == _PAIR_INDEX:
        PairIndex.open(path)  # compares every checksum
    elif _format_of(path) == _BATCH_PLAN:
        BatchPlan.open(path).verify()
    elif _format_of(path) == _SOFT_LABELS:
        SoftLabels.open(path).verify()
    else:
        EmbeddingStore.open(path).verify(progress=not quiet)
    facts = {"path": shown(path), "format": _format_of(path), "whole": True}
    return Done(facts=facts, said=[f"{shown(path)} is whole"])


def _facts_shown(facts: dict[str, Any], group: str) -> Done:
    """Names and values; those of ``group``, for people, as names with a dot."""
    named = {name: value for name, value in facts.items() if name != group}
    named |= {f"{group}.{name}": value for name, value in facts[group].items()}
    return Done(facts=facts, rows=[(name, figure(value)) for name, value in named.items()])


def _facts_of_pair_index(path: Path) -> dict[str, Any]:
    """What an index of pairs holds; of one at a URL what its manifest says."""
    if (url := url_of(path)) is None:
        from helip.mining.pair_index import PairIndex

        index = PairIndex.open(path)
        facts = (len(index), index.image_dim, index.text_dim, index.nbytes, index.options)
    else:
        import numpy as np

        from helip.common.remote.container import RemoteContainer
        from helip.mining.options import GraphOptions

        manifest = RemoteContainer(url).manifest
        columns, attributes = manifest.columns, manifest.attributes
        row = sum(np.dtype(each.dtype).itemsize * max(each.cols, 1) for each in columns.values())
        options = {name: attributes[name] for name in GraphOptions().as_dict()}
        dims = columns["image"].cols, columns["text"].cols
        facts = (manifest.rows, *dims, manifest.rows * row, options)
    names = ("pairs", "image_dim", "text_dim", "nbytes", "options")
    return {"path": shown(path), **dict(zip(names, facts, strict=True))}


def _pool_at(path: Path, row: int | None, key: str | None, store: Path | None) -> Any:
    """The pool of one target of the table at ``path``."""
    from helip.pairs.hard_pairs import HardPairs

    if (row is None) == (key is None):
        given = "no target is named" if row is None else f"--row {row} and --key {key} are given"
        raise InvalidArgumentError(f"{given}; give one of --row and --key")
    if _format_of(path) in _NO_TABLE:
        raise InvalidArgumentError(
            f"{path} is no table of hard pairs, and --row, --key and --store are for one"
        )
    table = HardPairs.open(path, store=store)
    if key is not None:
        if store is None:
            raise InvalidArgumentError(
                f"--key {key} needs the keys of the store that was mined; add --store STORE"
            )
        return table.near(key)
    assert row is not None
    if not -len(table) <= row < len(table):
        raise InvalidArgumentError(f"--row is {row}, must be in 0 .. {len(table) - 1}")
    return table[row]


def _format_of(path: Path) -> str:
    """The format that the manifest at ``path`` names; empty when there is none to read.

    Of a URL it is read once, and what fails is raised.
    """
    if (url := url_of(path)) is not None:
        return _format_at(url)
    try:
        return str(read_json(path / "manifest.json").get("format", ""))
    except Error:
        return ""


@functools.cache
def _format_at(url: str) -> str:
    from helip.common.remote.container import RemoteContainer

    return RemoteContainer(url).manifest.format


def _table_at(path: Path) -> Any:
    """The table or the part of one at ``path``; None when there is neither."""
    from helip.pairs.hard_negatives import HardNegatives
    from helip.pairs.hard_pairs import HardPairs
    from helip.pairs.hard_pairs_part import HardPairsPart

    kinds: dict[str, Any] = {
        "helip.hard_pairs": HardPairs,
        "helip.hard_pairs_part": HardPairsPart,
        "helip.hard_negatives": HardNegatives,
    }
    kind = kinds.get(_format_of(path))
    return None if kind is None else kind.open(path)
