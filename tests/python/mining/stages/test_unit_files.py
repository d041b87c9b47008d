"""Files of units: whole or not there, of one job, and readable by the safetensors package."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from helip.common.errors import CorruptError, MismatchError, StorageError
from helip.mining.stages import unit_files
from helip.mining.stages.unit_files import open_unit_file, write_unit_file

ARRAYS = {
    "half": np.float16([[0] * 5, [0.5] * 5, [0.5] * 5]), "ids": np.array([5, 6, 7, 8]),
    "none": np.zeros((0, 2), np.int32),
}  # fmt: skip


def write(path: Path) -> None:
    write_unit_file(path, ARRAYS, job="a", notes={"seen": 3})


def test_safetensors_reads_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "u.safetensors"
    write(path)
    there = open_unit_file(path, job="a")
    assert there.notes == {"seen": 3}
    arrays = load_file(path)
    assert arrays.pop("checksums").shape == (2,)  # of one block, and of the header
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(values, there[name])
        np.testing.assert_array_equal(values, arrays[name])
    assert os.listdir(tmp_path) == ["u.safetensors"]


def test_a_failure_leaves_nothing_and_takes_nothings_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "u.safetensors"
    write(path)
    before = path.read_bytes()
    monkeypatch.setattr(unit_files, "_of_head", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        write_unit_file(path, {"ids": np.zeros(1)}, job="a")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["u.safetensors"]


def test_a_unit_may_have_no_rows(tmp_path: Path) -> None:
    arrays = {"ids": np.zeros(0, np.int64), "scores": np.zeros((0, 3), np.float32)}
    write_unit_file(tmp_path / "u", arrays, job="a")
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
    with pytest.raises(CorruptError, match=r"u is damaged: .*; remove it, and the same call"):
        open_unit_file(path, job="a")
    path.write_bytes(b"\xff" * 200)
    with pytest.raises(CorruptError, match="u is damaged"):
        open_unit_file(path, job="a")


@pytest.mark.parametrize(
    ("old", "new"), [(b"[3, 5]", b"[1e9]"), (b"[4]", b"[9" + b"9" * 40 + b"]")]
)
def test_a_header_with_other_numbers_is_damage(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "u"
    write(path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].rstrip().replace(old.replace(b" ", b""), new).replace(old, new)
    assert new in header
    header = header.ljust(-(-len(header) // 8) * 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    with pytest.raises(CorruptError, match="u is damaged"):
        open_unit_file(path, job="a")


BLOCK = 1 << 16


@pytest.mark.parametrize("place", range(6))
def test_a_flipped_bit_is_found_when_it_is_read(tmp_path: Path, place: int) -> None:
    path = tmp_path / "solve-0" / "000003.safetensors"
    rows = np.arange(40_000).reshape(-1, 2)  # five blocks
    write_unit_file(path, {"rows": rows, "few": np.int8([1, 2, 3])}, job="a")
    whole = path.read_bytes()
    begin = len(whole) - rows.nbytes - 3
    offset = [9, begin - 3, begin, begin + BLOCK, begin + rows.nbytes - 1, len(whole) - 1][place]
    path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1 :])
    words = r"000003.safetensors is damaged: .*; remove it, and the same call, or the stage solve-0"
    if place < 2:  # the header, and the checksums
        with pytest.raises(CorruptError, match=words):
            open_unit_file(path, job="a")
        return
    there = open_unit_file(path, job="a")
    name = "few" if place == 5 else "rows"
    each = 1 if place == 5 else 16
    at = (offset - (len(whole) - 3 if place == 5 else begin)) // each
    block = slice(at, at + 1)
    for index in (block, np.array([0, at]), slice(None)):
        with pytest.raises(CorruptError, match=words):
            there[name][index]
    if place == 3:
        np.testing.assert_array_equal(there["rows"][: BLOCK // 16], rows[: BLOCK // 16])
        far = np.array([19_999, 0, 15_000])
        np.testing.assert_array_equal(there["rows"][far, :1], rows[far, :1])


def test_rows_that_cross_a_block_are_checked_in_both(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(7, 30_000))  # almost four blocks a row
    write_unit_file(tmp_path / "u", {"rows": rows}, job="a")
    whole = (tmp_path / "u").read_bytes()
    for row in range(7):
        offset = len(whole) - rows.nbytes + (row * 30_000 + 29_999) * 8
        (tmp_path / "u").write_bytes(whole[:offset] + b"~" + whole[offset + 1 :])
        there = open_unit_file(tmp_path / "u", job="a")
        with pytest.raises(CorruptError, match="do not have their checksum"):
            there["rows"][np.array([row])]
        if row > 1:
            np.testing.assert_array_equal(there["rows"][np.array([row - 2, 0])], rows[[row - 2, 0]])


def test_a_file_that_is_cut_within_its_page_after_it_was_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "u.safetensors"
    write(path)
    there = open_unit_file(path, job="a")
    assert there["ids"][[3]].tolist() == [8]
    size = path.stat().st_size
    os.truncate(path, size - 8)
    with pytest.raises(CorruptError, match=f"it has {size - 8:,} bytes now, and had {size:,}"):
        there["ids"][[3]]
