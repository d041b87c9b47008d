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
from helip.store.importing.arrays import clip_retrieval_parts, memory_part, npy_parts, npz_parts
from helip.store.importing.part import (
    Block,
    Blocks,
    Part,
    first_row_that_is_not_finite,
    reading,
)
from helip.store.importing.tables import (
    arrow_part,
    arrow_table_part,
    hugging_face_part,
    lance_part,
    parquet_part,
    saved_hugging_face_part,
)
from helip.store.keys import row_key
from helip.store.options import ImportCall, ImportOptions

_BLOCK_BYTES = 32 << 20
_COMMIT_SECONDS = 40.0
_SIDES = ("image", "text")
ACCEPTED = (
    "accepted are folders of clip-retrieval or DataComp, .parquet, .arrow, .npz and .lance, a "
    "datasets.Dataset, a pyarrow.Table, or image= and text= with .npy files or arrays"
)
_ARROW = (".arrow", ".feather")
_ONE_EACH = {
    ".parquet": parquet_part,
    ".lance": lance_part,
    **dict.fromkeys(_ARROW, arrow_part),
}


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
            call.out, image_dim=dims[0], text_dim=dims[1], dtype=dtype,
            shard_rows=call.shard_rows, digests=any(part.has_captions for part in parts),
        )  # fmt: skip
    _tell_of_rounding(parts, dtype)
    with (
        writer,
        ProgressBar(rows, label="import", enabled=call.progress) as bar,
    ):
        bar.restart(rows, label="import", done=len(writer))
        job = _Job(parts, writer, facts, bar)
        try:
            job.append()
        except (KeyboardInterrupt, StorageError, OutOfMemoryError):
            job.commit_whole()
            raise
        return writer.finish({"import": facts, "complete": True})


class _Job:
    """What is read, and the writer that takes it."""

    def __init__(self, parts: list[Part], writer: Any, facts: dict[str, Any], bar: Any) -> None:
        self._parts, self._writer, self._facts, self._bar = parts, writer, facts, bar
        self._whole = self._committed = len(writer)

    def append(self) -> None:
        """Append all rows that are missing, and commit now and then."""
        done, begin = len(self._writer), 0
        committed = time.monotonic()
        for part in self._parts:
            first, begin = begin, begin + part.rows
            if begin <= done:
                continue
            with closing(_read_ahead(part, max(done - first, 0))) as blocks:
                for at, block in blocks:
                    self._take(part, first + at, at, block)
                    self._whole = len(self._writer)
                    self._bar.update(len(block))
                    if time.monotonic() - committed >= _COMMIT_SECONDS:
                        self._commit()
                        committed = time.monotonic()
            if self._whole != begin:
                raise MismatchError(
                    f"{part.name} gave {self._whole - first:,} rows of {part.rows:,}; it was "
                    "changed while it was read"
                )

    def commit_whole(self) -> None:
        """Commit what was appended before an interruption, where that can be."""
        # Interrupted behind an append, the rows are there and not yet noted.
        self._whole = len(self._writer)
        if self._whole == self._committed:
            return
        with contextlib.suppress(StorageError, OutOfMemoryError):
            self._commit()

    def _commit(self) -> None:
        self._writer.commit({"import": self._facts, "complete": False})
        self._committed = self._whole

    def _take(self, part: Part, row: int, at: int, block: Block) -> None:
        """Append rows that begin at ``row`` of all, ``at`` of their part."""
        keys = block.keys
        if keys is None:
            keys = [row_key(number) for number in range(row, row + len(block))]
        digests = None
        if any(each.has_captions for each in self._parts):
            captions = block.captions or [""] * len(block)
            encoded: list[Any] = [text.encode("utf-8", "surrogateescape") for text in captions]
            digests = np.zeros(len(block), np.uint64), _core.caption_digests(encoded)
        try:
            self._writer.append(keys, block.image, block.text, digests)
        except InvalidArgumentError as error:
            bad = first_row_that_is_not_finite(block)
            if bad is None:
                raise InvalidArgumentError(
                    f"{part.name}, rows {at:,} to {at + len(block) - 1:,}: {error}"
                ) from error
            raise InvalidArgumentError(
                f"{part.name}: the {bad[0]} embedding of row {at + bad[1]:,} holds NaN or "
                "infinity; take the row out of its files, or embed it again"
            ) from error


def _read_ahead(part: Part, first: int) -> Generator[tuple[int, Block], None, None]:
    """(row of the part, block): one is read while the one before it is appended."""
    values = {"float16": 2, "bfloat16": 2, "float64": 8}
    row = sum(dim * values.get(kind, 4) for dim, kind in zip(part.dims, part.dtypes, strict=True))
    step = max(_BLOCK_BYTES // max(row, 1), 1)
    blocks = _named(part, part.blocks(first, step))
    with ThreadPoolExecutor(1, thread_name_prefix="helip-import") as reader:
        following = reader.submit(next, blocks, None)
        try:
            while (block := following.result()) is not None:
                following = reader.submit(next, blocks, None)
                yield first, block
                first += len(block)
        finally:
            following.cancel()
            with contextlib.suppress(BaseException):
                following.result()
            blocks.close()


def _named(part: Part, blocks: Blocks) -> Blocks:
    """The blocks; what goes wrong while one is read names the part."""
    with reading(part.name), closing(blocks):
        while (block := next(blocks, None)) is not None:
            yield block


def _check_dims(parts: list[Part]) -> list[int]:
    """The dimensions that all have. A part that is empty, or begins with a missing row, has 0."""
    dims = []
    for number, side in enumerate(_SIDES):
        known = [part for part in parts if part.dims[number]]
        for part in known:
            if part.dims[number] != known[0].dims[number]:
                raise InvalidArgumentError(
                    f"{part.name} has {side} embeddings of {part.dims[number]} dimensions and "
                    f"{known[0].name} of {known[0].dims[number]}; they are of two encoders. Import "
                    "them into two stores"
                )
        dims.append(known[0].dims[number] if known else 1)
    return dims


def _check_metadata(parts: list[Part]) -> None:
    """Refuse parts of which only some have keys or captions."""
    for what, has in (("keys", "has_keys"), ("captions", "has_captions")):
        without = [part for part in parts if not getattr(part, has)]
        if without and len(without) < len(parts):
            other = next(part for part in parts if getattr(part, has))
            mend = "; or number the rows (key_column row)" if what == "keys" else ""
            raise InvalidArgumentError(
                f"{without[0].name} has no {what}, and {other.name} has; give them all{mend}"
            )


def _dtype_of(parts: list[Part]) -> str:
    kinds = {kind for part in parts for kind in part.dtypes}
    return kinds.pop() if len(kinds) == 1 and not kinds & {"float64"} else "float32"


def _tell_of_rounding(parts: list[Part], dtype: str) -> None:
    """Say once what is stored with fewer digits than it has."""
    for part in parts:
        for side, kind in zip(_SIDES, part.dtypes, strict=True):
            if kind == "float64":
                warnings.warn(
                    f"the {side} embeddings of {part.name} are float64 and stored as {dtype}; "
                    "nothing in mining needs more",
                    stacklevel=5,
                )
                return


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
    if call.source is None:
        return _parts_of_sides(call)
    if not _are_paths(call.source):
        return [_part_of_object(call.source, call)]
    paths = _existing_files(call.source)
    if len(paths) == 1 and paths[0].is_dir():
        return _parts_of_folder(paths[0], call)
    return _parts_of_files(paths, call)


def _parts_of_sides(call: ImportCall) -> list[Part]:
    named = [_are_paths(side) for side in (call.image, call.text)]
    if not any(named):
        if call.metadata is not None:
            raise InvalidArgumentError(
                "metadata is for .npy files; give the keys of arrays as keys"
            )
        return [memory_part(call.image, call.text, call.keys)]
    if not all(named):
        raise InvalidArgumentError("image and text must both be files, or both arrays")
    if call.keys is not None:
        raise InvalidArgumentError("keys are for arrays; give those of .npy files as metadata")
    image, text = _existing_files(call.image), _existing_files(call.text)
    for path in (*image, *text):
        if path.suffix.lower() != ".npy":
            raise InvalidArgumentError(f"{path} is no .npy file, as image and text name them")
    metadata = [] if call.metadata is None else _existing_files(call.metadata)
    for path in metadata:
        if path.suffix.lower() != ".parquet":
            raise InvalidArgumentError(f"{path} is no .parquet file, as metadata names them")
    return npy_parts(image, text, metadata, call)


def _parts_of_folder(folder: Path, call: ImportCall) -> list[Part]:
    names = set(os.listdir(folder))
    if {"img_emb", "text_emb"} <= names:
        return clip_retrieval_parts(folder, call)
    if {"img_emb", "text_emb"} & names:
        absent = "text_emb" if "img_emb" in names else "img_emb"
        raise InvalidArgumentError(
            f"{folder} has no {absent}, and pairs need both sides; have clip-retrieval embed "
            "pictures and captions"
        )
    if {"state.json", "dataset_info.json"} <= names:
        return [saved_hugging_face_part(folder, call)]
    if "dataset_dict.json" in names:
        splits = sorted(name for name in names if (folder / name / "state.json").exists())
        raise InvalidArgumentError(
            f"{folder} holds the splits {', '.join(splits)}; give the folder of one"
        )
    if folder.suffix.lower() == ".lance" or "_versions" in names:
        return [lance_part(folder, call)]
    # Of DataComp the tables beside the arrays are their metadata.
    for suffix in (".npz", ".parquet", *_ARROW):
        found = [folder / name for name in names if name.lower().endswith(suffix)]
        if found:
            return _parts_of_files(sorted(found, key=natural), call)
    raise InvalidArgumentError(f"{folder} holds no embeddings that are known: {ACCEPTED}")


def _parts_of_files(paths: Sequence[Path], call: ImportCall) -> list[Part]:
    kinds = sorted({path.suffix.lower() for path in paths})
    if len(kinds) > 1:
        raise InvalidArgumentError(
            f"files of several kinds ({', '.join(kinds)}) are given; import them one by one"
        )
    if kinds[0] == ".npy":
        raise InvalidArgumentError(f"{paths[0]} holds one matrix; give the two as image= and text=")
    if kinds[0] == ".npz":
        return npz_parts(paths, call)
    if kinds[0] not in _ONE_EACH:
        raise InvalidArgumentError(f"{paths[0]} is of no known kind: {ACCEPTED}")
    return [_ONE_EACH[kinds[0]](path, call) for path in paths]


def _part_of_object(source: Any, call: ImportCall) -> Part:
    package = type(source).__module__.partition(".")[0]
    if package == "datasets":
        return hugging_face_part(source, call)
    if package == "pyarrow" and hasattr(source, "num_rows") and hasattr(source, "slice"):
        return arrow_table_part(source, call)
    raise InvalidArgumentError(f"cannot import a {type(source).__name__}: {ACCEPTED}")


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
