"""open_clip's and transformers' CLIP hold the same weights under other names."""

from __future__ import annotations

import pytest
import torch

from helip.common.errors import UnsupportedError
from helip.models.bundle import create_model
from helip.models.conversion import (
    to_open_clip,
    to_open_clip_config,
    to_transformers,
    to_transformers_config,
)
from helip.models.hugging_face import model_from_config
from helip.models.weights import fit_state_dict
from support.transformers_samples import clip_model
from support.tune_samples import CONFIG, RESNET, TEXT, VIT, captions, pictures, same, tiny, weights

VARIANTS = {
    "plain": CONFIG,
    "quick_gelu": {**CONFIG, "quick_gelu": True},
    "custom_text": {**CONFIG, "custom_text": True},
    "mlp_ratio": {**CONFIG, "vision_cfg": {**VIT, "mlp_ratio": 3.0}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_converted_model_gives_the_same_features(variant):
    bundle = create_model("x", config=VARIANTS[variant], from_scratch=True, seed=2)
    ours = bundle.model.eval()
    theirs = model_from_config(to_transformers_config(bundle.config["model_cfg"])).eval()
    fit_state_dict(theirs.model, to_transformers(ours.state_dict()), "converted")
    images, texts = pictures(bundle), captions()
    texts[:, 5], texts[:, 6:] = 49407, 0
    with torch.no_grad():
        mine, its = ours(images, texts), theirs(images, texts)
        torch.testing.assert_close(its["image_features"], mine[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(its["text_features"], mine[1], rtol=1e-5, atol=1e-6)


def test_both_ways_lead_back_to_the_same_bits():
    state = weights(tiny().model)
    assert same(to_open_clip(to_transformers(state)), state)
    theirs = weights(clip_model())
    assert same(to_transformers(to_open_clip(theirs)), theirs)


def test_configurations_lead_back_too():
    config = to_open_clip_config(clip_model().config)
    again = to_transformers_config(config)
    theirs = clip_model().config
    for label in ("vision_config", "text_config"):
        for name, value in again[label].items():
            if name != "projection_dim":
                assert getattr(getattr(theirs, label), name) == value, name


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**CONFIG, "vision_cfg": RESNET}, "a ResNet"),
        ({**CONFIG, "vision_cfg": {**VIT, "pool_type": "avg"}}, "vision_cfg.pool_type = 'avg'"),
        ({**CONFIG, "text_cfg": {**TEXT, "no_causal_mask": True}}, "text_cfg.no_causal_mask"),
        ({**CONFIG, "init_logit_bias": -10.0}, "init_logit_bias = -10.0"),
    ],
)
def test_what_transformers_does_not_have_is_named(config, message):
    with pytest.raises(UnsupportedError, match=message):
        to_transformers_config(config)


def test_what_open_clip_does_not_have_is_named():
    config = clip_model().config
    config.text_config.hidden_act = "relu"
    with pytest.raises(UnsupportedError, match="hidden_act = 'quick_gelu' and 'relu'"):
        to_open_clip_config(config)


def test_a_weight_that_belongs_to_neither_is_named():
    with pytest.raises(UnsupportedError, match=r"text_decoder\.x"):
        to_transformers({"text_decoder.x": torch.zeros(1)})
    with pytest.raises(UnsupportedError, match=r"vision_model\.x"):
        to_open_clip({"vision_model.x": torch.zeros(1)})
