"""Embeddings in HDF5 and zarr, and in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helip
from helip import EmbeddingStore
from support.import_samples import Embeddings, embeddings

ROWS = 83


def imported(tmp_path: Path, source: Any = None, **options: Any) -> EmbeddingStore:
    return EmbeddingStore.import_from(source, out=tmp_path / "store", progress=False, **options)


def write_hdf5(path: Path, whole: Embeddings) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["image"], file["text"] = whole.image, whole.text
        file.create_dataset("key", data=whole.keys)
        file.create_dataset("caption", data=whole.captions)


def write_zarr(path: Path, whole: Embeddings) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="w")
    group["image"], group["text"] = whole.image, whole.text
    group["key"] = np.array(whole.keys)
    group["caption"] = np.array(whole.captions)


@pytest.mark.filterwarnings("ignore:The data type")  # of text, in zarr
@pytest.mark.parametrize(("name", "write"), [("a.h5", write_hdf5), ("a.zarr", write_zarr)])
def test_a_file_of_arrays_becomes_a_store(
    tmp_path: Path, name: str, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helip.store.importing.importing._BLOCK_BYTES", 13 * 20 * 2)
    whole = embeddings(ROWS)
    write(tmp_path / name, whole)
    whole.check(imported(tmp_path, tmp_path / name))


def test_arrays_and_tensors_in_memory(tmp_path: Path) -> None:
    whole = embeddings(ROWS, "float32")
    store = imported(
        tmp_path, image=torch.from_numpy(whole.image), text=whole.text, keys=whole.keys
    )
    whole.check(store)
    # There is no telling whether the arrays are those of then.
    with pytest.raises(helip.MismatchError, match="holds a store"):
        imported(tmp_path, image=whole.image, text=whole.text, keys=whole.keys)


def test_bfloat16_stays(tmp_path: Path) -> None:
    whole = embeddings(ROWS, "float32")
    image, text = (torch.from_numpy(side).bfloat16() for side in (whole.image, whole.text))
    store = imported(tmp_path, image=image, text=text)
    assert store.dtype == "bfloat16"
    assert torch.equal(store.image_tensor, image)


def test_rows_that_differ_are_told(tmp_path: Path) -> None:
    whole = embeddings(ROWS)
    with pytest.raises(helip.InvalidArgumentError, match="keys has 82 rows and image 83"):
        imported(tmp_path, image=whole.image, text=whole.text, keys=whole.keys[:-1])
    with pytest.raises(helip.InvalidArgumentError, match="image is a list; pass a NumPy array"):
        imported(tmp_path, image=whole.image.tolist(), text=whole.text)
    with pytest.raises(helip.InvalidArgumentError, match="both be files, or both arrays"):
        imported(tmp_path, image=tmp_path / "a.npy", text=whole.text)


def test_a_zarr_that_was_changed_is_noticed(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    whole = embeddings(ROWS)
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group["image"], group["text"] = whole.image, whole.text
    whole.check(imported(tmp_path, tmp_path / "a.zarr"), numbered=True)
    zarr.open_group(str(tmp_path / "a.zarr"), mode="r+")["image"][:] += 1
    with pytest.raises(helip.MismatchError, match="have changed since"):
        imported(tmp_path, tmp_path / "a.zarr")


def test_what_a_library_raises_names_the_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    whole = embeddings(ROWS)
    write_hdf5(tmp_path / "a.h5", whole)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["nowhere"] = h5py.SoftLink("/not/there")
    whole.check(imported(tmp_path, tmp_path / "a.h5"))
    (tmp_path / "b.h5").write_bytes(b"nothing")
    with pytest.raises(helip.Error, match=r"b.h5"):
        imported(tmp_path, tmp_path / "b.h5")
    (tmp_path / "b.zarr").write_bytes(b"nothing")
    with pytest.raises(helip.Error, match=r"b.zarr"):
        imported(tmp_path, tmp_path / "b.zarr")


def test_keys_are_a_sequence(tmp_path: Path) -> None:
    whole = embeddings(3)
    for keys in ("abc", (key for key in whole.keys)):
        with pytest.raises(helip.InvalidArgumentError, match="pass a sequence with one key a row"):
            imported(tmp_path, image=whole.image, text=whole.text, keys=keys)
