"""Warm statistics of several processes (gloo, on the CPU), against one with the whole batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helip.common.errors import CancelledError
from helip.common.processes import Processes
from helip.training.checkpoints import read_checkpoint
from helip.training.metrics import read_metrics
from support.loop_samples import trainer, weights
from support.process_group import run
from support.tune_samples import same
from support.warm_samples import Doubles, doubles, recipe

pytestmark = pytest.mark.usefixtures("one_thread")


class Half(Doubles):
    """This process's half of the rows."""

    def _batches(self):
        places = Processes()
        for batch in super()._batches():
            rows = slice(4 * places.rank, 4 * places.rank + 4) if places.count > 1 else slice(None)
            batch = {name: value[rows] for name, value in batch.items()}
            yield {**batch, "target": batch["target"] - 4 * places.rank}

    def __iter__(self):
        for batch in self._batches():  # without the noise, which differs between processes
            yield {**batch, "image": self.images[batch["index"]].double()}


def several(rank: int, folder: Path) -> list[bool]:
    kept = []
    for parallel in ("ddp", "fsdp"):
        for accumulate in (1, 2):
            options = {"parallel": parallel, "accumulate": accumulate, "recipe": recipe()}
            out = folder / f"{parallel}-{accumulate}"
            model = doubles()
            before = weights(model)
            with pytest.raises(CancelledError, match="of the warm statistics"):
                trainer(
                    folder / "cut", model=model, loader=Half(), **options,
                    should_stop=(lambda: True) if rank else None,
                ).run()  # fmt: skip
            now = model.model.state_dict().items()
            whole = {n: v.full_tensor() if hasattr(v, "full_tensor") else v for n, v in now}
            kept.append(same(before, whole))
            trainer(out, model=doubles(), loader=Half(), steps=3, **options).run()
    return kept


@pytest.mark.slow
def test_two_processes_take_the_moments_of_one_and_keep_the_weights(tmp_path):
    kept = run(several, tmp_path, tmp_path)
    assert np.all(kept)
    one = trainer(tmp_path / "one", model=doubles(), loader=Half(), steps=3, recipe=recipe()).run()
    theirs = read_checkpoint(one.checkpoint)
    for name in ("ddp-1", "ddp-2", "fsdp-1", "fsdp-2"):
        ours = read_checkpoint(tmp_path / name / "checkpoints" / "step-000003")
        for part in ("optimizer", "model"):
            mine, right = ours.tensors[part], theirs.tensors[part]
            assert mine.keys() == right.keys()
            for key, value in right.items():
                torch.testing.assert_close(mine[key], value, rtol=1e-7, atol=1e-9, msg=key)
        assert read_metrics(tmp_path / name / "metrics.jsonl")[0]["rows"] == 24
