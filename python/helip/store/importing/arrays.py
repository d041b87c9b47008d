"""Embeddings in HDF5 and zarr files, and in arrays in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError, needed
from helip.store.array_types import host_array
from helip.store.importing.columns import choose_embeddings, choose_metadata
from helip.store.importing.part import (
    Block,
    Blocks,
    Part,
    caption_texts,
    check_floats,
    check_rows,
    key_texts,
    reading,
)
from helip.store.options import ImportOptions

#: Opens a file; gives what has arrays by name.
Opened = Callable[[], AbstractContextManager[Any]]


def hdf5_part(path: Path, options: ImportOptions) -> Part:
    with needed(f"reading {path} takes the package h5py", "'helip[arrays]'"):
        import h5py

    return _part(path, lambda: h5py.File(path, "r"), options)


def zarr_part(path: Path, options: ImportOptions) -> Part:
    with needed(f"reading {path} takes the package zarr", "'helip[arrays]'"):
        import zarr
    return _part(path, lambda: nullcontext(zarr.open_group(str(path), mode="r")), options)


def _part(path: Path, opened: Opened, options: ImportOptions) -> Part:
    with reading(str(path)), opened() as held:
        arrays = _arrays_of(held)
        matrices = [name for name, each in arrays.items() if len(each.shape) == 2]
        others = [name for name, each in arrays.items() if len(each.shape) == 1]
        image, text = choose_embeddings(matrices, options, str(path))
        key, caption = choose_metadata(others, options, str(path))
        used = [name for name in (image, text, key, caption) if name is not None]
        rows = check_rows({f"{path}: {name}": arrays[name].shape[0] for name in used})
        dims = (arrays[image].shape[1], arrays[text].shape[1])
        dtypes = [
            check_floats(str(arrays[side].dtype), f"{path}: {side}") for side in (image, text)
        ]

    def blocks(first: int, step: int) -> Blocks:
        with reading(str(path)), opened() as held:
            for at in range(first, rows, step):
                chosen = slice(at, min(at + step, rows))
                yield Block(
                    held[image][chosen],
                    held[text][chosen],
                    None if key is None else key_texts(held[key][chosen].tolist(), str(path), at),
                    None
                    if caption is None
                    else caption_texts(held[caption][chosen].tolist(), str(path), at),
                )

    return Part(
        str(path), rows, dims, (dtypes[0], dtypes[1]), (path,), blocks,
        has_keys=key is not None, has_captions=caption is not None,
    )  # fmt: skip


def _arrays_of(held: Any) -> dict[str, Any]:
    """The arrays at the top; a link that leads nowhere is none."""
    arrays = {}
    for name in held:
        with contextlib.suppress(KeyError):
            each = held[name]
            if hasattr(each, "dtype") and each.shape is not None:
                arrays[name] = each
    return arrays


def memory_part(image: Any, text: Any, keys: Sequence[str] | None) -> Part:
    """Arrays or tensors [n, dim] that are there already."""
    image, text = host_array(image, "image"), host_array(text, "text")
    for name, array in (("image", image), ("text", text)):
        if len(array.shape) != 2:
            raise InvalidArgumentError(
                f"{name} has shape {tuple(array.shape)}; it must have 2 dimensions: [rows, dim]"
            )
    counts = {"image": image.shape[0], "text": text.shape[0]}
    if keys is not None:
        if isinstance(keys, (str, bytes)) or not hasattr(keys, "__len__"):
            raise InvalidArgumentError(
                f"keys is a {type(keys).__name__}; pass a sequence with one key a row"
            )
        counts["keys"] = len(keys)
    rows = check_rows(counts)
    dtypes = [
        check_floats(str(array.dtype).removeprefix("torch."), name)
        for name, array in (("image", image), ("text", text))
    ]

    def blocks(first: int, step: int) -> Blocks:
        for at in range(first, rows, step):
            own = None if keys is None else key_texts(list(keys[at : at + step]), "keys", at)
            yield Block(image[at : at + step], text[at : at + step], own)

    return Part(
        "the arrays",
        rows,
        (image.shape[1], text.shape[1]),
        (dtypes[0], dtypes[1]),
        (),
        blocks,
        has_keys=keys is not None,
    )
