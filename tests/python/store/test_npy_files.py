"""Matrices are mapped from .npy files, and what else such a file may hold is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from helip.common.errors import CorruptError, InvalidArgumentError, StorageError
from helip.store.npy_files import NpyMatrix, map_npy


def test_a_matrix_is_mapped_read_only(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float16)
    np.save(tmp_path / "m.npy", matrix)
    found = map_npy(tmp_path / "m.npy")
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, matrix)


def test_what_is_no_matrix_is_refused_with_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    np.save(tmp_path / "flat.npy", np.ones(3))
    np.save(tmp_path / "columns.npy", np.asfortranarray(np.ones((4, 3))))
    rows = tmp_path / "rows.npy"
    np.save(rows, np.ones((4, 3)))
    np.savez(tmp_path / "many.npz", a=np.ones((2, 2)))
    (tmp_path / "cut.npy").write_bytes(rows.read_bytes()[:140])
    for name, message in {
        "objects.npy": "pickled Python objects",
        "flat.npy": r"shape \(3,\)",
        "columns.npy": "lies in memory by columns .*; save numpy.ascontiguousarray",
        "many.npz": "is no .npy file",
    }.items():
        with pytest.raises(InvalidArgumentError, match=message) as error:
            map_npy(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
    with pytest.raises(CorruptError, match=r"cut\.npy has .* bytes, and its header tells of"):
        map_npy(tmp_path / "cut.npy")
    with pytest.raises(StorageError, match=r"none\.npy"):
        map_npy(tmp_path / "none.npy")


def test_a_member_that_claims_more_than_its_file_can_hold_is_damage(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1, 1 << 28)}
    )
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    content = bytearray((tmp_path / "m.npz").read_bytes())
    at = content.index(b"PK\1\2") + 24  # of its size, in the directory
    content[at : at + 4] = b"\xf0\xff\xff\xff"
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(CorruptError, match=r"a\.npy is said to have 4,294,967,280 bytes"):
        NpyMatrix.open(tmp_path / "m.npz", "a")
