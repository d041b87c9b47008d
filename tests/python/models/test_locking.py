"""Locked towers."""

from __future__ import annotations

import pytest
import torch

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.models.locking import lock_towers, train_mode, training_batch_norms
from helip.models.slip import HEAD, add_ssl_head
from support.tune_samples import RESNET, TOWERS, VIT, captions, pictures, tiny, weights

TEXT_NAMES = ("transformer.", "token_embedding", "positional_embedding", "ln_final", "text_proj")


def trained(model) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("tower", [VIT, RESNET, TOWERS["timm, linear"]])
def test_a_locked_image_tower_has_no_gradient_and_the_other_one_has(tower):
    bundle = tiny(tower)
    model = bundle.model
    lock_towers(model, image=True)
    out = model(pictures(bundle), captions())
    (out[0] * out[1]).sum().backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    # The projection on a timm tower is no part of what open_clip locks, up to 3.3.
    assert {n for n in with_gradient if n.startswith("visual.")} <= {"visual.head.proj.weight"}
    assert {n for n in with_gradient if n.startswith(TEXT_NAMES)}


def test_a_locked_text_tower_has_no_gradient():
    model = tiny().model
    lock_towers(model, text=True)
    assert not any(name.startswith(TEXT_NAMES) for name in trained(model))
    assert "logit_scale" in trained(model)


def test_the_last_groups_may_stay_unlocked():
    model = tiny().model
    lock_towers(model, image=True, image_unlocked_groups=2, text=True, text_unlocked_layers=2)
    left = trained(model)
    assert "visual.proj" in left
    assert {n.split(".")[3] for n in left if n.startswith("visual.transformer")} == {"1"}
    assert not any(name.startswith("token_embedding") for name in left)
    assert any(name.startswith("transformer.resblocks.1") for name in left)
    assert not any(name.startswith("transformer.resblocks.0") for name in left)


@pytest.mark.parametrize("unlocked", [4, 99])
def test_to_unlock_all_of_a_tower_is_refused(unlocked):
    with pytest.raises(InvalidArgumentError, match="leaves nothing of the image tower locked"):
        lock_towers(tiny().model, image=True, image_unlocked_groups=unlocked)


def test_the_last_groups_of_a_resnet_may_stay_unlocked_where_open_clip_has_groups():
    model = tiny(RESNET).model
    if not hasattr(model.visual, "layer_groups"):  # up to 3.3
        with pytest.raises(UnsupportedError, match="lock_image_unlocked_groups = 1"):
            lock_towers(model, image=True, image_unlocked_groups=1)
        return
    lock_towers(model, image=True, image_unlocked_groups=2)
    left = {name.split(".")[1] for name in trained(model) if name.startswith("visual.")}
    assert left == {"attnpool", "layer4"}


def test_the_last_groups_of_a_timm_tower_may_stay_unlocked():
    model = tiny(TOWERS["timm, linear"]).model
    lock_towers(model, image=True, image_unlocked_groups=2)
    left = {name for name in trained(model) if name.startswith("visual.")}
    assert "visual.head.proj.weight" in left and any("trunk.norm" in name for name in left)
    assert not any(name.startswith("visual.trunk.patch_embed") for name in left)


def test_a_negative_number_is_refused():
    with pytest.raises(InvalidArgumentError, match="lock_text_unlocked_layers is -1"):
        lock_towers(tiny().model, text=True, text_unlocked_layers=-1)


def test_batch_norms_alone_may_be_locked():
    bundle = tiny(RESNET)
    model = bundle.model
    lock_towers(model, batch_norms=True)
    train_mode(model)
    before = weights(model)
    loss = model.encode_image(pictures(bundle)).square().sum()
    loss.backward()
    norms = {
        name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)
    }
    assert norms
    for name, parameter in model.visual.named_parameters(prefix="visual"):
        assert (parameter.grad is None) == (name.rpartition(".")[0] in norms), name
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


def test_to_lock_batch_norms_where_there_are_none_is_refused():
    with pytest.raises(InvalidArgumentError, match="no batch norm of the towers trains"):
        lock_towers(tiny().model, batch_norms=True)


def test_the_batch_norms_of_a_self_supervised_head_go_on_training():
    model = tiny(RESNET).model
    add_ssl_head(model)
    lock_towers(model, batch_norms=True)
    assert training_batch_norms(model)
    assert all(name.startswith(f"{HEAD}.") for name in training_batch_norms(model))


def test_locked_batch_norms_keep_their_statistics():
    bundle = tiny(RESNET)
    model = bundle.model
    lock_towers(model, image=True)
    train_mode(model)
    before = weights(model)
    first = model.encode_image(pictures(bundle))
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())
    assert torch.equal(first, model.eval().encode_image(pictures(bundle)))
    free = tiny(RESNET)
    train_mode(free.model)
    before = weights(free.model)
    free.model.encode_image(pictures(free))
    assert not all(torch.equal(v, before[name]) for name, v in weights(free.model).items())
