"""Commands on what helip has written: what it holds, and whether it is whole."""

from __future__ import annotations

import functools
import json as json_format
from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import AsJson, Quiet, command, text
from helip.cli.messages import say
from helip.cli.showing import (
    figure,
    print_json,
    show_index,
    show_pairs,
    show_pool,
    show_table,
)
from helip.common.errors import InvalidArgumentError
from helip.common.remote.urls import shown, url_of

_NO_TABLE = ("helip.sample_index", "helip.embedding_store", "helip.hard_pairs_part")


@command()
def inspect(
    path: Annotated[Path, text("A store, an index, a table or a part of one.")],
    /,
    *,
    row: Annotated[int | None, text("A table: show the hard pairs of this target.")] = None,
    key: Annotated[str | None, text("The target by its key; with --store.")] = None,
    store: Annotated[Path | None, text("The store that was mined: keys and similarities.")] = None,
    json: AsJson = False,
) -> None:
    """Show what a store, an index of shards or a table of hard pairs holds."""
    from helip.data.sample_index import SampleIndex
    from helip.store.embedding_store import EmbeddingStore

    if row is not None or key is not None or store is not None:
        show_pool(_pool_at(path, row, key, store), json)
        return
    if _format_of(path) == "helip.sample_index":
        show_index(SampleIndex.open(path, check=False), json)
        return
    if (table := _table_at(path)) is not None:
        show_pairs(table, shown(path), json)
        return
    opened = EmbeddingStore.open(path)
    facts: dict[str, Any] = {
        "path": opened.path,
        "rows": len(opened),
        "image_dim": opened.image_dim,
        "text_dim": opened.text_dim,
        "dtype": opened.dtype,
        "deleted": len(opened.deleted),
        "generation": opened.generation,
        "fingerprint": opened.fingerprint,
        "keys_fingerprint": opened.keys_fingerprint,
        "data_fingerprint": opened.data_fingerprint,
        "metadata": opened.metadata,
    }
    if json:
        print_json(facts)
        return
    metadata = facts.pop("metadata")
    facts.update({f"metadata.{name}": value for name, value in metadata.items()})
    show_table([(name, figure(value)) for name, value in facts.items()])


@command()
def verify(
    path: Annotated[Path, text("A store, an index, a table or a part.")],
    /,
    *,
    contents: Annotated[bool, text("An index: also every byte of its shards.")] = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read every byte and compare checksums; of an index, also the headers of its shards."""
    from helip.common.remote.container import RemoteContainer
    from helip.common.remote.downloading import verify as verify_container
    from helip.data.sample_index import SampleIndex
    from helip.store.embedding_store import EmbeddingStore

    if (url := url_of(path)) is not None:
        verify_container(RemoteContainer(url), progress=not quiet)
    elif _format_of(path) == "helip.sample_index":
        SampleIndex.open(path).verify(contents=contents, progress=not quiet)
    elif contents:
        raise InvalidArgumentError(f"--contents is for an index of shards, and {path} is none")
    elif (table := _table_at(path)) is not None:
        table.verify()
    else:
        EmbeddingStore.open(path).verify(progress=not quiet)
    if json:
        print_json({"path": shown(path), "format": _format_of(path), "whole": True})
    else:
        say(f"{shown(path)} is whole")


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
        manifest = json_format.loads((path / "manifest.json").read_text(encoding="utf-8"))
        return manifest.get("format", "")
    except (OSError, ValueError, AttributeError):
        return ""


@functools.cache
def _format_at(url: str) -> str:
    from helip.common.remote.container import RemoteContainer

    return RemoteContainer(url).manifest.format


def _table_at(path: Path) -> Any:
    """The table or the part of one at ``path``; None when there is neither."""
    from helip.pairs.hard_pairs import HardPairs
    from helip.pairs.hard_pairs_part import HardPairsPart

    kinds: dict[str, Any] = {"helip.hard_pairs": HardPairs, "helip.hard_pairs_part": HardPairsPart}
    kind = kinds.get(_format_of(path))
    return None if kind is None else kind.open(path)
