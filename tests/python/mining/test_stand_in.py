"""Random rows that stand for a whole data set take the memory of a block."""

from __future__ import annotations

import resource

import pytest

import helip
from helip import _core
from helip.common.errors import OutOfMemoryError
from helip.mining import stand_in
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


@pytest.mark.parametrize("dims", [(3001, 1024), (700_001, 3)], ids=str)
def test_long_rows_take_no_more_memory(
    dims: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in, "_BLOCK_BYTES", 30_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with stand_in_matrices(200, *dims) as (image, text):
        assert (image.cols, text.cols) == dims
        options = _core.MineOptions(method="exact", k=3, threads=1, image_max=1, text_max=1)
        ids, _, counts = _core.mine_targets(image, text, [0, 1, 199], options)[:3]
    assert (counts == 3).all()
    assert ((ids >= 0) & (ids < 200)).all()
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert taken < 400_000_000  # 17 steps of 2048 such rows have 49 GB


def test_many_maps_are_saved_by_a_longer_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in, "_MOST_MAPS", 4)
    rows = 16 * 2048 * 4 + 1
    drawn, times, stride = stand_in._shape(rows, 16, side=0)
    assert (drawn, times, stride) == (16 * 2048, 2, 32)
    with stand_in_matrices(rows, 16, 12) as (image, text):
        options = _core.MineOptions(method="exact", k=5, threads=1, image_max=1, text_max=1)
        ids = _core.mine_targets(image, text, [0], options)[0]
    # Image 0 lies again after each block, also within one that holds it twice.
    assert ids.shape == (1, 5)
    assert ((ids >= 0) & (ids < rows)).all()


def test_rows_that_would_take_more_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(stand_in, "_fill", lambda *_: drawn.append(1))
    with (
        pytest.raises(
            OutOfMemoryError, match=r"100,000,000,000 and dims has 768.*plan [\d,]+ rows"
        ),
        stand_in_matrices(10**11, 768, 768),
    ):
        pass
    assert not drawn


def test_memory_that_is_used_up_is_an_error_of_helip(monkeypatch: pytest.MonkeyPatch) -> None:
    def used_up(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(stand_in, "_fill", used_up)
    with pytest.raises(OutOfMemoryError, match="100 rows of 8 and 4 dimensions"):
        helip.plan(rows=100, dims=(8, 4))
