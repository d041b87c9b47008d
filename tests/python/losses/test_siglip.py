"""The sigmoid loss with the margin loss, against a plain float64 double loop (arXiv 2303.15343)."""

from __future__ import annotations

import math

import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.losses.siglip import HelipSigmoidLoss
from support.margin_reference import READINGS, cosine, features, make_target, reference_margin

SCALE, BIAS = 10.0, -4.0


def reference(image, text, scale, bias):
    rows = range(len(image))
    total = 0.0
    for i in rows:
        for j in rows:
            sign = 1.0 if i == j else -1.0
            logit = scale * cosine(image[i], text[j]) + bias
            total = total + torch.log1p(torch.exp(-sign * logit))
    return total / len(image)


@pytest.mark.parametrize(("direction", "space"), READINGS)
@pytest.mark.parametrize("seed", range(4))
def test_value_and_gradient_equal_the_double_loop(direction, space, seed):
    image, text = (x.requires_grad_() for x in features(7, seed=seed))
    scale, bias = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (SCALE, BIAS))
    target = make_target(7, seed)
    loss = HelipSigmoidLoss(gamma=0.7, margin=0.1, direction=direction, space=space)
    out = loss(image, text, scale, target, bias)
    margin, _ = reference_margin(image, text, target, 0.1, direction, space)
    sigmoid = reference(image, text, scale, bias)
    torch.testing.assert_close(out["clip"], sigmoid.detach(), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(out["loss"], sigmoid + 0.7 * margin, rtol=1e-11, atol=1e-12)
    ours = torch.autograd.grad(out["loss"], (image, text, scale, bias))
    theirs = torch.autograd.grad(sigmoid + 0.7 * margin, (image, text, scale, bias))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_it_is_open_clips_loss_where_there_are_no_hard_pairs():
    from open_clip.loss import SigLipLoss

    image, text = (torch.nn.functional.normalize(x.float()) for x in features(9))
    ours = HelipSigmoidLoss()(image, text, SCALE, None, BIAS)["loss"]
    torch.testing.assert_close(ours, SigLipLoss()(image, text, SCALE, BIAS))


def test_without_a_bias_it_is_zero():
    image, text = features(4)
    loss = HelipSigmoidLoss()
    assert torch.equal(loss(image, text, 0.0)["loss"], loss(image, text, 0.0, None, 0.0)["loss"])
    assert float(loss(image, text, 0.0)["loss"]) == pytest.approx(4 * math.log(2))


def test_large_logits_stay_finite():
    image, text = (x.requires_grad_() for x in features(4, dtype=torch.float32))
    out = HelipSigmoidLoss()(image, text, 1e4, torch.tensor([0, 0, 2, 2]), -1e3)
    out["loss"].backward()
    assert torch.isfinite(out["loss"])
    assert torch.isfinite(image.grad).all()


def test_several_biases_are_refused():
    image, text = features(4)
    with pytest.raises(InvalidArgumentError, match=r"logit_bias has shape \(4,\)"):
        HelipSigmoidLoss()(image, text, SCALE, None, torch.ones(4))


def test_the_loss_compiles_without_a_graph_break():
    image, text = features(6, dtype=torch.float32)
    target, bias = torch.tensor([0, 0, 2, 2, 4, 4]), torch.tensor(BIAS)
    loss = HelipSigmoidLoss()
    torch._dynamo.reset()  # else what was compiled before counts as its recompilations
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    for name, value in compiled(image, text, torch.tensor(SCALE), target, bias).items():
        torch.testing.assert_close(
            value, loss(image, text, torch.tensor(SCALE), target, bias)[name]
        )
