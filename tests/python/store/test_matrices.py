"""Arrays of other libraries are taken where they lie, and what cannot be one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
import torch

import helip
from helip.common.errors import InvalidArgumentError
from helip.store.matrices import host_array

ROWS, DIM = 50, 6


class Exporter:
    """An array of a library that knows DLPack alone, as CuPy and JAX do."""

    def __init__(self, inner: Any, device: tuple[int, int] = (1, 0), old: bool = False) -> None:
        self.inner, self.device, self.old = inner, device, old
        self.asked: list[dict[str, Any]] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **wanted: Any) -> Any:
        self.asked.append(wanted)
        if self.old and wanted:
            raise TypeError("__dlpack__() got an unexpected keyword argument")
        if self.inner is None or (self.device[0] != 1 and wanted.get("dl_device") != (1, 0)):
            raise BufferError("it lies on a device")
        return self.inner.__dlpack__()


class FromInterface:
    def __init__(self, inner: np.ndarray) -> None:
        self.inner = inner

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.inner.__array_interface__


class FromArray:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if isinstance(self.inner, Exception):
            raise self.inner
        return self.inner


class OnDevice:
    """A torch tensor on a device that this machine lacks."""

    layout = torch.strided

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner
        self.device = torch.device("cuda:0")

    def detach(self) -> OnDevice:
        return self

    def cpu(self) -> torch.Tensor:
        return self.inner


def matrix(seed: int = 0, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, DIM)).astype(np.float32) + 0.3


def fixed(values: np.ndarray, kind: pa.DataType | None = None) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind), values.shape[1])


def tensors(values: np.ndarray) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(values)


KINDS = {
    "numpy": lambda m: m,
    "torch with a gradient": lambda m: torch.from_numpy(m).requires_grad_(),
    "torch on a device": lambda m: OnDevice(torch.from_numpy(m)),
    "DLPack of NumPy": Exporter,
    "DLPack of torch": lambda m: Exporter(torch.from_numpy(m)),
    "DLPack of an old library": lambda m: Exporter(torch.from_numpy(m), old=True),
    "DLPack on a device": lambda m: Exporter(m, device=(2, 0)),
    "__array_interface__": FromInterface,
    "__array__": FromArray,
    "FixedSizeListArray": fixed,
    "a slice of it": lambda m: fixed(np.vstack([m[:3], m, m[:2]]))[3:-2],
    "ListArray": lambda m: pa.array(list(m), pa.list_(pa.float32())),
    "a slice of a ListArray": lambda m: pa.array([m[0], *m, m[1]], pa.list_(pa.float32()))[1:-1],
    "LargeListArray": lambda m: pa.array(list(m), pa.large_list(pa.float32())),
    "ChunkedArray": lambda m: pa.chunked_array([fixed(m[:20]), fixed(m[20:20]), fixed(m[20:])]),
    "FixedShapeTensorArray": tensors,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_array_is_mined_as_the_same_numbers(kind: str) -> None:
    image, text = matrix(0), matrix(1)
    options: dict[str, Any] = {"k": 5, "device": "cpu", "progress": False}
    wanted = helip.mine(image=image, text=text, **options)
    make = KINDS[kind]
    found = helip.mine(image=make(image), text=make(text), **options)
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.scores, wanted.scores)


@pytest.mark.parametrize("kind", ["DLPack of NumPy", "FixedSizeListArray", "ChunkedArray"])
def test_stores_indexes_and_streams_take_them_too(kind: str, tmp_path: Path) -> None:
    make = KINDS[kind]
    image, text = matrix(0), matrix(1)
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=DIM, text_dim=DIM) as writer:
        writer.append([str(row) for row in range(ROWS)], make(image), make(text))
    np.testing.assert_array_equal(helip.EmbeddingStore.open(tmp_path / "s").image, image)
    index = helip.PairIndex.build(image=make(image), text=make(text), progress=False)
    assert index.query(image=make(image), text=make(text), k=3)[0].shape == (ROWS, 3)
    for kinds in ((image, text), (make(image), make(text))):
        miner = helip.StreamingMiner(k=3)
        found = miner.add(range(ROWS), *kinds)
        assert found.ids.shape == (ROWS, 3)


@pytest.mark.parametrize(
    "kind",
    ["numpy", "DLPack of NumPy", "DLPack of torch", "__array_interface__", "FixedSizeListArray",
     "a slice of it"],
)  # fmt: skip
def test_what_lies_on_the_host_is_not_copied(kind: str) -> None:
    given = KINDS[kind](matrix())
    found = host_array(given, "image")
    again = host_array(given, "image")
    address = [
        x.data_ptr() if isinstance(x, torch.Tensor) else x.__array_interface__["data"][0]
        for x in (found, again)
    ]
    assert address[0] == address[1]


def test_a_read_only_array_is_read_in_place() -> None:
    rows = matrix()
    rows.flags.writeable = False
    for given in (rows, FromInterface(rows)):
        found = host_array(given, "image")
        assert np.shares_memory(found, rows)
        assert not found.flags.writeable


def test_a_producer_on_a_device_is_asked_for_a_copy_on_the_host() -> None:
    given = Exporter(matrix(), device=(2, 0))
    np.testing.assert_array_equal(host_array(given, "image"), matrix())
    assert given.asked[0]["dl_device"] == (1, 0)


def test_bfloat16_comes_by_dlpack_and_as_the_dtype_of_jax() -> None:
    values = torch.from_numpy(matrix()).bfloat16()
    found = host_array(Exporter(values), "image")
    assert torch.equal(found, values)
    as_jax = values.float().numpy().astype(ml_dtypes.bfloat16)
    options: dict[str, Any] = {"k": 5, "device": "cpu", "progress": False}
    wanted = helip.mine(image=values, text=values, **options)
    np.testing.assert_array_equal(
        helip.mine(image=as_jax, text=Exporter(values), **options).scores, wanted.scores
    )


def test_float16_and_float64_of_arrow_keep_their_type() -> None:
    for kind in (pa.float16(), pa.float64()):
        values = matrix().astype(kind.to_pandas_dtype())
        found = host_array(fixed(values, kind), "image")
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)


def with_null_row() -> pa.Array:
    return pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1.0, 2.0]], "image is a list; pass a NumPy array or a torch tensor"),
        (object(), "image is a object; pass"),
        (with_null_row(), r"null in row 1 \(1 nulls\)"),
        (pa.chunked_array([with_null_row()[:1], with_null_row()]), "null in row 2 "),
        (pa.array([[1.0, None], [2.0, 3.0]], pa.list_(pa.float32(), 2)), "a null in row 0"),
        (pa.array([[1.0], [2.0, None]], pa.list_(pa.float32())), "row 1 of image has 2 numbers"),
        (pa.array([[1.0, 2.0], [2.0, 3.0], [4.0]]), "row 2 of image has 1 numbers"),
        (pa.chunked_array([pa.array([[1.0, 2.0]]), pa.array([[4.0]])]), "row 1 of image has 1"),
        (pa.array([["a", "b"]]), "has lists of string"),
        (pa.array([1.0, 2.0]), "an Arrow array of double; it must be one of lists"),
        (pa.table({"a": [[1.0]]}), r"a pyarrow Table; pass one column"),
        (tensors(np.zeros((2, 3, 4), np.float32)), r"tensors of shape \(3, 4\)"),
        (np.ma.masked_equal(np.eye(3), 1.0), "masked values, the first in row 0"),
        (torch.eye(3).to_sparse(), "tensor.to_dense()"),
        (torch.empty(3, 3, device="meta"), "holds no values"),
        (FromArray(TypeError("not implicitly")), r"FromArray that neither .* can read \(not impl"),
        (FromArray(np.array([["a"]])), "image has dtype <U1"),
        (Exporter(None, device=(99, 0)), "neither NumPy nor torch can read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # an object has its address
)
def test_what_is_no_matrix_is_refused_with_its_mend(given: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        helip.mine(image=given, text=matrix(), device="cpu", progress=False)


def test_a_masked_array_without_masked_values_is_an_array() -> None:
    np.testing.assert_array_equal(host_array(np.ma.MaskedArray(matrix()), "image"), matrix())


def test_arrow_without_rows_is_a_matrix_without_rows() -> None:
    kind = pa.list_(pa.float32(), DIM)
    for given in (pa.array([], kind), pa.chunked_array([], kind), fixed(matrix())[:0]):
        assert host_array(given, "image").shape == (0, DIM)
