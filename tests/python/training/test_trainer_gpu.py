"""Training on a GPU: runs where torch sees one, and is skipped elsewhere."""

from __future__ import annotations

import pytest
import torch

import helip
from helip.models.bundle import create_model
from helip.training.metrics import read_metrics
from helip.training.network import is_sharded
from helip.training.recipe import Recipe
from support.loop_samples import trainer, weights
from support.train_samples import CONFIG, Colours, table
from support.tune_samples import same

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_precision_trains(tmp_path, precision, accumulate):
    recipe = Recipe(lr=1e-2, warmup=2, seed=5, precision=precision)
    trainer(tmp_path, device="cuda", recipe=recipe, accumulate=accumulate).run()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[-1]["clip"] < rows[0]["clip"]
    assert ("loss_factor" in rows[0]) == (precision == "float16")


def test_a_step_synchronises_with_no_device(tmp_path):
    run = trainer(tmp_path, device="cuda", steps=4)
    step = run._train_on

    def unwaiting(*arguments):
        mode = "error" if run._at.step else "default"  # the first one makes what all others use
        torch.cuda.set_sync_debug_mode(mode)
        try:
            step(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    run._train_on = unwaiting
    run.run()


def test_batches_are_read_into_pinned_memory(tmp_path):
    seen = []

    class Keep:
        def after_step(self, model, step):
            seen.append(loader_batch["image"].is_pinned())

        state_dict = load_state_dict = lambda self, *_: {}

    loader_batch: dict = {}
    original = helip.HardPairLoader.__iter__

    def watched(self):
        for batch in original(self):
            loader_batch.update(batch)
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helip.HardPairLoader, "__iter__", watched)
        data = Colours()
        helip.train(
            model=create_model("tiny", config=CONFIG, seed=3, from_scratch=True),
            data=data, pairs=table(data),
            out=tmp_path, batch_size=8, steps=2, device="cuda", progress=False,
            hooks={"keep": Keep()},
        )  # fmt: skip
    assert seen == [True, True]


def test_a_compiled_model_trains(tmp_path):
    trainer(tmp_path, device="cuda", compiled=True, steps=3).run()
    torch._dynamo.reset()


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_processes_of_several_gpus_train_the_weights_of_one(tmp_path, parallel):
    if torch.cuda.device_count() < 2:
        pytest.skip("NCCL between GPUs needs two")
    import torch.multiprocessing as mp

    mp.spawn(_by_nccl, (str(tmp_path), parallel), nprocs=2)
    assert (tmp_path / "sharded").read_text() == str(parallel == "fsdp")
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert rows[-1]["clip"] < rows[0]["clip"]


def _by_nccl(rank: int, folder: str, parallel: str) -> None:
    import os
    from pathlib import Path

    from helip.common.processes import join_processes

    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517",
    }  # fmt: skip
    with join_processes("cuda") as device:
        run = trainer(Path(folder) / "run", device=str(device), parallel=parallel)
        run.run()
        if rank == 0:
            sharded = any(is_sharded(p) for p in run.model.parameters())
            (Path(folder) / "sharded").write_text(str(sharded))


def test_a_resumed_run_holds_the_same_state(tmp_path):
    first = trainer(tmp_path, device="cuda", steps=4).run()
    again = trainer(tmp_path, device="cuda", steps=4).run()
    assert same(weights(first.model), weights(again.model))
