"""From what a caller names to the parts of a source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.patterns import existing_paths, is_url, natural
from helip.store.importing.arrays import clip_retrieval_parts, memory_part, npy_parts, npz_parts
from helip.store.importing.part import Part
from helip.store.importing.tables import (
    arrow_part,
    arrow_table_part,
    hugging_face_part,
    lance_part,
    parquet_part,
    saved_hugging_face_part,
)
from helip.store.options import ImportCall

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


def parts_of(call: ImportCall) -> list[Part]:
    """The parts of what is asked for, in order; headers alone are read.

    Raises:
        InvalidArgumentError: nothing that is known, or files that do not belong together.
        UnsupportedError: a package is absent, or the source is a URL.
    """
    if call.source is None:
        return _sides(call)
    if not _are_paths(call.source):
        return [_object(call.source, call)]
    paths = _paths(call.source)
    if len(paths) == 1 and paths[0].is_dir():
        return _folder(paths[0], call)
    return _files(paths, call)


def _sides(call: ImportCall) -> list[Part]:
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
    image, text = _paths(call.image), _paths(call.text)
    for path in (*image, *text):
        if path.suffix.lower() != ".npy":
            raise InvalidArgumentError(f"{path} is no .npy file, as image and text name them")
    metadata = [] if call.metadata is None else _paths(call.metadata)
    for path in metadata:
        if path.suffix.lower() != ".parquet":
            raise InvalidArgumentError(f"{path} is no .parquet file, as metadata names them")
    return npy_parts(image, text, metadata, call)


def _folder(folder: Path, call: ImportCall) -> list[Part]:
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
            return _files(sorted(found, key=natural), call)
    raise InvalidArgumentError(f"{folder} holds no embeddings that are known: {ACCEPTED}")


def _files(paths: Sequence[Path], call: ImportCall) -> list[Part]:
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


def _object(source: Any, call: ImportCall) -> Part:
    package = type(source).__module__.partition(".")[0]
    if package == "datasets":
        return hugging_face_part(source, call)
    if package == "pyarrow" and hasattr(source, "num_rows") and hasattr(source, "slice"):
        return arrow_table_part(source, call)
    raise InvalidArgumentError(f"cannot import a {type(source).__name__}: {ACCEPTED}")


def _are_paths(value: Any) -> bool:
    values = value if isinstance(value, (list, tuple)) else [value]
    return bool(values) and all(isinstance(each, (str, os.PathLike)) for each in values)


def _paths(value: Any) -> list[Path]:
    """The files of paths and patterns; those of one pattern by the numbers in their names."""
    found: list[Path] = []
    for pattern in value if isinstance(value, (list, tuple)) else [value]:
        if is_url(os.fspath(pattern)):
            raise UnsupportedError(
                f"{pattern} is a URL, and embeddings are read from disk; fetch it first"
            )
        found += existing_paths(pattern, ACCEPTED)
    return found
