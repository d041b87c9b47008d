"""The losses, against a plain float64 double loop over targets and rows (arXiv 2305.05208)."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from helip.common.errors import InvalidArgumentError
from helip.losses.helip_loss import HelipLoss, check_target, clip_loss, hard_negative_margin_loss
from support.margin_reference import (
    READINGS,
    cosine,
    features,
    make_hard_rows,
    make_target,
    reference_margin,
)

SCALE = 12.5


def reference_clip(image, text, scale):
    rows = range(len(image))
    total = 0.0
    for i in rows:
        to_text = torch.stack([scale * cosine(image[i], text[j]) for j in rows])
        to_image = torch.stack([scale * cosine(text[i], image[j]) for j in rows])
        total = total - F.log_softmax(to_text, 0)[i] - F.log_softmax(to_image, 0)[i]
    return total / (2 * len(image))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9),
    seed=st.integers(0, 10_000),
    margin=st.floats(-0.5, 0.5),
    reading=st.sampled_from(READINGS),
)
def test_value_and_gradient_equal_the_double_loop(rows, seed, margin, reading):
    direction, space = reading
    target = make_target(rows, seed)
    image, text = (x.requires_grad_() for x in features(rows, seed=seed))
    loss = HelipLoss(gamma=0.7, margin=margin, direction=direction, space=space)
    out = loss(image, text, SCALE, target)
    expected_margin, _ = reference_margin(image, text, target, margin, direction, space)
    expected = reference_clip(image, text, SCALE) + 0.7 * expected_margin
    torch.testing.assert_close(out["loss"], expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(out["margin"], expected_margin.detach(), rtol=1e-11, atol=1e-12)
    ours = torch.autograd.grad(out["loss"], (image, text))
    theirs = torch.autograd.grad(expected, (image, text))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9),
    most=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    margin=st.floats(-0.5, 0.5),
    reading=st.sampled_from(READINGS),
)
def test_hard_rows_of_every_row_go_before_target(rows, most, seed, margin, reading):
    direction, space = reading
    hard_rows = make_hard_rows(rows, most, seed)
    image, text = (x.requires_grad_() for x in features(rows, seed=seed))
    loss = HelipLoss(gamma=0.7, margin=margin, direction=direction, space=space)
    out = loss(image, text, SCALE, make_target(rows, seed), hard_rows=hard_rows)
    expected, violated = reference_margin(image, text, hard_rows, margin, direction, space)
    torch.testing.assert_close(out["margin"], expected.detach(), rtol=1e-11, atol=1e-12)
    assert float(out["violated"]) == pytest.approx(violated)
    alone = loss(image, text, SCALE, hard_rows=hard_rows.int())["margin"]
    assert torch.equal(alone, out["margin"])
    options = {"margin": margin, "direction": direction, "space": space}
    target = torch.arange(rows)
    same = hard_negative_margin_loss(image, text, target, hard_rows=hard_rows, **options)
    assert torch.equal(same.detach(), out["margin"])
    ours = torch.autograd.grad(out["loss"], (image, text))
    whole = reference_clip(image, text, SCALE) + 0.7 * expected
    for a, b in zip(ours, torch.autograd.grad(whole, (image, text)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_hard_rows_that_say_what_target_says_give_the_same_bits():
    image, text = features(8, seed=4, dtype=torch.float32)
    target = torch.tensor([0, 0, 2, 2, 2, 5, 6, 6])
    hard_rows = torch.tensor([[1, -1], [-1, -1], [4, 3], *[[-1, -1]] * 3, [7, 6], [-1, -1]])
    one = HelipLoss(margin=0.1)(image, text, SCALE, target)
    other = HelipLoss(margin=0.1)(image, text, SCALE, hard_rows=hard_rows)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(("direction", "space"), READINGS)
def test_the_share_of_violated_hinges_is_counted_over_both_directions(direction, space):
    image, text = features(8, seed=3)
    target = torch.tensor([0, 0, 2, 2, 2, 5, 6, 6])
    loss = HelipLoss(margin=0.05, direction=direction, space=space)
    _, expected = reference_margin(image, text, target, 0.05, direction, space)
    assert 0 < expected < 1
    assert float(loss(image, text, SCALE, target)["violated"]) == pytest.approx(expected)


@pytest.mark.parametrize(("direction", "space"), READINGS)
def test_gradcheck_in_float64(direction, space):
    image, text = (x.requires_grad_() for x in features(6, 4, seed=1))
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 0, 2, 2, 4, 4])
    loss = HelipLoss(gamma=0.9, margin=0.1, direction=direction, space=space)
    assert torch.autograd.gradcheck(
        lambda i, t, s: loss(i, t, s, target)["loss"], (image, text, scale)
    )


def test_preserve_pulls_hard_pairs_above_ordinary_ones_and_repel_pushes_them_below():
    image = torch.eye(3)
    text = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.0, 0.8]])
    # Row 1 is the hard row of target 0: similarity 0, while the ordinary row 2 has 0.6.
    target = torch.tensor([0, 0, 2])
    preserve = hard_negative_margin_loss(image, text, target)
    repel = hard_negative_margin_loss(image, text, target, direction="repel")
    assert float(preserve) == pytest.approx(0.5 * (0.6 + 0.0))
    assert float(repel) == 0.0


def test_gamma_zero_is_the_clip_loss_and_still_reports_the_margin():
    image, text = (x.requires_grad_() for x in features(8, seed=2, dtype=torch.float32))
    target = torch.tensor([0, 0, 2, 2, 4, 4, 6, 6])
    out = HelipLoss(gamma=0.0)(image, text, SCALE, target)
    clip = clip_loss(image, text, SCALE)
    assert torch.equal(out["loss"], clip)
    assert float(out["margin"]) > 0
    for a, b in zip(
        torch.autograd.grad(out["loss"], (image, text)),
        torch.autograd.grad(clip, (image, text)),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_no_target_means_no_hard_pairs():
    image, text = features(4)
    out = HelipLoss()(image, text, SCALE)
    assert torch.equal(out["loss"], clip_loss(image, text, SCALE))
    assert float(out["margin"]) == 0.0
    assert float(out["violated"]) == 0.0


@pytest.mark.parametrize(("direction", "space"), READINGS)
def test_a_batch_without_hard_rows_gives_zero_that_can_be_differentiated(direction, space):
    image, text = (x.requires_grad_() for x in features(4))
    loss = hard_negative_margin_loss(
        image, text, torch.arange(4), margin=0.3, direction=direction, space=space
    )
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(image.grad, torch.zeros_like(image))


@pytest.mark.parametrize(("direction", "space"), READINGS)
def test_a_target_without_ordinary_rows_contributes_zero(direction, space):
    image, text = (x.requires_grad_() for x in features(3))
    loss = hard_negative_margin_loss(
        image, text, torch.zeros(3, dtype=torch.long), margin=1.0, direction=direction, space=space
    )
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize(("direction", "space"), READINGS)
def test_the_order_of_the_rows_does_not_matter(direction, space):
    image, text = features(9, seed=4)
    target = make_target(9, 4)
    loss = HelipLoss(margin=0.1, direction=direction, space=space)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    place = torch.empty(9, dtype=torch.long)
    place[order] = torch.arange(9)
    plain = loss(image, text, SCALE, target)
    moved = loss(image[order], text[order], SCALE, place[target[order]])
    for name in plain:
        torch.testing.assert_close(moved[name], plain[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("direction", "space"), READINGS)
def test_half_precision_features_are_computed_in_float32(dtype, direction, space):
    image, text = (x.requires_grad_() for x in features(8, 16, dtype=dtype))
    target = torch.tensor([0, 0, 2, 2, 4, 4, 6, 6])
    loss = HelipLoss(direction=direction, space=space)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = loss(image, text, torch.tensor(100.0), target)
    exact = loss(image.double(), text.double(), 100.0, target)
    assert out["loss"].dtype == torch.float32
    torch.testing.assert_close(out["loss"].double(), exact["loss"], rtol=1e-5, atol=1e-5)
    out["loss"].backward()
    assert torch.isfinite(image.grad).all()
    assert torch.isfinite(text.grad).all()


def test_the_scale_of_the_features_does_not_matter_even_near_overflow():
    image, text = features(6, dtype=torch.float32)
    target = torch.tensor([0, 0, 2, 2, 4, 4])
    plain = HelipLoss()(image, text, SCALE, target)["loss"]
    for scale in (1e30, 1e-30):
        scaled = HelipLoss()(image * scale, text / scale, SCALE, target)["loss"]
        torch.testing.assert_close(scaled, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("direction", "space"), READINGS)
def test_a_zero_row_has_similarity_zero_and_gradient_zero(direction, space):
    image, text = features(6, dtype=torch.float32)
    image[1] = 0
    image.requires_grad_()
    target = torch.tensor([0, 0, 2, 2, 4, 4])
    out = HelipLoss(direction=direction, space=space)(image, text, SCALE, target)
    out["loss"].backward()
    similarity = F.normalize(image.detach()) @ F.normalize(text).T
    assert torch.equal(similarity[1], torch.zeros(6))
    logits, own = SCALE * similarity, torch.arange(6)
    expected = 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own))
    torch.testing.assert_close(out["clip"], expected)
    assert torch.equal(image.grad[1], torch.zeros(5))
    assert torch.isfinite(image.grad).all()


def test_one_row_alone_gives_a_clip_loss_of_zero():
    image, text = features(1)
    out = HelipLoss()(image, text, SCALE, torch.tensor([0]))
    assert float(out["loss"]) == 0.0


def test_only_the_loss_carries_a_graph():
    image, text = (x.requires_grad_() for x in features(4))
    out = HelipLoss()(image, text, SCALE, torch.tensor([0, 0, 2, 2]))
    assert out["loss"].requires_grad
    assert not any(out[name].requires_grad for name in ("clip", "margin", "violated"))


@pytest.mark.parametrize(("direction", "space"), READINGS)
def test_the_loss_compiles_without_a_graph_break(direction, space):
    image, text = features(6, dtype=torch.float32)
    target = torch.tensor([0, 0, 2, 2, 4, 4])
    loss = HelipLoss(direction=direction, space=space)
    torch._dynamo.reset()  # else the readings before count as its recompilations
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    hard_rows = torch.tensor([[1, 2], [0, -1], [-1, -1], [4, 5], [3, -1], [3, 4]])
    for more in ({}, {"hard_rows": hard_rows}):
        for name, value in compiled(image, text, torch.tensor(SCALE), target, **more).items():
            torch.testing.assert_close(value, loss(image, text, SCALE, target, **more)[name])


def test_int32_targets_are_accepted():
    image, text = features(4)
    target = torch.tensor([0, 0, 2, 2])
    a, b = (HelipLoss()(image, text, SCALE, t)["loss"] for t in (target, target.int()))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -1.0}, "gamma is -1.0, must be at least 0"),
        ({"gamma": math.nan}, "gamma is nan"),
        ({"margin": 3.0}, "margin is 3.0, must be at most 2"),
        ({"direction": "pull"}, "direction is 'pull', must be one of 'preserve', 'repel'"),
        ({"space": "both"}, "space is 'both', must be one of 'cross', 'intra'"),
    ],
)
def test_options_are_checked_when_the_loss_is_made(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        HelipLoss(**options)


def test_the_margin_loss_names_its_options():
    names = inspect.signature(hard_negative_margin_loss).parameters.keys()
    assert names >= {"target", "hard_rows", "margin", "direction", "space"}
    with pytest.raises(TypeError, match=r"^hard_negative_margin_loss.*foo"):
        hard_negative_margin_loss(*features(4), torch.arange(4), foo=1)


def test_shapes_that_do_not_fit_are_refused():
    image, text = features(4)
    loss = HelipLoss()
    with pytest.raises(InvalidArgumentError, match=r"\(4, 5\).*\(3, 5\)"):
        loss(image, text[:3], SCALE)
    with pytest.raises(InvalidArgumentError, match=r"image_features is .*must be floating"):
        loss(image[0], text, SCALE)
    with pytest.raises(InvalidArgumentError, match="at least one row"):
        loss(image[:0], text[:0], SCALE)
    with pytest.raises(InvalidArgumentError, match=r"logit_scale has shape \(4,\)"):
        loss(image, text, torch.ones(4))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 0, 9, 2]), r"target\[2\] is 9, must be in \[0, 4\)"),
        (torch.tensor([0, -1, 2, 2]), r"target\[1\] is -1"),
        (torch.tensor([0, 0, 2]), r"target has shape \(3,\), must be \(4,\)"),
        (torch.tensor([0.0, 0.0, 2.0, 2.0]), "must be an integer tensor"),
        ([0, 0, 2, 2], "target is list"),
    ],
)
def test_targets_that_do_not_fit_are_refused(target, message):
    image, text = features(4)
    with pytest.raises(InvalidArgumentError, match=message):
        HelipLoss()(image, text, SCALE, target)
    with pytest.raises(InvalidArgumentError, match=message):
        check_target(target, 4)


@pytest.mark.parametrize(
    ("hard_rows", "message"),
    [
        (torch.tensor([[1], [0], [4], [-1]]), r"hard_rows\[2, 0\] is 4, must be in \[-1, 4\)"),
        (torch.tensor([[1], [0], [-2], [-1]]), r"hard_rows\[2, 0\] is -2"),
        (torch.tensor([1, 0, 3, 2]), r"hard_rows has shape \(4,\), must be \(4, m\)"),
        (torch.zeros(4, 4, dtype=torch.bool), r"hard_rows is torch\.bool, must be an integer"),
        ([[1], [0], [3], [2]], "hard_rows is list"),
    ],
)
def test_hard_rows_that_do_not_fit_are_refused(hard_rows, message):
    image, text = features(4)
    with pytest.raises(InvalidArgumentError, match=message):
        HelipLoss()(image, text, SCALE, hard_rows=hard_rows)
