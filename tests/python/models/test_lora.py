"""LoRA: what is adapted, what stays frozen, and merging."""

from __future__ import annotations

import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.models.hugging_face import TransformersClip
from helip.models.lora import Lora, add_lora, has_lora, lora_targets, merge_lora
from helip.models.slip import add_ssl_head
from support.transformers_samples import clip_model
from support.tune_samples import RESNET, TOWERS, VIT, captions, same, tiny, weights

pytest.importorskip("peft")

KINDS = ("open_clip", "timm", "transformers")


def model_of(kind: str) -> torch.nn.Module:
    if kind == "transformers":
        return TransformersClip(clip_model())
    return tiny(VIT if kind == "open_clip" else TOWERS["timm, linear"]).model


def inputs(kind: str):
    side = 160 if kind == "timm" else 16
    texts = captions(3)
    texts[:, 6], texts[:, 7] = 49407, 0
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1)), texts


def step(model: torch.nn.Module, kind: str, lr: float = 0.05) -> None:
    """One step of gradient descent on something that moves every feature."""
    image, text = inputs(kind)
    features = torch.cat([model.encode_image(image), model.encode_text(text)])
    trained = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(features.square().sum(), trained, allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(trained, gradients, strict=True):
            if gradient is not None:
                parameter -= lr * gradient


def features(model: torch.nn.Module, kind: str) -> torch.Tensor:
    image, text = inputs(kind)
    with torch.no_grad():
        return torch.cat([model.encode_image(image), model.encode_text(text)])


@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_give_the_features_of_the_adapted_model(kind):
    torch.manual_seed(0)
    model = model_of(kind).eval()
    names = set(model.state_dict())
    start = features(model, kind)
    add_lora(model, Lora(rank=2, alpha=8.0))
    torch.testing.assert_close(features(model, kind), start)  # one factor begins at zero
    for _ in range(3):
        step(model, kind)
    adapted = features(model, kind)
    assert float((adapted - start).abs().max()) > 1e-3
    merge_lora(model)
    assert set(model.state_dict()) == names
    assert not has_lora(model)
    torch.testing.assert_close(features(model, kind), adapted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_beside_the_products_keep_their_bits(kind):
    torch.manual_seed(0)
    model = model_of(kind).train()
    add_lora(model, Lora(rank=2))
    before = weights(model)
    for _ in range(3):
        step(model, kind)
    after = weights(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all("lora_" in name for name in moved), sorted(moved)[:5]


def test_dropout_drops_while_training_alone():
    torch.manual_seed(0)
    model = model_of("transformers")
    add_lora(model, Lora(rank=2, dropout=0.5))
    step(model, "transformers", lr=1.0)
    _, text = inputs("transformers")
    model.train()
    assert not torch.equal(model.encode_text(text), model.encode_text(text))
    model.eval()
    assert torch.equal(model.encode_text(text), model.encode_text(text))


@pytest.mark.parametrize(("part", "drops"), [("mlp", True), ("attention", False)])
def test_of_open_clips_transformers_dropout_drops_in_the_mlp_alone(part, drops):
    torch.manual_seed(0)
    model = model_of("open_clip").train()
    add_lora(model, Lora(rank=2, dropout=0.5, parts=(part,)))
    step(model, "open_clip", lr=1.0)
    images, _ = inputs("open_clip")
    assert torch.equal(model.encode_image(images), model.encode_image(images)) is not drops


def adapted(model: torch.nn.Module, parts: tuple[str, ...] = ("attention", "mlp")) -> set[str]:
    """Names of the weights that merging changes once no thin matrix is zero."""
    before = weights(model)
    add_lora(model, Lora(rank=2, parts=parts))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.fill_(0.1)
    merge_lora(model)
    after = weights(model)
    assert after.keys() == before.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("tower", [VIT, VIT | {"qk_norm": True}], ids=["plain", "custom"])
def test_every_attention_and_mlp_of_both_towers_is_adapted(tower):
    blocks = [f"{tower}transformer.resblocks.{i}." for tower in ("", "visual.") for i in (0, 1)]
    attention = {b + f"attn.{w}" for b in blocks for w in ("in_proj_weight", "out_proj.weight")}
    mlp = {b + f"mlp.{w}.weight" for b in blocks for w in ("c_fc", "c_proj")}
    assert adapted(tiny(tower).model) == attention | mlp
    assert adapted(tiny(tower).model, ("attention",)) == attention
    assert adapted(tiny(tower).model, ("mlp",)) == mlp


def test_an_attention_that_pools_keys_of_another_width_is_left_alone():
    pooled = tiny(VIT | {"attentional_pool": True, "attn_pooler_heads": 2}).model
    assert adapted(pooled) == adapted(tiny(VIT).model)


def test_every_linear_layer_of_transformers_towers_is_adapted():
    names = adapted(TransformersClip(clip_model()))
    assert len(names) == 2 * 2 * 6  # towers, blocks; queries, keys, values, output, and the MLP's


def test_only_thin_matrices_the_temperature_and_the_head_train():
    model = tiny().model
    add_ssl_head(model, hidden=8, features=4)
    add_lora(model, Lora(rank=2))
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    others = {n for n in trained if "lora_" not in n}
    assert others == {"logit_scale"} | {n for n in trained if n.startswith("image_mlp.")}
    assert len(others) == 11


def test_a_locked_tower_is_not_adapted():
    model = tiny().model
    model.lock_image_tower()
    assert all(not name.startswith("visual.") for name in lora_targets(model))
    add_lora(model, Lora(rank=2))
    assert not any("lora" in name for name, _ in model.visual.named_parameters())


def test_a_tower_whose_forward_reads_weights_directly_is_left_alone():
    names = lora_targets(tiny(RESNET).model)
    assert names
    assert not any(name.startswith("visual.") for name in names)


def test_nothing_to_adapt_is_an_error():
    model = tiny(RESNET).model
    model.lock_text_tower()
    with pytest.raises(InvalidArgumentError, match="finds no attention or mlp layer"):
        add_lora(model, Lora())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "rank is 0"),
        ({"rank": 4, "alpha": 0.0}, "alpha is 0"),
        ({"dropout": 1.0}, "dropout is 1"),
        ({"parts": ("conv",)}, "parts is"),
        ({"ranks": 4}, "ranks"),
        ("eight", "lora 'eight' must be such as rank=1"),
    ],
)
def test_options_outside_their_bounds_are_refused(value, message):
    with pytest.raises(InvalidArgumentError, match=message):
        Lora.of(value)


def test_a_rank_stands_for_itself_and_twice_its_alpha():
    assert Lora.of(4) == Lora(rank=4, alpha=8.0)
    assert Lora.of("4") == Lora.of(4)
    assert Lora.of("rank=2,parts=attention+mlp") == Lora(rank=2)
    assert Lora.of(None) is None
    assert Lora.of(Lora().as_dict()) == Lora()


def test_merging_a_plain_model_does_nothing():
    model = tiny().model
    before = weights(model)
    merge_lora(model)
    assert same(weights(model), before)
