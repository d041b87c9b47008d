"""A model that is measured is handed back as it was."""

from __future__ import annotations

import torch

from helip.evaluation.encoding import Subject
from helip.evaluation.options import EvaluateOptions
from helip.models.locking import lock_towers, train_mode
from support.tune_samples import RESNET, pictures, tiny, weights


def test_evaluating_in_mid_run_thaws_no_frozen_batch_norm():
    bundle = tiny(RESNET)
    lock_towers(bundle.model, image=True)
    train_mode(bundle.model)
    modes = {name: module.training for name, module in bundle.model.named_modules()}
    assert modes[""] and not modes["visual.bn1"]
    subject = Subject.of(bundle, None, None, EvaluateOptions(device="cpu"))
    with subject.ready():
        assert not any(module.training for module in bundle.model.modules())
    assert {name: m.training for name, m in bundle.model.named_modules()} == modes
    before = weights(bundle.model)["visual.bn1.running_mean"]
    with torch.no_grad():
        bundle.model.visual(pictures(bundle))
    assert torch.equal(bundle.model.visual.bn1.running_mean, before)
