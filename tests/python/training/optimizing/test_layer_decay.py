"""Layer-wise decay of the learning rate."""

from __future__ import annotations

import pytest

from helip.models.bundle import create_model
from helip.models.hugging_face import TransformersClip
from helip.models.slip import add_ssl_head
from helip.training.optimizing.layer_decay import layer_scales
from helip.training.optimizing.optimizer import make_optimizer, set_lr
from helip.training.recipe import Recipe
from support.transformers_samples import clip_model
from support.tune_samples import CONFIG, RESNET, TOWERS, tiny

D = 0.5


def with_head():
    model = tiny().model
    add_ssl_head(model, hidden=8, features=4)
    return model


MODELS = {
    "two blocks a tower": lambda: tiny().model,
    "text tower of its own": lambda: (
        create_model("x", config={**CONFIG, "custom_text": True}, from_scratch=True).model
    ),
    "stages of a ResNet": lambda: tiny(RESNET).model,
    "timm": lambda: tiny(TOWERS["timm, linear"]).model,
    "transformers": lambda: TransformersClip(clip_model()),
    "head": with_head,
}
EXPECTED = {
    "two blocks a tower": {  # depths 0, 1, 2, and 3 behind
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
    },
    "text tower of its own": {
        "text.token_embedding.weight": D**3,
        "text.transformer.resblocks.1.ln_1.weight": D,
        "text.text_projection": 1.0,
    },
    "stages of a ResNet": {
        "visual.conv2.weight": D**5,
        "visual.layer1.0.conv1.weight": D**4,
        "visual.layer4.0.conv1.weight": D,
        "visual.attnpool.positional_embedding": 1.0,
    },
    "timm": {
        "visual.trunk.patch_embed.proj.weight": D**7,
        "visual.trunk.blocks.0.attn.qkv.weight": D**6,
        "visual.trunk.blocks.5.attn.qkv.weight": D,
        "visual.trunk.norm.weight": D,  # timm keeps it with the last block
        "visual.head.proj.weight": 1.0,
    },
    "transformers": {
        "model.vision_model.embeddings.class_embedding": D**3,
        "model.vision_model.pre_layrnorm.weight": D**3,
        "model.text_model.encoder.layers.1.mlp.fc1.weight": D,
        "model.visual_projection.weight": 1.0,
        "model.logit_scale": 1.0,
    },
    "head": {"image_mlp.layer1.weight": 1.0},
}


@pytest.mark.parametrize("kind", MODELS)
def test_each_block_moves_more_than_the_one_below(kind):
    model = MODELS[kind]()
    scales = layer_scales(model, D)
    assert {name: scales[name] for name in EXPECTED[kind]} == EXPECTED[kind]
    assert scales.keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("decay", [None, D])
def test_every_parameter_gets_its_rate_and_its_weight_decay_once(decay):
    model = tiny().model
    adamw = make_optimizer(model, Recipe(lr=1.0, layer_decay=decay))
    set_lr(adamw, 0.01)
    scales = layer_scales(model, decay or 1.0)
    assert len(adamw.param_groups) == (8 if decay else 2)
    seen = {}
    for group in adamw.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in seen
            seen[id(parameter)] = group["lr"], group["weight_decay"]
    for name, parameter in model.named_parameters():
        lr, weight_decay = seen[id(parameter)]
        assert lr == pytest.approx(0.01 * scales[name])
        assert weight_decay == (0.1 if parameter.dim() >= 2 else 0.0)
