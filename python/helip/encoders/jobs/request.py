"""What an embedding job is asked, and what a store that is there already says of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.data.dataset import Dataset
from helip.encoders.network_encoder import Side
from helip.encoders.options import EmbedOptions
from helip.encoders.quarantine import checked_entries
from helip.encoders.registry import ImageEncoder, TextEncoder
from helip.store.data_identity import DataChange, compare_rows, fingerprint_differences
from helip.store.embedding_store import EmbeddingStore

BATCH = 256  # rows; a power of two
SIDES: tuple[Side, Side] = ("image", "text")

#: A store of the data as it was, and what became of the data since.
Kept = tuple[EmbeddingStore, DataChange]


@dataclass(frozen=True, kw_only=True)
class EmbedCall(EmbedOptions):
    """What `embed` is asked."""

    data: Any = field(kw_only=False)
    """A Dataset, or anything that open_dataset takes."""
    out: str | os.PathLike[str]
    """The store's directory. An unfinished one of the same request is continued; a finished one is
    returned at once. Of data that changed since, see update. Or a URL of s3, gs or az, to which the
    store is uploaded once it is finished; one that is there is refused."""
    part: tuple[int, int] | None = None
    """(i, n), i from 1 to n: embed the i-th of n parts alone, to OUT.parts, and return its store.
    The same call without part puts all n together."""
    resume: bool = True
    """False refuses a directory that already holds a store."""
    progress: bool = True
    """A bar with rate and time left."""


@dataclass(frozen=True)
class Work:
    """Rows to embed: a whole data set, or what a store of it lacks."""

    data: Dataset
    """Of these rows."""
    request: Mapping[str, Any]
    """What the finished store's metadata says: encoders, shard_rows, the source {fingerprint,
    rows}, which is the whole data set; engine, precision and reader where the call names them."""
    images: Any
    """The image encoder, or the spec that names it."""
    texts: Any
    call: EmbedCall
    updates: str | None = None
    """The fingerprint of the store that lacks these rows."""

    @property
    def batch_size(self) -> int:
        """Samples of a batch where the encoder computes any number at once."""
        return self.call.batch_size or BATCH

    @property
    def all_rows(self) -> int:
        """Of the whole data set, which max_quarantined is a share of."""
        return int(self.request["source"]["rows"])

    @property
    def path(self) -> Path:
        """Where the finished store lies."""
        return Path(self.call.out)


def name_of(encoder: Any) -> str:
    """How metadata names an encoder; one without a spec goes by its class."""
    if isinstance(encoder, str):
        return encoder
    kind = type(encoder)
    return str(getattr(encoder, "spec", None) or f"{kind.__module__}.{kind.__qualname__}")


def source_of(data: Dataset) -> dict[str, Any]:
    """How metadata names a data set."""
    return {"fingerprint": data.fingerprint, "rows": len(data)}


def engine_of(metadata: Mapping[str, Any], side: str) -> dict[str, Any]:
    """What metadata say of the engine of a side: engine, precision, and what was measured."""
    own = {"engine": "torch", "precision": "float32"}  # of own encoders, which say nothing
    return dict(metadata.get(f"{side}_engine") or own)


def engine_in(metadata: Mapping[str, Any], side: str) -> str:
    """Engine and precision of the rows of a side, such as "openvino in float32"."""
    facts = engine_of(metadata, side)
    return f"{facts['engine']} in {facts['precision']}"


def _is_computed_as(metadata: Mapping[str, Any], name: str, wanted: Any) -> bool:
    """Whether all rows have this engine or precision, whatever was asked for then."""
    known = name in ("engine", "precision")
    return known and all(engine_of(metadata, side)[name] == wanted for side in SIDES)


def open_existing(
    path: Path, request: Mapping[str, Any], *, dtype: str | None, resume: bool
) -> EmbeddingStore | None:
    """The store at ``path``, checked against the request; None where there is none yet."""
    if not (path / "manifest.json").exists():
        return None
    if not resume:
        raise InvalidArgumentError(
            f"{path} already holds a store and resume is False: choose another out, remove the "
            "directory, or pass resume=True to continue it"
        )
    store = EmbeddingStore.open(path)
    found = {"captions": "first", **store.metadata, "dtype": store.dtype}
    differences = [
        f"{name} is {_said(found, name)} there and {wanted!r} here"
        for name, wanted in {**request, "dtype": dtype}.items()
        # The rows tell more of the data; how a finished store was cut changes nothing.
        if name != "source"
        and found.get(name) != wanted
        and not _is_computed_as(found, name, wanted)
        and not (name == "shard_rows" and found.get("complete"))
    ]
    if differences:
        raise MismatchError(
            f"{path} holds a store of another request: {'; '.join(differences)}. Choose another "
            "out, remove the directory, or repeat the request that began it"
        )
    return store


def _said(metadata: Mapping[str, Any], name: str) -> str:
    if name in ("engine", "precision"):
        said = [f"{engine_in(metadata, side)} for {side} rows" for side in SIDES]
        return " and ".join(said)
    return repr(metadata.get(name))


def change_since(store: EmbeddingStore, data: Dataset, *, update: bool) -> DataChange | None:
    """What became of the data since; None where it is what the store was made from.

    ``update``: rows that could not be read then count as changed.
    """
    source = store.metadata.get("source", {})
    known = fingerprint_differences(source.get("fingerprint", ""), data.fingerprint)
    lost = store.metadata.get("complete") and store.metadata.get("quarantined")
    if not known and source.get("rows") == len(data) and not (update and lost):
        return None
    change = compare_rows(store, data, rows_now=len(data))
    if lost:
        rows = [entry["row"] for entry in listed_entries(store)]
        again = np.flatnonzero(np.isin(change.reused, rows))
        change.unread(again, data.keys)
    return change


def listed_entries(store: EmbeddingStore) -> list[dict[str, Any]]:
    """The samples that a finished store could not read; CorruptError where the list is lost."""
    return checked_entries(Path(store.path), store.metadata.get("quarantined", {}))


def check_encoders(store: EmbeddingStore, image: ImageEncoder, text: TextEncoder) -> None:
    """Refuse to mix rows of a store with rows of encoders whose weights are others by now."""
    encoders: tuple[Any, Any] = (image, text)
    for side, encoder in zip(SIDES, encoders, strict=True):
        kept = getattr(store, f"{side}_tensor").shape[1]
        then = (store.metadata.get(f"{side}_weights") or {}).get("digest", "")
        now = getattr(encoder, "weights", "")
        changed = f"gives {encoder.dim}" if kept != encoder.dim else ""
        if then and now and then != now:
            changed = f"has weights {now[:12]}, where the rows are of weights {then[:12]}"
        if changed:
            raise MismatchError(
                f"{store.path} holds {side} rows of {kept} numbers and encoder "
                f"{name_of(encoder)!r} {changed}: its weights have changed; choose another out, or "
                "bring the weights back"
            )
