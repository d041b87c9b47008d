"""Runs of two processes that mine while they train, against one process with the whole batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

import helip
from helip.mining.streaming import StreamingMiner
from helip.models.bundle import create_model
from helip.training.metrics import read_metrics
from support.loop_samples import FakeLoader, trainer
from support.process_group import run
from support.train_samples import CONFIG, Colours

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = {"memory": 40, "k": 5, "image_max": 1.0, "text_max": 1.0}


class Halves(FakeLoader):
    """Every process's part of a batch, of different sizes, without noise."""

    def _batches(self):
        for number in range(len(self)):
            index = torch.randperm(40, generator=torch.Generator().manual_seed(number))[:8]
            if dist.is_initialized():
                index = index[:2] if dist.get_rank() == 0 else index[2:]
            yield {
                "image": self.images[index],
                "text": self.texts[index],
                "index": index,
                "target": torch.arange(len(index)),
            }


def frozen(batch):
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(2, 40, 6)).astype(np.float32)
    return rows[0][batch["index"]], rows[1][batch["index"]]


def mined(folder: Path, embed) -> dict[str, np.ndarray]:
    miner = StreamingMiner(rows=40, **OPTIONS)
    trainer(folder, loader=Halves(), miner=miner, embed=embed, epochs=1).run()
    return miner.state_dict()


def two(rank: int, folder: Path) -> list[dict[str, np.ndarray]]:
    return [mined(folder / "frozen", frozen), mined(folder / "own", None)]


def test_each_process_mines_what_all_have_seen(tmp_path):
    first, second = run(two, tmp_path, tmp_path)
    one = [mined(tmp_path / "one frozen", frozen), mined(tmp_path / "one own", None)]
    for own, other, whole in zip(first, second, one, strict=True):
        for name in whole:
            assert own[name].tobytes() == other[name].tobytes(), name
        np.testing.assert_array_equal(own["ids"], whole["ids"])
        np.testing.assert_allclose(own["image"], whole["image"], atol=1e-4)
    for name, value in one[0].items():  # frozen rows are the same bits, and so is what is found
        assert first[0][name].tobytes() == value.tobytes(), name


def drawn(rank: int, folder: Path) -> bytes:
    """A run whose batches are drawn from what was mined."""
    miner = StreamingMiner(**OPTIONS)
    helip.train(
        model=create_model("tiny", config=CONFIG, from_scratch=True, seed=3),
        data=Colours(40), pairs=miner,
        out=folder / "run", batch_size=16, epochs=3, device="cpu", progress=False, lr=1e-3,
    )  # fmt: skip
    return b"".join(value.tobytes() for value in miner.state_dict().values())


@pytest.mark.slow
def test_processes_draw_from_the_same_pairs_while_they_grow(tmp_path):
    first, second = run(drawn, tmp_path, tmp_path)
    assert first == second
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert rows[0]["margin"] == 0 < rows[-1]["margin"]
    assert rows[-1]["known_targets"] > 20
