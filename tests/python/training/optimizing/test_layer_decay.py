"""Layer-wise decay of the learning rate."""

from __future__ import annotations

import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.models.bundle import create_model
from helip.models.hugging_face import TransformersClip
from helip.models.slip import add_ssl_head
from helip.training.optimizing.layer_decay import layer_scales
from helip.training.optimizing.optimizer import make_optimizer, set_lr
from helip.training.recipe import Recipe
from support.transformers_samples import clip_model
from support.tune_samples import CONFIG, RESNET, TOWERS, tiny

D = 0.5


def test_each_block_moves_more_than_the_one_below():
    scales = layer_scales(tiny().model, D)  # two blocks a tower: depths 0, 1, 2, and 3 behind
    expected = {
        "visual.conv1.weight": D**3,
        "visual.class_embedding": D**3,
        "visual.positional_embedding": D**3,
        "visual.ln_pre.bias": D**3,
        "visual.transformer.resblocks.0.attn.in_proj_weight": D**2,
        "visual.transformer.resblocks.1.mlp.c_fc.weight": D,
        "visual.ln_post.weight": 1.0,
        "visual.proj": 1.0,
        "token_embedding.weight": D**3,
        "positional_embedding": D**3,
        "transformer.resblocks.0.ln_1.weight": D**2,
        "transformer.resblocks.1.ln_1.weight": D,
        "ln_final.weight": 1.0,
        "text_projection": 1.0,
        "logit_scale": 1.0,
    }
    assert {name: scales[name] for name in expected} == expected
    assert scales.keys() == dict(tiny().model.named_parameters()).keys()


def test_a_text_tower_of_its_own_is_a_tower_too():
    scales = layer_scales(
        create_model("x", config={**CONFIG, "custom_text": True}, from_scratch=True).model, D
    )
    assert scales["text.token_embedding.weight"] == D**3
    assert scales["text.transformer.resblocks.1.ln_1.weight"] == D
    assert scales["text.text_projection"] == 1.0


def test_the_stages_of_a_resnet_are_its_blocks():
    scales = layer_scales(tiny(RESNET).model, D)
    assert scales["visual.conv2.weight"] == D**5
    assert scales["visual.layer1.0.conv1.weight"] == D**4
    assert scales["visual.layer4.0.conv1.weight"] == D
    assert scales["visual.attnpool.positional_embedding"] == 1.0


def test_timm_towers_are_ordered_by_timm():
    scales = layer_scales(tiny(TOWERS["timm, linear"]).model, D)
    assert scales["visual.trunk.patch_embed.proj.weight"] == D**7
    assert scales["visual.trunk.blocks.0.attn.qkv.weight"] == D**6
    assert scales["visual.trunk.blocks.5.attn.qkv.weight"] == D
    assert scales["visual.trunk.norm.weight"] == D  # timm keeps it with the last block
    assert scales["visual.head.proj.weight"] == 1.0


def test_models_of_transformers_too():
    scales = layer_scales(TransformersClip(clip_model()), D)
    assert scales["model.vision_model.embeddings.class_embedding"] == D**3
    assert scales["model.vision_model.pre_layrnorm.weight"] == D**3
    assert scales["model.text_model.encoder.layers.1.mlp.fc1.weight"] == D
    assert scales["model.visual_projection.weight"] == 1.0
    assert scales["model.logit_scale"] == 1.0


def test_a_head_keeps_the_whole_rate():
    model = tiny().model
    add_ssl_head(model, hidden=8, features=4)
    assert layer_scales(model, D)["image_mlp.layer1.weight"] == 1.0


def test_every_parameter_gets_its_rate_and_its_weight_decay_once():
    model = tiny().model
    adamw = make_optimizer(model, Recipe(lr=1.0, layer_decay=D))
    set_lr(adamw, 0.01)
    scales = layer_scales(model, D)
    seen = {}
    for group in adamw.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in seen
            seen[id(parameter)] = group["lr"], group["weight_decay"]
    for name, parameter in model.named_parameters():
        lr, decay = seen[id(parameter)]
        assert lr == pytest.approx(0.01 * scales[name])
        assert decay == (0.1 if parameter.dim() >= 2 else 0.0)


def test_without_decay_there_are_two_groups_of_the_same_rate():
    adamw = make_optimizer(tiny().model, Recipe(lr=1.0))
    set_lr(adamw, 0.02)
    assert [group["lr"] for group in adamw.param_groups] == [0.02, 0.02]


@pytest.mark.parametrize("decay", [0.0, 1.5, float("nan")])
def test_a_decay_outside_its_bounds_is_refused(decay):
    with pytest.raises(InvalidArgumentError, match="layer_decay is"):
        layer_scales(torch.nn.Linear(1, 1), decay)
