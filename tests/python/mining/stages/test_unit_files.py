"""Files of units: whole or not there, of one job, and readable by the safetensors package."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from helip.common.errors import CorruptError, MismatchError, StorageError
from helip.mining.stages.unit_files import new_unit_file, open_unit_file

SHAPES = {
    "half": (np.float16, (3, 5)), "ids": (np.int64, (4,)), "none": (np.int32, (0, 2)),
}  # fmt: skip


def write(path: Path) -> None:
    with new_unit_file(path, SHAPES, job="a", notes={"seen": 3}) as file:
        file.put("ids", 2, [7, 8])
        file.put("half", 1, np.full((2, 5), 0.5))
        file.put("ids", 0, [5, 6])
        file.put("none", 0, np.zeros((0, 2)))


def test_rows_come_in_any_order_and_safetensors_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "u.safetensors"
    write(path)
    there = open_unit_file(path, job="a")
    assert there.notes == {"seen": 3}
    assert there["ids"].tolist() == [5, 6, 7, 8]
    assert there["half"].tolist() == [[0.0] * 5, [0.5] * 5, [0.5] * 5]
    for name, values in load_file(path).items():
        np.testing.assert_array_equal(values, there[name])
    assert os.listdir(tmp_path) == ["u.safetensors"]


def test_a_failure_leaves_nothing_and_takes_nothings_place(tmp_path: Path) -> None:
    path = tmp_path / "u.safetensors"
    write(path)
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), new_unit_file(path, SHAPES, job="a") as file:
        file.put("ids", 0, [1 // 0])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["u.safetensors"]


def test_a_unit_may_have_no_rows(tmp_path: Path) -> None:
    shapes = {"ids": (np.int64, (0,)), "scores": (np.float32, (0, 3))}
    with new_unit_file(tmp_path / "u", shapes, job="a"):
        pass
    there = open_unit_file(tmp_path / "u", job="a")
    assert (there["ids"].shape, there["scores"].shape) == ((0,), (0, 3))


def test_a_file_of_another_job_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "u")
    with pytest.raises(MismatchError, match="belongs to the job a, not to b"):
        open_unit_file(tmp_path / "u", job="b")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*none"):
        open_unit_file(tmp_path / "none", job="a")


@pytest.mark.parametrize("length", [0, 7, 40, 100, -1, 1])
def test_a_damaged_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "u"
    write(path)
    content = path.read_bytes()
    path.write_bytes(content + b"0" if length == 1 else content[:length])
    with pytest.raises(CorruptError, match=r"u is damaged: .*run its unit again"):
        open_unit_file(path, job="a")
    path.write_bytes(b"\xff" * 200)
    with pytest.raises(CorruptError, match="u is damaged"):
        open_unit_file(path, job="a")
