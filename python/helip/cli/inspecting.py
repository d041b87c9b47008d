"""Commands on what helip has written: what it holds, and whether it is whole."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any

from helip.cli.commands import AsJson, command, text
from helip.cli.showing import figure, print_json, say, show_index, show_pairs, show_table
from helip.common.errors import InvalidArgumentError


@command()
def inspect(
    path: Annotated[Path, text("A store, an index, a table or a part of one.")],
    /,
    *,
    json: AsJson = False,
) -> None:
    """Show what a store, an index of shards or a table of hard pairs holds."""
    from helip.data.sample_index import SampleIndex
    from helip.store.embedding_store import EmbeddingStore

    if _format_of(path) == "helip.sample_index":
        show_index(SampleIndex.open(path, check=False), json)
        return
    if (table := _table_at(path)) is not None:
        show_pairs(table, str(path), json)
        return
    store = EmbeddingStore.open(path)
    facts: dict[str, Any] = {
        "path": store.path,
        "rows": len(store),
        "image_dim": store._core.image.shape[1],
        "text_dim": store._core.text.shape[1],
        "dtype": store.dtype,
        "deleted": len(store.deleted),
        "generation": store.generation,
        "fingerprint": store.fingerprint,
        "keys_fingerprint": store.keys_fingerprint,
        "data_fingerprint": store.data_fingerprint,
        "metadata": store.metadata,
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
) -> None:
    """Read every byte and compare checksums; of an index, also the headers of its shards."""
    from helip.data.sample_index import SampleIndex
    from helip.store.embedding_store import EmbeddingStore

    if _format_of(path) == "helip.sample_index":
        SampleIndex.open(path).verify(contents=contents, progress=True)
    elif contents:
        raise InvalidArgumentError(f"--contents is for an index of shards, and {path} is none")
    elif (table := _table_at(path)) is not None:
        table.verify()
    else:
        EmbeddingStore.open(path).verify(progress=True)
    say(f"{path} is whole")


def _format_of(path: Path) -> str:
    """The format that the manifest at ``path`` names; empty when there is none to read."""
    try:
        manifest = json_format.loads((path / "manifest.json").read_text(encoding="utf-8"))
        return manifest.get("format", "")
    except (OSError, ValueError, AttributeError):
        return ""


def _table_at(path: Path) -> Any:
    """The table or the part of one at ``path``; None when there is neither."""
    from helip.pairs.hard_pairs import HardPairs
    from helip.pairs.hard_pairs_part import HardPairsPart

    kinds: dict[str, Any] = {"helip.hard_pairs": HardPairs, "helip.hard_pairs_part": HardPairsPart}
    kind = kinds.get(_format_of(path))
    return None if kind is None else kind.open(path)
