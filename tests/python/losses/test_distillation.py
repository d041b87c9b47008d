"""The distance to a teacher, against a plain float64 double loop; over processes too."""

from __future__ import annotations

import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.losses.distillation import DistillationLoss
from support.margin_reference import cosine, features
from support.process_group import run


def reference(image, text, teacher_image, teacher_text):
    total = 0.0
    for i in range(len(image)):
        total = total + 1 - cosine(image[i], teacher_image[i])
        total = total + 1 - cosine(text[i], teacher_text[i])
    return total / (2 * len(image))


@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_equal_the_double_loop(seed):
    image, text = (x.requires_grad_() for x in features(6, seed=seed))
    teacher = features(6, seed=seed + 10)
    out = DistillationLoss(distill=0.7)(image, text, *teacher)
    expected = reference(image, text, *teacher)
    torch.testing.assert_close(out["distill"], expected.detach(), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(out["loss"], 0.7 * expected, rtol=1e-11, atol=1e-12)
    ours = torch.autograd.grad(out["loss"], (image, text))
    theirs = torch.autograd.grad(0.7 * expected, (image, text))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_a_model_that_gives_what_the_teacher_gives_is_at_no_distance():
    image, text = (x.requires_grad_() for x in features(5))
    teacher = [3 * x.detach() for x in (image, text)]  # lengths do not count
    out = DistillationLoss(distill=1.0)(image, text, *teacher)
    assert float(out["distill"]) == pytest.approx(0, abs=1e-14)
    for gradient in torch.autograd.grad(out["loss"], (image, text)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-13)


def test_no_gradient_reaches_the_teacher_and_half_precision_is_computed_in_float32():
    image, text = (x.requires_grad_() for x in features(5, dtype=torch.float32))
    teacher = [x.requires_grad_() for x in features(5, seed=1, dtype=torch.float32)]
    loss = DistillationLoss(distill=1.0)
    plain = loss(image, text, *teacher)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = loss(image, text, *teacher)
    torch.testing.assert_close(out["loss"], plain["loss"])
    out["loss"].backward()
    assert all(x.grad is None for x in teacher)


def test_what_does_not_fit_is_refused():
    image, text = features(4)
    loss = DistillationLoss(distill=1.0)
    with pytest.raises(InvalidArgumentError, match=r"teacher_image has shape \(4, 3\).*\(4, 5\)"):
        loss(image, text, *features(4, dim=3))
    with pytest.raises(InvalidArgumentError, match=r"teacher_image has shape \(3, 5\)"):
        loss(image, text, image[:3], text[:3])
    with pytest.raises(InvalidArgumentError, match=r"distill is -1.*at least 0"):
        DistillationLoss(distill=-1.0)


COUNTS = [3, 4]


def part(rank: int) -> tuple:
    own = slice(0, 3) if rank == 0 else slice(3, 7)
    image, text = (x[own].requires_grad_() for x in features(7))
    teacher = (x[own] for x in features(7, seed=1))
    out = DistillationLoss(distill=0.7)(image, text, *teacher, rank_rows=COUNTS)
    out["loss"].backward()
    return out["loss"].detach(), image.grad, text.grad


def test_the_mean_over_processes_is_that_of_the_whole_batch(tmp_path):
    values, images, texts = zip(*run(part, tmp_path), strict=True)
    image, text = (x.requires_grad_() for x in features(7))
    out = DistillationLoss(distill=0.7)(image, text, *features(7, seed=1))["loss"]
    out.backward()
    torch.testing.assert_close(torch.stack(values).mean(), out.detach(), rtol=1e-12, atol=0)
    for grads, right in ((images, image.grad), (texts, text.grad)):
        torch.testing.assert_close(torch.cat(grads) / 2, right, rtol=1e-10, atol=1e-14)
