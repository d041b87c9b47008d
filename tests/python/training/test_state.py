"""A run that goes on with other numbers of ranks takes every target of every epoch once."""

from __future__ import annotations

import random

import pytest
import torch

from helip.common.errors import CancelledError, InvalidArgumentError
from helip.loading.loader import HardPairLoader
from helip.training.recipe import Recipe
from helip.training.trainer import Trainer
from support.train_samples import Colours
from support.tune_samples import table, tiny

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS, STEPS = 14, 26  # so 3 targets a batch by one rank, 2 by two: 8 and 12 batches an epoch


class Ranks:
    """The loaders of all ranks of a run, as one that gives the batches of all of them."""

    resumes_on_other_ranks = True

    def __init__(self, count: int, data: Colours, taken: list[list[int]]) -> None:
        bundle = tiny()
        self._taken = taken
        self._loaders = [
            HardPairLoader(
                data, table(data), batch_size=ROWS // count, hard_per_target=3, seed=1, rank=rank,
                world_size=count, transform=bundle.eval_transform, tokenizer=bundle.tokenizer,
                workers=0,
            )
            for rank in range(count)
        ]  # fmt: skip

    def __len__(self) -> int:
        return len(self._loaders[0])

    def __getattr__(self, name: str):
        return getattr(self._loaders[0], name)

    def set_epoch(self, epoch: int) -> None:
        for loader in self._loaders:
            loader.set_epoch(epoch)

    def load_state_dict(self, state: dict) -> None:
        for loader in self._loaders:
            loader.load_state_dict(state)

    def __iter__(self):
        for parts in zip(*self._loaders, strict=True):
            targets = [part["target"] == torch.arange(len(part["target"])) for part in parts]
            rows = [part["index"][own] for part, own in zip(parts, targets, strict=True)]
            self._taken.append(torch.cat(rows).tolist())
            yield parts[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4, 11, 29])  # fail by a count of steps
def test_no_target_of_an_epoch_is_left_out_or_taken_twice(tmp_path, seed):
    draw, taken, data = random.Random(seed), [], Colours(24)
    while len(taken) < STEPS:
        until = min(STEPS, len(taken) + draw.randint(1, 7))
        trainer = Trainer(
            tiny(), Ranks(draw.choice([1, 2]), data, taken), out=tmp_path, steps=STEPS,
            recipe=Recipe(precision="float32"), checkpoint_every=None, device="cpu",
            progress=False, should_stop=lambda until=until: len(taken) == until,
        )  # fmt: skip
        try:
            trainer.run()
        except CancelledError:
            assert len(taken) == until
        except InvalidArgumentError as refused:  # too few targets are left for all ranks
            if "finish the epoch with fewer ranks" not in str(refused):
                raise
    plain = [row for epoch in range(STEPS) for row in targets_of(epoch, data)]
    for rows in taken:
        assert sorted(rows) == sorted(plain[: len(rows)])
        del plain[: len(rows)]


def targets_of(epoch: int, data: Colours) -> list[int]:
    """The targets of an epoch in their order, by one rank that reads nothing."""
    loader = HardPairLoader(data, table(data), batch_size=4, hard_per_target=3, seed=1, epoch=epoch)
    return [int(index[0]) for index in loader.planned_rows(epoch)]
