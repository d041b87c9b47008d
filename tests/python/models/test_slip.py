"""SLIP: the head, its names, published checkpoints, and batch norms over several processes."""

from __future__ import annotations

import argparse
import re

import pytest
import torch
import torch.nn.functional as F

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.models.bundle import create_model
from helip.models.saving import save_model
from helip.models.slip import (
    SslHead,
    SyncBatchNorm1d,
    add_ssl_head,
    has_ssl_head,
    published_config,
    raw_features,
)
from helip.models.weights import write_tensors
from support import process_group
from support.tune_samples import CONFIG, RESNET, captions, pictures, same, timm_tower, tiny, weights

# What facebookresearch/SLIP names the parameters and buffers of its head.
PUBLISHED_HEAD = [
    *(f"image_mlp.layer{n}.{part}" for n in (1, 2, 3) for part in ("weight", "bias")),
    *(
        f"image_mlp.bn{n}.{part}"
        for n in (1, 2)
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ),
]


def head_of(bundle) -> dict[str, torch.Tensor]:
    return {k: v for k, v in weights(bundle.model).items() if k.startswith("image_mlp.")}


def test_the_head_is_that_of_slip():
    head = SslHead(32)
    assert sorted(f"image_mlp.{name}" for name in head.state_dict()) == sorted(PUBLISHED_HEAD)
    assert head.layer1.weight.shape == (4096, 32)
    assert head.layer2.weight.shape == (4096, 4096)
    assert head.layer3.weight.shape == (256, 4096)
    assert head.config == {"hidden": 4096, "features": 256}


@pytest.fixture
def slip():
    bundle = tiny(seed=4)
    torch.manual_seed(0)
    add_ssl_head(bundle.model, hidden=24, features=8)
    bundle.config["ssl_head"] = {"hidden": 24, "features": 8}
    return bundle


def test_views_add_the_heads_features_to_what_the_model_gives(slip):
    plain = tiny(seed=4).model.eval()
    model = slip.model.eval()
    images, texts = pictures(slip), captions()
    views = torch.stack([pictures(slip, seed=1), pictures(slip, seed=2)])
    with torch.no_grad():
        out = model(images, texts, views)
        expected = plain(images, texts)
        for name, value in zip(
            ("image_features", "text_features", "logit_scale"), expected, strict=True
        ):
            assert torch.equal(out[name], value)
        for name, view in zip(("ssl_first", "ssl_second"), views, strict=True):
            raw = raw_features(plain, view)
            torch.testing.assert_close(out[name], model.image_mlp(raw))
        assert all(map(torch.equal, model(images, texts), expected))


def test_each_view_is_normalised_by_its_own_statistics_while_training(slip):
    model = slip.model.train()
    views = torch.stack([pictures(slip, seed=1), 3 * pictures(slip, seed=2)])
    out = model(pictures(slip), captions(), views)
    torch.testing.assert_close(out["ssl_second"], model.image_mlp(raw_features(model, views[1])))


@pytest.mark.slow
def test_the_forward_with_views_is_one_graph_for_torch_compile(slip):
    compiled = torch.compile(slip.model.eval(), fullgraph=True, backend="eager")
    inputs = pictures(slip), captions(), torch.stack([pictures(slip, seed=1)] * 2)
    with torch.no_grad():
        expected = slip.model(*inputs)
        for name, value in compiled(*inputs).items():
            torch.testing.assert_close(value, expected[name])


def test_the_model_stays_open_clips(slip):
    import open_clip

    before = weights(tiny(seed=4).model)
    assert isinstance(slip.model, open_clip.CLIP)
    assert has_ssl_head(slip.model)
    own = {name: value for name, value in weights(slip.model).items() if name in before}
    assert same(own, before)


def test_views_of_another_shape_are_refused(slip):
    with pytest.raises(InvalidArgumentError, match=r"\[2, rows, 3, height, width\]"):
        slip.model(pictures(slip), captions(), pictures(slip))


def test_a_model_has_one_head_at_most(slip):
    with pytest.raises(InvalidArgumentError, match="head already"):
        add_ssl_head(slip.model)


def test_a_head_goes_on_any_architecture_and_its_seed_repeats_it():
    first, second = tiny(RESNET, ssl_head=True), tiny(RESNET, ssl_head=True)
    assert same(weights(first.model), weights(second.model))
    assert first.model.image_mlp.layer1.in_features == RESNET["width"] * 32
    assert first.config["ssl_head"] == {"hidden": 4096, "features": 256}


def test_a_saved_model_keeps_its_head_and_opens_without_on_request(tmp_path, slip):
    save_model(slip, tmp_path / "saved")
    again = create_model(tmp_path / "saved")
    assert same(weights(again.model), weights(slip.model))
    assert again.config == slip.config
    plain = create_model(tmp_path / "saved", ssl_head=False)
    assert not has_ssl_head(plain.model)
    assert same(weights(plain.model), weights(tiny(seed=4).model))


def test_weights_without_a_head_leave_the_model_its_own(tmp_path, slip):
    write_tensors(tiny(seed=9).model.state_dict(), tmp_path / "clip.safetensors")
    bundle = tiny(checkpoint=tmp_path / "clip.safetensors", ssl_head=True)
    fresh = tiny(ssl_head=True)
    assert same(head_of(bundle), head_of(fresh))
    assert torch.equal(bundle.model.visual.proj, tiny(seed=9).model.visual.proj)


# --------------------------------------------------------------------------- published checkpoints

TOWER = timm_tower("test_vit", timm_pool="token", timm_proj_bias=False)
SMALL = {
    **CONFIG,
    "quick_gelu": True,
    "vision_cfg": TOWER,
    "ssl_head": {"hidden": 24, "features": 8},
}


def published(bundle) -> dict[str, torch.Tensor]:
    """A checkpoint in the naming of SLIP's code, made from a model of timm and torch alone."""
    import timm

    torch.manual_seed(11)
    visual = timm.create_model("test_vit", num_classes=0)
    state = {f"module.visual.{k}": v for k, v in visual.state_dict().items()}
    state["module.image_projection"] = torch.randn(64, 16) / 8
    for name, value in weights(bundle.model).items():
        if not name.startswith("visual."):
            value = value if not value.is_floating_point() else value + torch.randn_like(value) / 9
            state[f"module.{name}"] = value
    return state


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("slip") / "slip.pt"
    state = published(create_model("x", config=SMALL, from_scratch=True))
    arguments = argparse.Namespace(lr=3e-3, model="SLIP_VITB16", betas=[0.9, 0.98])
    torch.save({"epoch": 25, "state_dict": state, "best_acc1": 38.3, "args": arguments}, path)
    return path, {name.removeprefix("module."): value for name, value in state.items()}


def test_a_published_checkpoint_gives_the_features_that_slips_code_gives(checkpoint):
    import timm

    path, state = checkpoint
    bundle = create_model("x", config=SMALL, checkpoint=path)
    model = bundle.model.eval()
    visual = timm.create_model("test_vit", num_classes=0).eval()
    visual.load_state_dict(
        {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    )
    images = pictures(bundle, 2)
    with torch.no_grad():
        raw = visual(images)
        torch.testing.assert_close(model.encode_image(images), raw @ state["image_projection"])
        out = model(images, captions(2), torch.stack([images, images]))
        torch.testing.assert_close(out["ssl_first"], model.image_mlp(raw))
    own = model.state_dict()
    for name, value in state.items():
        if not name.startswith(("visual.", "image_projection")):
            assert torch.equal(own[name], value), name


def published_text_features(state: dict[str, torch.Tensor], text: torch.Tensor) -> torch.Tensor:
    """SLIP's text tower, written out: two blocks of width 16 with two heads, QuickGELU."""

    def norm(x, name):
        return F.layer_norm(x, (16,), state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    x = state["token_embedding.weight"][text] + state["positional_embedding"]
    for block in ("transformer.resblocks.0", "transformer.resblocks.1"):
        y = norm(x, f"{block}.ln_1")
        y = F.linear(y, state[f"{block}.attn.in_proj_weight"], state[f"{block}.attn.in_proj_bias"])
        q, k, v = (part.unflatten(2, (2, 8)).transpose(1, 2) for part in y.chunk(3, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + linear(y, f"{block}.attn.out_proj")
        y = linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        x = x + linear(y * torch.sigmoid(1.702 * y), f"{block}.mlp.c_proj")
    last = norm(x, "ln_final")[torch.arange(len(text)), text.argmax(dim=-1)]
    return last @ state["text_projection"]


def test_a_published_checkpoint_gives_the_text_features_that_slips_code_gives(checkpoint):
    path, state = checkpoint
    model = create_model("x", config=SMALL, checkpoint=path).model.eval()
    with torch.no_grad():
        expected = published_text_features(state, captions())
        torch.testing.assert_close(model.encode_text(captions()), expected, rtol=1e-4, atol=1e-4)
    assert published_config("ViT-B-16")["model_cfg"]["quick_gelu"]


def test_a_published_checkpoint_is_saved_and_opened_again(tmp_path, checkpoint):
    bundle = create_model("x", config=SMALL, checkpoint=checkpoint[0])
    save_model(bundle, tmp_path / "saved")
    assert same(weights(create_model(tmp_path / "saved").model), weights(bundle.model))


def test_a_published_slip_checkpoint_serves_a_clip_model_when_the_head_is_not_wanted(checkpoint):
    bundle = create_model("x", config=SMALL, checkpoint=checkpoint[0], ssl_head=False)
    assert not has_ssl_head(bundle.model)
    assert "ssl_head" not in bundle.config


def test_a_published_checkpoint_in_another_tower_is_refused_with_the_mend(checkpoint):
    with pytest.raises(MismatchError, match="make it as 'slip:ViT-B-16'"):
        tiny(checkpoint=checkpoint[0])


def test_a_head_that_does_not_fit_is_refused_with_the_keys(checkpoint):
    config = {**SMALL, "ssl_head": {"hidden": 20, "features": 8}}
    with pytest.raises(MismatchError, match=re.escape("image_mlp.layer1.weight (24, 64) for (20,")):
        create_model("x", config=config, checkpoint=checkpoint[0])


def test_a_checkpoint_that_lacks_a_part_is_refused_with_the_key(tmp_path, checkpoint):
    state = {k: v for k, v in checkpoint[1].items() if k != "visual.norm.bias"}
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(MismatchError, match=r"1 missing \(visual.trunk.norm.bias\)"):
        create_model("x", config=SMALL, checkpoint=tmp_path / "c.pt")


def test_the_published_architectures_are_known_by_name():
    vision = published_config("ViT-B-16")["model_cfg"]["vision_cfg"]
    assert vision["timm_model_name"] == "vit_base_patch16_224"
    with pytest.raises(InvalidArgumentError, match="slip:ViT-S-16, slip:ViT-B-16, slip:ViT-L-16"):
        create_model("slip:ViT-B-32")


@pytest.mark.slow
def test_the_small_published_tower_has_twelve_heads_and_image_net_colours():
    bundle = create_model("slip:ViT-S-16", from_scratch=True)
    assert {block.attn.num_heads for block in bundle.model.visual.trunk.blocks} == {12}
    assert bundle.config["preprocess_cfg"]["mean"] == [0.485, 0.456, 0.406]
    assert bundle.model.image_mlp.layer1.in_features == 384
    assert bundle.context_length == 77


# ------------------------------------------------------------------------------ several processes


def test_alone_the_norm_is_torchs():
    torch.manual_seed(0)
    ours, theirs = SyncBatchNorm1d(5), torch.nn.BatchNorm1d(5)
    x = torch.randn(6, 5)
    assert torch.equal(ours(x), theirs(x))
    assert same(ours.state_dict(), theirs.state_dict())


def _compare_with_whole(rank):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    weigh = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    mine = slice(0, 3) if rank == 0 else slice(3, 7)

    def trained(norm, x, weigh):
        x = x.clone().requires_grad_()
        for _ in range(2):
            out = norm(x)
        (out * weigh).sum().backward()
        return out.detach(), x.grad, norm

    def close(a, b):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)

    whole_out, whole_grad, whole = trained(torch.nn.BatchNorm1d(5).double(), x, weigh)
    out, grad, norm = trained(SyncBatchNorm1d(5).double(), x[mine], weigh[mine])
    close(out, whole_out[mine])
    close(grad, whole_grad[mine])
    for name, value in norm.state_dict().items():
        close(value, whole.state_dict()[name])
    parts = norm.weight.grad.clone()
    torch.distributed.all_reduce(parts)
    close(parts, whole.weight.grad)


def test_over_two_processes_the_norm_is_that_of_the_whole_batch(tmp_path):
    process_group.run(_compare_with_whole, tmp_path)
