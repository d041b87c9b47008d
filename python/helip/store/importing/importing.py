"""From what a caller names to the parts of a source, and the job that appends them to a store."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import time
import warnings
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import (
    InvalidArgumentError,
    MismatchError,
    OutOfMemoryError,
    StorageError,
    UnsupportedError,
)
from helip.common.patterns import existing_paths, is_url, natural
from helip.common.progress import ProgressBar
from helip.common.remote.outputs import written_to
from helip.common.remote.urls import local_path, url_of
from helip.store.importing.sources import (
    Block,
    Part,
    arrow_part,
    lance_part,
    memory_part,
    npy_parts,
    npz_parts,
    parquet_part,
    reading,
)
from helip.store.keys import row_key
from helip.store.options import ImportCall, ImportOptions

_BLOCK_BYTES = 32 << 20
_COMMIT_SECONDS = 40.0
ACCEPTED = (
    "accepted are folders of clip-retrieval or DataComp, .parquet, .npz and .lance, a "
    "pyarrow.Table, or image= and text= with .npy files or arrays"
)
_ONE_EACH = {".parquet": parquet_part, ".lance": lance_part}


def import_store(call: ImportCall, store: Any) -> Any:
    """The finished store; ``store``: the class EmbeddingStore."""
    if (url := url_of(call.out)) is not None:
        return written_to(
            url, lambda path: import_store(dataclasses.replace(call, out=path), store), store.open,
            resumes=True, progress=call.progress,
        )  # fmt: skip
    call = dataclasses.replace(call, out=local_path(call.out))
    parts = parts_of(call)
    dims = _check_dims(parts)
    _check_metadata(parts)
    dtype = call.dtype or _dtype_of(parts)
    rows = sum(part.rows for part in parts)
    facts = {
        "rows": rows,
        "parts": len(parts),
        "first": parts[0].name,
        "identity": _identity(parts, call),
    }
    existing = _existing(call, store, facts)
    if existing is not None and existing.metadata["complete"]:
        return existing
    if existing is not None:
        writer = store.append_to(call.out)
    else:
        writer = store.create(
            call.out, image_dim=dims.pop("image"), text_dim=dims.pop("text"), matrices=dims,
            dtype=dtype, shard_rows=call.shard_rows,
            digests=parts[0].names.caption is not None,
        )  # fmt: skip
    _tell_of_rounding(parts, dtype)
    unfinished = {"import": facts, "complete": False}
    with writer, ProgressBar(rows, label="import", enabled=call.progress) as bar:
        bar.restart(rows, label="import", done=len(writer))
        committed, since = len(writer), time.monotonic()
        try:
            with closing(_appended(parts, writer)) as appended:
                for count in appended:
                    bar.update(count)
                    if time.monotonic() - since >= _COMMIT_SECONDS:
                        committed = len(writer.commit(unfinished))
                        since = time.monotonic()
        except (KeyboardInterrupt, StorageError, OutOfMemoryError):
            # Interrupted right behind an append, its rows are there as well.
            with contextlib.suppress(StorageError, OutOfMemoryError):
                if len(writer) != committed:
                    writer.commit(unfinished)
            raise
        return writer.finish({"import": facts, "complete": True})


def _appended(parts: list[Part], writer: Any) -> Generator[int, None, None]:
    """Append all rows that are missing, a block at a time; the rows of each."""
    done, begin = len(writer), 0
    for part in parts:
        first, begin = begin, begin + part.rows
        if begin <= done:
            continue
        with closing(_read_ahead(part, max(done - first, 0))) as blocks:
            for at, block in blocks:
                _append(writer, part, first + at, at, block)
                yield len(block)
        if len(writer) != begin:
            raise MismatchError(
                f"{part.name} gave {len(writer) - first:,} rows of {part.rows:,}; it was changed "
                "while it was read"
            )


def _append(writer: Any, part: Part, row: int, at: int, block: Block) -> None:
    """Append rows that begin at ``row`` of all, ``at`` of their part."""
    keys = block.keys
    if keys is None:
        keys = [row_key(number) for number in range(row, row + len(block))]
    digests = None
    if block.captions is not None:
        texts: list[Any] = [each.encode("utf-8", "surrogateescape") for each in block.captions]
        digests = np.zeros(len(block), np.uint64), _core.caption_digests(texts)
    try:
        others = dict(block.matrices)
        writer.append(keys, others.pop("image"), others.pop("text"), digests, matrices=others)
    except InvalidArgumentError as error:
        bad = _first_not_finite(block)
        if bad is None:
            raise InvalidArgumentError(
                f"{part.name}, rows {at:,} to {at + len(block) - 1:,}: {error}"
            ) from error
        raise InvalidArgumentError(
            f"{part.name}: the {bad[0]} embedding of row {at + bad[1]:,} holds NaN or infinity; "
            "take the row out of its files, or embed it again"
        ) from error


def _first_not_finite(block: Block) -> tuple[str, int] | None:
    """(matrix, place in the block) of the first NaN or infinity."""
    for side, values in block.matrices.items():
        if not isinstance(values, np.ndarray):
            values = values.float().numpy()
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            return side, int(finite.argmin())
    return None


def _read_ahead(part: Part, first: int) -> Generator[tuple[int, Block], None, None]:
    """(row of the part, block): one is read while the one before it is appended."""
    values = {"float16": 2, "bfloat16": 2, "float64": 8}
    row = sum(dim * values.get(part.dtypes[name], 4) for name, dim in part.dims.items())
    step = max(_BLOCK_BYTES // max(row, 1), 1)
    with (
        ThreadPoolExecutor(1, thread_name_prefix="helip-import") as reader,
        closing(part.blocks(first, step)) as blocks,
    ):
        following = reader.submit(next, blocks, None)
        try:
            while True:
                with reading(part.name):
                    block = following.result()
                if block is None:
                    return
                following = reader.submit(next, blocks, None)
                yield first, block
                first += len(block)
        finally:
            following.cancel()
            with contextlib.suppress(BaseException):
                following.result()


def _check_dims(parts: list[Part]) -> dict[str, int]:
    """The dimensions that all have. A part that is empty, or begins with a missing row, has 0."""
    dims = {}
    for name in parts[0].dims:
        known = [part for part in parts if part.dims[name]]
        for part in known:
            if part.dims[name] != known[0].dims[name]:
                raise InvalidArgumentError(
                    f"{part.name} has {name} embeddings of {part.dims[name]} dimensions and "
                    f"{known[0].name} of {known[0].dims[name]}; they are of two encoders. Import "
                    "them into two stores"
                )
        dims[name] = known[0].dims[name] if known else 1
    return dims


def _check_metadata(parts: list[Part]) -> None:
    """Refuse parts of which only some have keys or captions."""
    for what in ("key", "caption"):
        without = [part for part in parts if getattr(part.names, what) is None]
        if without and len(without) < len(parts):
            other = next(part for part in parts if getattr(part.names, what) is not None)
            mend = "; or number the rows (key_column row)" if what == "key" else ""
            raise InvalidArgumentError(
                f"{without[0].name} has no {what}s, and {other.name} has; give them all{mend}"
            )


def _dtype_of(parts: list[Part]) -> str:
    kinds = {kind for part in parts for kind in part.dtypes.values()}
    return kinds.pop() if len(kinds) == 1 and not kinds & {"float64"} else "float32"


def _tell_of_rounding(parts: list[Part], dtype: str) -> None:
    """Say once what is stored with fewer digits than it has."""
    rounded = next((part for part in parts if "float64" in part.dtypes.values()), None)
    if rounded is not None:
        warnings.warn(
            f"embeddings of {rounded.name} are float64 and stored as {dtype}; nothing in mining "
            "needs more",
            stacklevel=5,
        )


def _identity(parts: list[Part], call: ImportCall) -> str:
    """Tells sources and options apart; empty for what lies in memory."""
    if not all(part.files for part in parts):
        return ""
    options = ImportOptions.of(call).plain()
    told = json.dumps([[part.state() for part in parts], options], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def _existing(call: ImportCall, store: Any, facts: dict[str, Any]) -> Any:
    """A store at ``out`` that this import began, or None.

    Raises:
        MismatchError: it was imported from something else, or its source was changed since.
    """
    if not (Path(call.out) / "manifest.json").exists():
        return None
    found = store.open(call.out)
    theirs = found.metadata.get("import")
    if theirs is None or not facts["identity"] or theirs["identity"] != facts["identity"]:
        of = "something else" if theirs is None else f"{theirs['rows']:,} rows of {theirs['first']}"
        whole = found.metadata.get("complete", True)
        part = "" if whole else f" ({len(found):,} rows of which are there)"
        raise MismatchError(
            f"{call.out} holds a store of {of}{part}, or its source or options have changed since; "
            "give another out, or remove it"
        )
    return found


def parts_of(call: ImportCall) -> list[Part]:
    """The parts of what is asked for, in order; headers alone are read.

    Raises:
        InvalidArgumentError: nothing that is known, or files that do not belong together.
        UnsupportedError: a package is absent, or the source is a URL.
    """
    source = call.source
    if source is None:
        return _parts_of_sides(call)
    if _are_paths(source):
        return _parts_of_files(_existing_files(source), call)
    if hasattr(source, "schema") and hasattr(source, "select") and hasattr(source, "slice"):
        return [arrow_part(source, call)]
    raise InvalidArgumentError(f"cannot import a {type(source).__name__}: {ACCEPTED}")


def _parts_of_sides(call: ImportCall) -> list[Part]:
    sides = {"image": call.image, "text": call.text, **(call.matrices or {})}
    named = [_are_paths(side) for side in sides.values()]
    if any(named) != all(named):
        raise InvalidArgumentError(f"{' and '.join(sides)} must all be files, or all arrays")
    if not any(named):
        if call.metadata is not None:
            raise InvalidArgumentError(
                "metadata is for .npy files; give the keys of arrays as keys"
            )
        return [memory_part(sides, call.keys)]
    if call.keys is not None:
        raise InvalidArgumentError("keys are for arrays; give those of .npy files as metadata")
    metadata = [] if call.metadata is None else _existing_files(call.metadata)
    for path in metadata:
        if path.suffix.lower() != ".parquet":
            raise InvalidArgumentError(f"{path} is no .parquet file, as metadata names them")
    files = {name: _existing_files(side) for name, side in sides.items()}
    return npy_parts(files, metadata, call)


def _parts_of_files(paths: Sequence[Path], call: ImportCall) -> list[Part]:
    """Those of a folder, or of files of one kind."""
    if len(paths) == 1 and paths[0].is_dir() and paths[0].suffix.lower() != ".lance":
        folder, inside = paths[0], sorted(paths[0].iterdir(), key=natural)
        names = {path.name for path in inside}
        if "_versions" in names:
            return [lance_part(folder, call)]
        if {"img_emb", "text_emb"} & names:
            return _clip_retrieval_parts(folder, call)
        # Of DataComp the tables beside the arrays are their metadata.
        kinds = {path.suffix.lower() for path in inside}
        suffix = next((each for each in (".npz", ".parquet") if each in kinds), None)
        if suffix is None:
            raise InvalidArgumentError(f"{folder} holds no embeddings that are known: {ACCEPTED}")
        paths = [path for path in inside if path.suffix.lower() == suffix]
    kinds = {path.suffix.lower() for path in paths}
    if len(kinds) > 1:
        raise InvalidArgumentError(
            f"files of several kinds ({', '.join(sorted(kinds))}) are given; import them one by one"
        )
    kind = kinds.pop()
    if kind == ".npy":
        raise InvalidArgumentError(f"{paths[0]} holds one matrix; give the two as image= and text=")
    if kind == ".npz":
        return npz_parts(paths, call)
    if kind not in _ONE_EACH:
        raise InvalidArgumentError(f"{paths[0]} is of no known kind: {ACCEPTED}")
    return [_ONE_EACH[kind](path, call) for path in paths]


def _clip_retrieval_parts(folder: Path, call: ImportCall) -> list[Part]:
    """``img_emb/*.npy``, ``text_emb/*.npy`` and, where it is there, ``metadata/*.parquet``."""
    image, text, metadata = (
        sorted((folder / name).glob(f"*{suffix}"), key=natural)
        for name, suffix in (("img_emb", ".npy"), ("text_emb", ".npy"), ("metadata", ".parquet"))
    )
    if not image or not text:
        raise InvalidArgumentError(
            f"{folder} has no .npy files in {'text_emb' if image else 'img_emb'}, and pairs need "
            "both sides; have clip-retrieval embed pictures and captions"
        )
    return npy_parts({"image": image, "text": text}, metadata, call)


def _are_paths(value: Any) -> bool:
    values = value if isinstance(value, (list, tuple)) else [value]
    return bool(values) and all(isinstance(each, (str, os.PathLike)) for each in values)


def _existing_files(value: Any) -> list[Path]:
    """The files of paths and patterns; those of one pattern by the numbers in their names."""
    found: list[Path] = []
    for pattern in value if isinstance(value, (list, tuple)) else [value]:
        if is_url(os.fspath(pattern)):
            raise UnsupportedError(
                f"{pattern} is a URL, and embeddings are read from disk; fetch it first"
            )
        found += existing_paths(pattern, ACCEPTED)
    return found
