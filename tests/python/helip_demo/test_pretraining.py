"""Batches from memory: each row once a pass, the same for a seed, resumable, over white."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helip_demo.pretraining import Batches, is_pretrained


def batches(**options: Any) -> Batches:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10, 3, 16, 16), dtype=torch.uint8, generator=generator)
    settings: dict[str, Any] = {
        "batch_size": 4,
        "passes": 3,
        "seed": 0,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
    }
    return Batches(images, torch.arange(20).reshape(10, 2), **(settings | options))


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in ("image", "text", "index", "target"))


def test_a_pass_has_no_row_twice_and_an_epoch_has_all_passes() -> None:
    loader = batches()
    rows = [batch["index"] for batch in loader]
    assert len(rows) == len(loader) == 6
    for first in (0, 2, 4):
        assert len(torch.cat(rows[first : first + 2]).unique()) == 8


def test_text_and_index_belong_together_and_every_row_is_its_own_target() -> None:
    for batch in batches():
        assert torch.equal(batch["text"][:, 0], 2 * batch["index"])
        assert batch["target"].tolist() == list(range(4))
        assert batch["image"].shape == (4, 3, 16, 16)
        assert batch["image"].dtype == torch.float32


def test_the_seed_decides_every_batch() -> None:
    assert all(map(equal, batches(), batches()))
    assert not all(map(equal, batches(), batches(seed=1)))


@pytest.mark.parametrize("taken", [0, 1, 3, 6])
def test_a_state_goes_on_where_it_was_taken(taken: int) -> None:
    whole = list(batches())
    loader = batches()
    iterator = iter(loader)
    for _ in range(taken):
        next(iterator)
    resumed = batches()
    resumed.load_state_dict(loader.state_dict())
    if taken < len(whole):
        rest = list(resumed)
        assert len(rest) == len(whole) - taken
        assert all(map(equal, rest, whole[taken:]))
    else:
        assert not equal(next(iter(resumed)), whole[0])  # the next epoch has another order


def test_what_augmentation_brings_in_from_outside_is_white() -> None:
    loader = Batches(
        torch.full((4, 3, 16, 16), 255, dtype=torch.uint8),
        torch.zeros(4, 2, dtype=torch.int64),
        batch_size=4,
        passes=8,
        seed=0,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    for batch in loader:
        torch.testing.assert_close(batch["image"], torch.full((4, 3, 16, 16), 2.0))


def test_fewer_rows_than_a_batch_make_a_smaller_batch() -> None:
    loader = batches(batch_size=64, passes=1)
    assert [len(batch["index"]) for batch in loader] == [10]


def test_pictures_are_made_for_the_first_batch_and_once() -> None:
    made: list[int] = []

    def pictures() -> torch.Tensor:
        made.append(1)
        return torch.full((4, 3, 16, 16), 255, dtype=torch.uint8)

    loader = Batches(
        pictures,
        torch.zeros(4, 2, dtype=torch.int64),
        batch_size=2,
        passes=2,
        seed=0,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    assert len(loader) == 4 and not made  # a run that is finished reads no more than this
    assert len(list(loader)) == len(list(loader)) == 4
    assert made == [1]


def test_a_run_is_finished_with_the_checkpoint_of_its_last_step(tmp_path: Path) -> None:
    assert not is_pretrained(tmp_path / "absent", rows=1000, passes=2)
    (tmp_path / "checkpoints" / "step-000005").mkdir(parents=True)
    assert not is_pretrained(tmp_path, rows=1000, passes=2)
    (tmp_path / "checkpoints" / "step-000006").mkdir()
    assert is_pretrained(tmp_path, rows=1000, passes=2)  # 3 batches of 256 a pass
    (tmp_path / "checkpoints" / "step-000002").mkdir()
    assert is_pretrained(tmp_path, rows=40, passes=2)
