"""What of a run is refused before it starts."""

from __future__ import annotations

import pytest
import torch

from helip.common.errors import UnsupportedError
from helip.training.recipe import Recipe
from helip.training.trainer import Trainer
from support.loop_samples import FakeLoader
from support.tune_samples import RESNET, same, tiny, weights


def accumulating(out, recipe: Recipe, bundle) -> Trainer:
    return Trainer(
        bundle, FakeLoader(), out=out, recipe=recipe, accumulate=2, device="cpu", progress=False
    )


def test_batch_norms_that_train_are_not_cut_in_chunks(tmp_path):
    bundle = tiny(RESNET)
    before = weights(bundle.model)
    with pytest.raises(UnsupportedError, match=r"such as 'visual.bn1'.*lock_image=True"):
        accumulating(tmp_path, Recipe(lock_text=True), bundle)
    assert same(weights(bundle.model), before)
    assert all(parameter.requires_grad for parameter in bundle.model.parameters())


def test_locked_batch_norms_may_be_cut_in_chunks(tmp_path):
    assert accumulating(tmp_path, Recipe(lock_image=True), tiny(RESNET))


def test_the_batch_norms_of_a_self_supervised_head_are_refused_while_it_trains(tmp_path):
    bundle = tiny()
    bundle.model.head = torch.nn.BatchNorm1d(4)
    with pytest.raises(UnsupportedError, match=r"'head'.*ssl_scale=0"):
        accumulating(tmp_path, Recipe(), bundle)
