"""A loader opens paths of a data set and of a table, and torch data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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


def test_paths_of_data_and_table_are_opened(tmp_path: Path) -> None:
    lines = ["image,caption"]
    for row in range(8):
        Image.new("RGB", (16, 16), (row * 9, 0, 0)).save(tmp_path / f"{row}.png")
        lines.append(f"{row}.png,picture {row}")
    data = tmp_path / "d.csv"
    data.write_text("\n".join(lines) + "\n")
    ids = (np.arange(8)[:, None] + np.arange(1, 3)).astype(np.int32) % 8
    HardPairs.from_arrays(ids, np.full((8, 2), 0.5, dtype=np.float32)).save(tmp_path / "t.pairs")
    paired = HardPairLoader(data, tmp_path / "t.pairs", batch_size=4, workers=0, hard_per_target=1)
    plain = HardPairLoader(str(data), None, batch_size=4, workers=0, hard_per_target=0)
    for loader in (paired, plain):
        batches = list(loader)
        assert loader.stats()["targets"] == 8
        assert {row for batch in batches for row in batch["index"].tolist()} == set(range(8))
    assert paired.stats()["hard_pairs"] == 8
    with pytest.raises(Error, match="there is no table of hard pairs at 'absent'"):
        HardPairLoader(data, "absent", batch_size=4)


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
        rows += len(batch["index"])
    assert rows == N


def test_what_is_no_data_set_is_refused_by_name():
    with pytest.raises(UnsupportedError, match="Bare has no len"):
        loader_of(type("Bare", (), {"__getitem__": None})())
    with pytest.raises(UnsupportedError, match="generator can only be iterated"):
        loader_of(row for row in range(N))
    tensors = loader_of(Bare(lambda image, text: (to_tensor(image), text)))
    with pytest.raises(Error, match=r"Tensor of float32.*leave normalising"):
        list(tensors)
