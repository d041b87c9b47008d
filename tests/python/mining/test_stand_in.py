"""Random rows that stand for a whole data set take the memory of a block."""

from __future__ import annotations

import resource

import helip
from helip import _core
from helip.mining.stand_in import stand_in_matrices


def test_rows_of_any_number_take_the_memory_of_a_block() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with stand_in_matrices(30_000_000, 64, 48) as (image, text):
        assert (image.rows, image.cols, image.dtype) == (30_000_000, 64, "float16")
        assert (text.rows, text.cols) == (30_000_000, 48)
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert taken < 30_000_000 * 64 * 2 / 10


def test_every_row_can_be_read_and_few_are_alike() -> None:
    with stand_in_matrices(70_001, 16, 12) as (image, text):
        options = _core.MineOptions(method="exact", k=3, threads=1)
        targets = [0, 32_767, 32_768, 70_000]
        ids, _, counts = _core.mine_targets(image, text, targets, options)[:3]
    assert (counts == 3).all()
    assert ((ids >= 0) & (ids < 70_001)).all()


def test_mapped_blocks_are_given_back() -> None:
    def mapped() -> int:
        with open("/proc/self/maps", encoding="utf-8") as lines:
            return sum("helip-plan" in line for line in lines)

    with stand_in_matrices(100_000, 16, 12):
        assert mapped() > 2
    assert mapped() == 0


def test_the_same_rows_are_planned_alike() -> None:
    first, second = (helip.plan(rows=5000, dims=(32, 16), device="cpu") for _ in range(2))
    assert first.filters == second.filters
