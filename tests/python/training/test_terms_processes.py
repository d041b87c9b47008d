"""SLIP's loss over two processes is that of one with the whole batch, gradients too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, torch, torch.distributed as dist
from support.tune_samples import VIT, captions, pictures, tiny
from helip.losses.helip_loss import HelipLoss
from helip.models.slip import add_ssl_head
from helip.training.recipe import Recipe
from helip.training.network import Network, named_outputs
from helip.common.processes import Processes
from helip.training.terms import SslTerm

rank, store = int(sys.argv[1]), sys.argv[2]

def slip():
    model = tiny(VIT).model
    torch.manual_seed(1)
    return add_ssl_head(model, hidden=16, features=8).double().train()

def inputs(rows):
    bundle = tiny(VIT)
    image = pictures(bundle, 7).double()[rows]
    views = torch.stack([pictures(bundle, 7, seed) for seed in (1, 2)]).double()[:, rows]
    return image, captions(7)[rows], views

def gradients(call, model, rows, rank_rows, gather):
    out = named_outputs(call(*inputs(rows)))
    loss = HelipLoss(gather=gather)
    target = torch.arange(len(out["image_features"]))
    losses = loss(out["image_features"], out["text_features"], out["logit_scale"], target,
                  rank_rows=rank_rows)
    term = SslTerm.of(model, Recipe(ssl_scale=0.5)).add(losses, out, rank_rows)
    term["loss"].backward()
    return term, {name: p.grad for name, p in model.named_parameters()}

alone = slip()
whole, expected = gradients(alone, alone, slice(0, 7), [7], False)
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
model = slip()
network = Network(model, torch.device("cpu"), Processes())
own = slice(0, 3) if rank == 0 else slice(3, 7)
part, found = gradients(network, model, own, [3, 4], True)
for name, gradient in expected.items():
    torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12, msg=name)
for name in ("ssl", "ssl_accuracy"):
    torch.testing.assert_close(part[name], whole[name], rtol=1e-12, atol=1e-12)
mean = Processes().mean(part["loss"].detach().clone())
torch.testing.assert_close(mean, whole["loss"].detach(), rtol=1e-12, atol=1e-12)
for name, value in alone.state_dict().items():
    torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-12, atol=1e-12)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_loss_gradients_and_statistics_are_those_of_the_whole_batch(tmp_path):
    store = str(tmp_path / "store")
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), store],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for rank in (0, 1)
    ]
    for job in jobs:
        _, errors = job.communicate(timeout=240)
        assert job.returncode == 0, errors
