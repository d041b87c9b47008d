"""What data a loader takes: helip's own, and torch data sets, which it opens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from helip.common.errors import Error, UnsupportedError
from helip.loading.loader import HardPairLoader
from helip.pairs.hard_pairs import HardPairs
from support.loader_samples import to_tensor

N = 61


def loader_of(data, **options) -> HardPairLoader:
    ids = (np.arange(N)[:, None] + np.arange(1, 4)).astype(np.int32) % N
    pairs = HardPairs.from_arrays(ids, np.full(ids.shape, 0.5, np.float32))
    return HardPairLoader(data, pairs, transform=to_tensor, **options)


class Bare:
    """A torch data set of ``make(row)``, without keys and fingerprint."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return N

    def __getitem__(self, row):
        return self.make(Image.new("RGB", (2, 2), (row, 0, 0)), f"caption {row}")


@pytest.mark.parametrize(
    "item",
    [lambda image, text: (image, text), lambda image, text: {"image": image, "caption": text}],
)
def test_a_torch_data_set_is_opened(item):
    loader = loader_of(Bare(item), batch_size=12)
    rows = 0
    for batch in loader:
        assert batch["text"] == [f"caption {row}" for row in batch["index"].tolist()]
        assert batch["image"][:, 0, 0, 0].tolist() == batch["index"].tolist()
        rows += int((batch["target"] == torch.arange(len(batch["target"]))).sum())
    assert rows == N


def test_what_is_no_data_set_is_refused_by_name():
    with pytest.raises(UnsupportedError, match="Bare has no len"):
        loader_of(type("Bare", (), {"__getitem__": None})())
    with pytest.raises(UnsupportedError, match="generator can only be iterated"):
        loader_of(row for row in range(N))
    tensors = loader_of(Bare(lambda image, text: (to_tensor(image), text)))
    with pytest.raises(Error, match=r"Tensor of float32.*leave normalising"):
        list(tensors)
