"""Worker processes: they stay from epoch to epoch, whatever became of the epoch before."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image

from helip.loading.loader import HardPairLoader


class Colours:
    """Twelve pictures in memory."""

    keys = tuple(f"key-{row}" for row in range(12))
    fingerprint = "a" * 32

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> dict:
        image = Image.new("RGB", (2, 2), (row, 0, 0))
        return {"key": self.keys[row], "image": image, "text": str(row), "index": row}


def who(image: Image.Image) -> torch.Tensor:
    return torch.tensor([np.asarray(image)[0, 0, 0], os.getpid()])


def readers(batches) -> set[int]:
    return {int(pid) for batch in batches for pid in batch["image"][:, 1]}


@pytest.fixture
def loader():
    return HardPairLoader(
        Colours(), None, hard_per_target=0, batch_size=2, transform=who, workers=2, prefetch=1
    )


def test_processes_stay_from_epoch_to_epoch(loader):
    first = readers(loader)
    assert len(first) == 2 and os.getpid() not in first
    assert readers(loader) == first


def test_an_epoch_that_was_broken_off_leaves_nothing_behind(loader):
    whole = [batch["index"].tolist() for batch in loader]
    again = HardPairLoader(
        Colours(), None, hard_per_target=0, batch_size=2, transform=who, workers=2, prefetch=1
    )
    for _ in range(3):
        iterator = iter(again)
        next(iterator)
        iterator.close()
    again.set_epoch(0)
    assert [batch["index"].tolist() for batch in again] == whole
    for batch in again:
        assert batch["image"][:, 0].tolist() == batch["index"].tolist()
