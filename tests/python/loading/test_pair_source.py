"""A loader opens paths of a data set and of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helip.common.errors import Error
from helip.loading.loader import HardPairLoader
from helip.pairs.hard_pairs import HardPairs


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
