"""Equal rows in the losses, against a plain float64 double loop."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from helip.common.errors import InvalidArgumentError
from helip.losses.equal import groups_of
from helip.losses.helip_loss import HelipLoss
from helip.losses.siglip import HelipSigmoidLoss
from support.equal_reference import equal, reference_clip, reference_sigmoid
from support.margin_reference import READINGS, features, make_target, reference_margin

SCALE, BIAS = 12.5, -3.0
HANDLINGS = ("positive", "mask", "separate")


def make_groups(rows: int, seed: int, kinds: int = 2) -> torch.Tensor:
    """int64 [rows, kinds] of few numbers, 0 among them, so that many rows are equal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, max(rows // 2, 2), (rows, kinds), generator=generator)


def assert_equal_to(out, expected, image, text):
    torch.testing.assert_close(out["loss"], expected, rtol=1e-11, atol=1e-12)
    ours = torch.autograd.grad(out["loss"], (image, text))
    theirs = torch.autograd.grad(expected, (image, text))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    seed=st.integers(0, 10_000),
    handling=st.sampled_from(HANDLINGS),
    reading=st.sampled_from(READINGS),
    sigmoid=st.booleans(),
)
def test_value_and_gradient_equal_the_double_loop(rows, seed, handling, reading, sigmoid):
    direction, space = reading
    target, groups = make_target(rows, seed), make_groups(rows, seed)
    image, text = (x.requires_grad_() for x in features(rows, seed=seed))
    make = HelipSigmoidLoss if sigmoid else HelipLoss
    loss = make(gamma=0.7, margin=0.1, direction=direction, space=space, equal_captions=handling)
    bias = {"logit_bias": BIAS} if sigmoid else {}
    out = loss(image, text, SCALE, target, groups=groups, **bias)

    def alike(a, b):
        return handling != "separate" and equal(a, b, groups)

    expected = (
        reference_sigmoid(image, text, SCALE, BIAS, alike, handling)
        if sigmoid
        else reference_clip(image, text, SCALE, alike, handling)
    ) + 0.7 * reference_margin(image, text, target, 0.1, direction, space, alike)[0]
    assert_equal_to(out, expected, image, text)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2, 8), seed=st.integers(0, 10_000), handling=st.sampled_from(HANDLINGS))
def test_embeddings_above_a_bound_are_equal_pair_by_pair(rows, seed, handling):
    image, text = (x.requires_grad_() for x in features(rows, seed=seed))
    embeddings = dict(zip(("image", "caption"), features(rows, 3, seed=seed + 1), strict=True))
    bounds = {"image": 0.6, "caption": 0.4}
    groups = make_groups(rows, seed, 1)
    loss = HelipLoss(equal_captions=handling, similar_images=0.6, similar_captions=0.4)
    out = loss(image, text, SCALE, groups=groups[:, 0], embeddings=embeddings)

    def alike(a, b):
        return handling != "separate" and equal(a, b, groups, embeddings, bounds)

    assert_equal_to(out, reference_clip(image, text, SCALE, alike, handling), image, text)


def test_without_groups_nothing_is_equal():
    image, text = features(6)
    target = torch.tensor([0, 0, 2, 2, 4, 4])
    plain = HelipLoss(equal_captions="separate")(image, text, SCALE, target)
    for handling in ("positive", "mask"):
        out = HelipLoss(equal_captions=handling)(image, text, SCALE, target)
        assert out.keys() == plain.keys()
        assert torch.equal(out["loss"], plain["loss"])


def test_zero_is_the_group_of_rows_that_equal_nothing():
    image, text = features(4)
    plain = HelipLoss()(image, text, SCALE)["loss"]
    out = HelipLoss()(image, text, SCALE, groups=torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(out["loss"], plain, rtol=1e-13, atol=1e-13)
    assert float(out["equal_rows"]) == 0.0


def test_the_share_of_rows_with_an_equal_one_is_told():
    image, text = features(4)
    out = HelipLoss()(image, text, SCALE, groups=torch.tensor([7, 7, 8, 9]))
    assert float(out["equal_rows"]) == 0.5


def test_positive_is_the_plain_loss_where_equal_captions_have_equal_features():
    """The mean over a group of equal columns is any of them, and each picture has one share."""
    image, text = features(6)
    groups = torch.tensor([1, 1, 2, 1, 3, 3])
    text = text[[0, 0, 2, 0, 4, 4]]
    plain, shared = (
        HelipLoss(equal_captions=handling)(image, text, SCALE, groups=groups)["loss"]
        for handling in ("separate", "positive")
    )
    torch.testing.assert_close(shared, plain, rtol=1e-12, atol=1e-12)


def test_a_batch_of_one_caption_pushes_nothing_apart():
    image, text = (x.requires_grad_() for x in features(5))
    groups = torch.full((5,), 3)
    masked = HelipLoss(equal_captions="mask")(image, text, SCALE, groups=groups)["loss"]
    assert float(masked.detach()) == 0.0
    gradient = torch.autograd.grad(masked, image)[0]
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("handling", HANDLINGS)
@pytest.mark.parametrize("make", [HelipLoss, HelipSigmoidLoss])
def test_the_order_of_rows_does_not_matter(make, handling):
    image, text = features(9, seed=4)
    target, groups = make_target(9, 4), make_groups(9, 4)
    loss = make(equal_captions=handling)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    place = torch.empty(9, dtype=torch.long)
    place[order] = torch.arange(9)
    plain = loss(image, text, SCALE, target, groups=groups)
    moved = loss(image[order], text[order], SCALE, place[target[order]], groups=groups[order])
    for name in plain:
        torch.testing.assert_close(moved[name], plain[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("handling", HANDLINGS)
@pytest.mark.parametrize("make", [HelipLoss, HelipSigmoidLoss])
def test_it_compiles_without_a_graph_break(make, handling):
    image, text = features(6, dtype=torch.float32)
    target, groups = torch.tensor([0, 0, 2, 2, 4, 4]), torch.tensor([1, 2, 1, 3, 3, 4])
    loss = make(equal_captions=handling)
    torch._dynamo.reset()  # else what was compiled before counts as its recompilations
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    for name, value in compiled(image, text, torch.tensor(SCALE), target, groups=groups).items():
        expected = loss(image, text, SCALE, target, groups=groups)[name]
        torch.testing.assert_close(value, expected)


def test_the_groups_of_a_batch_are_those_of_captions_and_pictures():
    caption, picture = torch.tensor([1, 2]), torch.tensor([3, 3])
    batch = {"caption_group": caption, "image_group": picture, "index": torch.arange(2)}
    assert torch.equal(groups_of(batch), torch.tensor([[1, 3], [2, 3]]))
    assert torch.equal(groups_of({"caption_group": caption}), caption[:, None])
    assert groups_of({"index": torch.arange(2)}) is None
    judged = torch.tensor([[5, 0], [5, 6]])
    batch["verdict_group"] = judged
    assert torch.equal(groups_of(batch), torch.tensor([[1, 3, 5, 0], [2, 3, 5, 6]]))
    none = {"caption_group": caption, "verdict_group": judged[:, :0]}
    assert torch.equal(groups_of(none), caption[:, None])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (torch.tensor([1, 2, 3]), r"groups has shape \(3,\), must be \(4,\) or \(4, kinds\)"),
        (torch.tensor([1.0, 2.0, 3.0, 4.0]), "groups is torch.float32, must be an int64 tensor"),
        ([1, 2, 3, 4], "groups is list"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups, message):
    image, text = features(4)
    with pytest.raises(InvalidArgumentError, match=message):
        HelipLoss()(image, text, SCALE, groups=groups)


def test_a_bound_without_embeddings_is_refused():
    image, text = features(4)
    with pytest.raises(InvalidArgumentError, match=r"is 0\.9.*has None.*one caption a row"):
        HelipLoss(similar_captions=0.9)(image, text, SCALE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"equal_captions": "drop"}, "equal_captions is 'drop', must be one of"),
        ({"similar_captions": 1.5}, "similar_captions is 1.5, must be at most 1"),
    ],
)
def test_options_are_checked_when_the_loss_is_made(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        HelipLoss(**options)


def make_soft(rows: int, seed: int) -> torch.Tensor:
    """float64 [rows, rows] in 0 .. 1, many of them 0; some rows have no weight at all."""
    generator = torch.Generator().manual_seed(seed + 1)
    soft = torch.rand(rows, rows, generator=generator, dtype=torch.float64)
    soft *= torch.rand(rows, rows, generator=generator) < 0.4
    soft.diagonal()[:] = torch.where(torch.rand(rows, generator=generator) < 0.7, 1.0, 0.3)
    soft[torch.rand(rows, generator=generator) < 0.2] = 0.0
    return soft


def reference_soft(image, text, soft, groups, handling, *, sigmoid):
    """The loss with soft labels, both ways, by a plain double loop."""
    x, y = (rows / rows.norm(dim=1, keepdim=True) for rows in (image, text))
    rows, total = len(x), 0.0
    for first, second in ((x, y), (y, x)):
        for i in range(rows):
            alike = [handling != "separate" and equal(i, j, groups) for j in range(rows)]
            weights = [
                (soft[i, i] if handling == "positive" else 0.0) if alike[j] else soft[i, j]
                for j in range(rows)
            ]
            seen = [j for j in range(rows) if not (alike[j] and handling == "mask")]
            logits = {j: SCALE * (first[i] @ second[j]) for j in seen}
            if sigmoid:
                z = {j: logits[j] + BIAS for j in seen}
                total = total - sum(
                    weights[j] * F.logsigmoid(z[j]) + (1 - weights[j]) * F.logsigmoid(-z[j])
                    for j in seen
                ) / rows  # fmt: skip
                continue
            norm = torch.logsumexp(torch.stack([logits[j] for j in seen]), dim=0)
            total = total - sum(weights[j] * (logits[j] - norm) for j in seen) / (
                max(1.0, float(sum(weights))) * 2 * rows
            )
        if sigmoid:
            break  # from each image alone
    return total


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    seed=st.integers(0, 10_000),
    handling=st.sampled_from(HANDLINGS),
    sigmoid=st.booleans(),
)
def test_soft_labels_equal_the_double_loop(rows, seed, handling, sigmoid):
    soft, groups = make_soft(rows, seed), make_groups(rows, seed)
    image, text = (x.requires_grad_() for x in features(rows, seed=seed))
    loss = (HelipSigmoidLoss if sigmoid else HelipLoss)(equal_captions=handling)
    bias = {"logit_bias": BIAS} if sigmoid else {}
    out = loss(image, text, SCALE, groups=groups, soft_labels=soft, **bias)
    expected = reference_soft(image, text, soft, groups, handling, sigmoid=sigmoid)
    if torch.is_tensor(expected) and expected.requires_grad:
        assert_equal_to(out, expected, image, text)
    plain = [soft[i].count_nonzero() == 1 and soft[i, i] == 1 for i in range(rows)]
    assert float(out["soft_rows"]) == pytest.approx(1 - sum(map(bool, plain)) / rows)


def test_labels_of_the_rows_themselves_alone_are_the_plain_loss():
    image, text = features(7, seed=3)
    for make in (HelipLoss, HelipSigmoidLoss):
        plain = make()(image, text, SCALE)
        soft = make()(image, text, SCALE, soft_labels=torch.eye(7))
        torch.testing.assert_close(soft["loss"], plain["loss"])
        assert float(soft["soft_rows"]) == 0


@pytest.mark.parametrize(
    ("soft", "message"),
    [
        (torch.ones(4, 3), r"soft_labels has shape \(4, 3\), must be \(4, 4\)"),
        (torch.ones(4, 4, dtype=torch.int64), "soft_labels is torch.int64, must be a floating"),
        ([[1.0]], "soft_labels is list"),
        (torch.full((4, 4), 1.5), r"soft_labels\[0, 0\] is 1.5, must be in 0 .. 1"),
        (torch.full((4, 4), torch.nan), r"soft_labels\[0, 0\] is nan"),
    ],
)
def test_soft_labels_that_do_not_fit_are_refused(soft, message):
    image, text = features(4, seed=1)
    with pytest.raises(InvalidArgumentError, match=message):
        HelipLoss()(image, text, SCALE, soft_labels=soft)
