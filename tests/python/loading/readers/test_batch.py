"""BatchReader: what a worker makes of the rows of a batch."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image

from helip.common.errors import InvalidArgumentError, SampleError
from helip.loading.readers.batch import BatchReader, PlannedBatch, renumbered


class FakeData:
    """Ten pictures, row i being i + 1 pixels wide; row 4 cannot be read."""

    def __init__(self):
        self.keys = [f"key-{row}" for row in range(10)]

    def __len__(self):
        return 10

    def __getitem__(self, row):
        if row == 4:
            raise SampleError("cut off", key="key-4", reason="unreadable_image")
        return {"image": Image.new("RGB", (row + 1, 1)), "text": f"caption {row}"}


def width(image):
    return torch.tensor([image.width])


def dice(image):
    return torch.tensor([torch.rand(1).item(), random.random(), np.random.rand()])


def plan(index, target, epoch=0):
    return PlannedBatch(epoch, 0, np.array(index), np.array(target), {"targets": 2})


def test_rows_are_read_in_the_order_of_the_plan():
    read = BatchReader(FakeData(), width, None, 0)[plan([7, 2, 9], [0, 1, 1])]
    assert read.batch["image"].tolist() == [[8], [3], [10]]
    assert read.batch["text"] == ["caption 7", "caption 2", "caption 9"]
    assert read.batch["index"].tolist() == [7, 2, 9]
    assert read.batch["target"].tolist() == [0, 1, 1]
    assert (read.failures, read.planned) == ([], {"targets": 2})


def test_a_row_that_cannot_be_read_is_reported_and_its_hard_pairs_serve_themselves():
    read = BatchReader(FakeData(), width, None, 0)[plan([7, 4, 9, 1], [0, 1, 0, 1])]
    assert read.batch["index"].tolist() == [7, 9, 1]
    assert read.batch["target"].tolist() == [0, 0, 2]
    assert read.failures == [
        {"row": 4, "key": "key-4", "reason": "unreadable_image", "message": "cut off"}
    ]


def test_a_plan_of_which_nothing_can_be_read_gives_no_batch():
    assert BatchReader(FakeData(), width, None, 0)[plan([4], [0])].batch is None


def test_an_augmentation_depends_on_seed_epoch_and_row_not_on_the_batch():
    def image(seed, epoch, index, place):
        made = plan(index, range(len(index)), epoch)
        return BatchReader(FakeData(), dice, None, seed)[made].batch["image"][place].tolist()

    base = image(1, 2, [5, 6, 7], 1)
    assert image(1, 2, [6, 0], 0) == base
    for other in (image(2, 2, [6], 0), image(1, 3, [6], 0), image(1, 2, [7], 0)):
        assert all(one != two for one, two in zip(base, other, strict=True))


def test_the_callers_random_state_is_put_back_even_after_an_error():
    def fails(texts):
        raise RuntimeError("no vocabulary")

    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(RuntimeError, match="no vocabulary"):
        BatchReader(FakeData(), dice, fails, 0)[plan([1], [0])]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]


def test_pictures_of_different_shapes_are_refused_with_the_mend():
    reader = BatchReader(FakeData(), lambda image: torch.zeros(image.width), None, 0)
    with pytest.raises(InvalidArgumentError, match=r"\(2,\), \(3,\).*resize or crop"):
        reader[plan([1, 2], [0, 1])]


def test_renumbering_agrees_with_a_plain_loop():
    generator = np.random.default_rng(0)
    for _ in range(200):
        targets, hard = generator.integers(1, 6), generator.integers(0, 10)
        served = np.sort(generator.integers(0, targets, hard))
        target = np.concatenate([np.arange(targets), served])
        kept = [place for place in range(len(target)) if generator.random() < 0.6]
        expected = [
            kept.index(target[place]) if target[place] in kept else new
            for new, place in enumerate(kept)
        ]
        assert renumbered(target, kept).tolist() == expected


def test_a_reader_can_be_sent_to_spawned_workers():
    reader = pickle.loads(pickle.dumps(BatchReader(FakeData(), width, None, 0)))
    assert reader[plan([3], [0])].batch["image"].tolist() == [[4]]
