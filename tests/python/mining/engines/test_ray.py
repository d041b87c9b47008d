"""What the engine of Ray refuses, before there is a cluster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError


def test_partition_of_arrays_is_not_mined_here_in_silence() -> None:
    rows = np.random.default_rng(0).normal(size=(5000, 8)).astype(np.float32)
    with pytest.raises(InvalidArgumentError, match="engine is 'ray', which reads a store"):
        helip.mine(image=rows, text=rows, method="partition", engine="ray", progress=False)


def test_what_was_begun_without_ray_goes_on_without_it(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(5000, 8))
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=8) as writer:
        writer.append([str(i) for i in range(5000)], rows, rows)
    begun = tmp_path / "p.checkpoint" / "manifest.json"
    begun.parent.mkdir()
    begun.write_text("{}")
    with pytest.raises(MismatchError, match="begun without Ray; go on with engine='threads'"):
        helip.mine(
            tmp_path / "s", out=tmp_path / "p", method="partition", engine="ray", progress=False
        )
