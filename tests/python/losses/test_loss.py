"""A loss by its name or as an object: what it is given, what it must return, what is refused."""

from __future__ import annotations

import dataclasses
import functools
import sys
import types

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.losses.helip_loss import HelipLoss
from helip.losses.loss import BatchLoss, loss_of
from helip.losses.options import LOSSES, LossOptions, check_loss, loss_name
from helip.losses.siglip import HelipSigmoidLoss
from support.process_group import run

OPTIONS = LossOptions(gamma=0.7, margin=0.1)


def mean_distance(image, text, scale, target, *, hard_rows, groups):
    loss = scale * (1 - (image * text).sum(dim=1).mean())
    return {"loss": loss, "rows": len(image), "scale": scale.detach()}


def own_loss(**attributes):
    return type("Own", (), {"__call__": staticmethod(mean_distance), **attributes})()


def nothing(self, state):
    pass


def encoded_rows(rows=4, seed=0, **more):
    generator = torch.Generator().manual_seed(seed)
    image, text = (torch.randn(rows, 3, generator=generator).requires_grad_() for _ in range(2))
    features = {"image_features": image, "text_features": text}
    return {**features, "logit_scale": torch.tensor(2.0, requires_grad=True), **more}


BATCH = {
    "target": torch.tensor([0, 0, 2, 2]),
    "hard_rows": torch.tensor([[1, -1], [0, 2], [3, -1], [2, -1]]),
    "caption_group": torch.tensor([1, 2, 1, 3]),
    "image_embedding": torch.ones(4, 2),
}


def test_every_built_in_loss_is_made_of_its_name_with_the_options():
    for name, place in LOSSES.items():
        for called in (name, place):
            made = loss_of(called, OPTIONS, gather=True)
            assert loss_name(made) == place
            assert made.options == OPTIONS and made.gather
    assert isinstance(loss_of("siglip", OPTIONS, gather=False), HelipSigmoidLoss)


def test_a_loss_of_ones_own_is_named_by_its_module(monkeypatch):
    class Weighted:
        def __init__(self, gamma=2.0, direction="both", power=2):
            self.gamma, self.direction, self.power = gamma, direction, power

        __call__ = staticmethod(mean_distance)

    own = types.ModuleType("own_losses")
    own.Weighted, own.function, own.made = Weighted, mean_distance, Weighted(3.0)
    own.needs = lambda: None
    own.Needy = type("Needy", (), {"__init__": lambda self, what: None})
    monkeypatch.setitem(sys.modules, "own_losses", own)
    for options, gamma in ((OPTIONS, 0.7), (LossOptions(margin=0.1), 2.0)):  # or its own
        made = loss_of("own_losses:Weighted", options, gather=False)
        assert vars(made) == {"gamma": gamma, "direction": "both", "power": 2}
    assert loss_of("own_losses:function", OPTIONS, gather=False) is mean_distance
    assert loss_of("own_losses:made", OPTIONS, gather=False) is own.made
    with pytest.raises(InvalidArgumentError, match=r"own_losses:None'?, which cannot be imported"):
        loss_of("own_losses:None", OPTIONS, gather=False)
    with pytest.raises(InvalidArgumentError, match="cannot be made without arguments"):
        loss_of("own_losses:Needy", OPTIONS, gather=False)


@pytest.mark.parametrize("name", ["no_such_module:Loss", "math:Loss"])
def test_what_cannot_be_imported_is_refused(name):
    with pytest.raises(InvalidArgumentError, match=f"{name}', which cannot be imported.*module:Cl"):
        loss_of(name, OPTIONS, gather=False)


def test_what_is_no_loss_is_refused_with_those_that_there_are():
    for loss in ("clop", None, 3):
        with pytest.raises(InvalidArgumentError, match=rf"{loss!r}, must be one of 'clip', 'sigl"):
            check_loss(loss)
    for name in ("clip", "siglip", "own.losses:Loss", mean_distance):
        check_loss(name)


def test_an_object_is_given_what_its_call_names():
    seen = {}

    def loss(image, text, scale, target, *, hard_rows, groups, logit_bias, embeddings, rank_rows):
        seen.update(locals())
        return mean_distance(image, text, scale, target, hard_rows=hard_rows, groups=groups)

    bias = torch.tensor(-3.0, requires_grad=True)
    out = BatchLoss(loss, OPTIONS)(encoded_rows(logit_bias=bias), BATCH, [4])
    assert out["rows"] == 4 and out["loss"].requires_grad
    assert seen["target"] is BATCH["target"] and seen["hard_rows"] is BATCH["hard_rows"]
    assert seen["groups"].tolist() == [[1], [2], [1], [3]]
    assert seen["logit_bias"] is bias and seen["rank_rows"] == [4]
    assert seen["embeddings"].keys() == {"image"}
    out["loss"].backward()
    assert bias.grad == 0  # which replicas wait for
    assert BatchLoss(mean_distance, OPTIONS)(encoded_rows(), {"target": BATCH["target"]})


class Plain(nn.Module):
    def forward(self, image, text, scale, target, *, hard_rows, groups):
        return mean_distance(image, text, scale, target, hard_rows=hard_rows, groups=groups)


@pytest.mark.parametrize(
    "loss",
    [lambda *rows, **named: mean_distance(*rows, **named), torch.compile(Plain(), backend="eager")],
)
def test_a_call_that_takes_any_name_is_given_what_every_loss_is(loss):
    encoded = encoded_rows(logit_bias=torch.tensor(-3.0))
    assert BatchLoss(loss, OPTIONS)(encoded, BATCH, [4])["rows"] == 4


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (HelipLoss, r"is the class HelipLoss, must be .* Give HelipLoss\(…\)"),
        (3, "is a int, must be an object that is called as loss"),
        (lambda image, text: {}, r"called as \(image, text\).*must be an object that is called as"),
        (lambda i, t, s, target, hard_rows: {}, "unexpected keyword argument 'groups'"),
        (lambda i, t, s, g, more, *, hard_rows, groups: {}, "missing a required argument: 'more'"),
        (nn.Linear(2, 2), "called as .*input"),
        (own_loss(gather=nothing), "gather of the loss .*Own is a method, must be True or False"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_before_a_step(loss, said):
    with pytest.raises(InvalidArgumentError, match=said):
        BatchLoss(loss, OPTIONS)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda loss: loss, "returned Tensor; .* must return a dict of scalars with 'loss'"),
        (lambda loss: {"clip": loss}, r"returned a dict of \['clip'\]"),
        (lambda loss: {"loss": loss, "words": "x"}, "returned a str as 'words'"),
        (
            lambda loss: {"loss": loss[None].repeat(2)},
            r"returned a Tensor of shape \(2,\) as 'loss'",
        ),
        (lambda loss: {"loss": loss.detach()}, "has no graph"),
        (lambda loss: {"loss": loss, "lr": 1}, "'lr', which the metrics have already"),
        (lambda loss: {"loss": loss, "ssl": 1}, "'ssl', which the metrics have already"),
        (lambda loss: {"loss": loss, 3: 1}, "returned 3 as a name, must be a str"),
        (lambda loss: {"clip": loss, 3: 1}, r"returned a dict of \['clip', 3\]"),
    ],
)
def test_what_a_loss_returns_is_checked(returned, said):
    def loss(image, text, scale, target, *, hard_rows, groups):
        return returned(image.sum())

    with pytest.raises(InvalidArgumentError, match=said):
        BatchLoss(loss, OPTIONS)(encoded_rows(), BATCH)


def test_numbers_of_numpy_are_numbers():
    def loss(image, text, scale, target, *, hard_rows, groups):
        return {"loss": image.sum(), "share": np.float32(0.5), "rows": np.int64(4), "all": True}

    out = BatchLoss(loss, OPTIONS)(encoded_rows(), BATCH)
    assert (out["share"], out["rows"], out["all"]) == (0.5, 4, 1)


def test_parameters_that_nothing_trains_are_refused():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, image, text, scale, target, *, hard_rows, groups):
            return {"loss": self.weight * image.sum()}

    with pytest.raises(UnsupportedError, match=r"with parameters \(weight\), which nothing trains"):
        BatchLoss(Learned(), OPTIONS)


def test_its_name_options_and_state_say_which_loss_a_run_has():
    assert BatchLoss("clip", OPTIONS).identity() == {}
    given = BatchLoss(HelipLoss(gamma=0.3), OPTIONS).identity()
    assert given["loss"] == LOSSES["clip"] and given["loss_options"]["gamma"] == 0.3
    assert BatchLoss(LOSSES["clip"], OPTIONS).identity()["loss_options"]["gamma"] == 0.7
    assert BatchLoss(mean_distance, OPTIONS).state_dict() == {}


@dataclasses.dataclass
class Powered:
    power: float
    called: object = mean_distance

    def __call__(self, *rows, **named):
        return self.called(*rows, **named)


class Holder:
    def __init__(self, power):
        self.options = {"power": power}

    def distance(self, *rows, **named):
        return mean_distance(*rows, **named)


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (Powered, "Powered"),
        (lambda power: Holder(power).distance, "Holder.distance"),
        (lambda power: functools.partial(Powered(3.0), power=power), "Powered"),
        (lambda power: functools.partial(Powered(power), hard=torch.ones(2)), "Powered"),
        (lambda power: torch.compile(HelipLoss(gamma=power), backend="eager"), "HelipLoss"),
    ],
)
def test_losses_that_were_made_otherwise_are_told_apart(made, name):
    one, again, other = (BatchLoss(made(power), OPTIONS).identity() for power in (1.0, 1.0, 2.0))
    assert one == again != other
    assert one["loss"].split(":")[1] == other["loss"].split(":")[1] == name


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"options": {"weight": torch.ones(())}}, "options of the loss .*Own are .*plain finite"),
        ({"options": {"margin": float("nan")}}, "nan.* must be plain finite values"),
        ({"state_dict": dict}, "Own must return a dict of tensors.*give it both, or neither"),
        ({"load_state_dict": nothing}, "Own must return a dict of tensors.*give it both"),
        ({"state_dict": lambda self: {"count": 3}, "load_state_dict": nothing},
         "Own must return a dict of tensors, which become part of a checkpoint"),
        ({"state_dict": lambda self: [3], "load_state_dict": nothing}, "return a dict of tensors"),
    ],
)  # fmt: skip
def test_what_no_checkpoint_could_hold_is_refused_before_a_step(attributes, said):
    with pytest.raises(InvalidArgumentError, match=said):
        BatchLoss(own_loss(**attributes), OPTIONS)


def test_a_state_that_does_not_fit_is_a_mismatch():
    loss = nn.BatchNorm1d(3, affine=False)
    loss.forward = mean_distance
    with pytest.raises(MismatchError, match=r"(?s)does not take the state .*begin anew"):
        BatchLoss(loss, OPTIONS).load_state_dict({"other": torch.ones(())})


ROWS = (3, 5)
TARGETS = ([0, 0, 2], [0, 1, 0, 1, 1])
HARD = (torch.tensor([[1], [0], [-1]]),
        torch.tensor([[2, 3], [3, 4], [0, -1], [1, -1], [1, 0]]))  # fmt: skip
GROUPS = torch.tensor([4, 1, 2, 3, 4, 4, 5, 6])


def of_rank(loss, rank: int, known: bool) -> tuple:
    rows = slice(0, 3) if rank == 0 else slice(3, 8)
    encoded = encoded_rows(8, 3)
    own = {name: encoded[name].detach()[rows].requires_grad_() for name in list(encoded)[:2]}
    own["logit_scale"] = encoded["logit_scale"]
    batch = {"target": torch.tensor(TARGETS[rank]), "caption_group": GROUPS[rows],
             "hard_rows": HARD[rank], "image_embedding": torch.eye(8)[rows]}  # fmt: skip
    if rank == 1:  # which the other does not know
        batch["caption_embedding"] = torch.eye(8)[rows]
    out = BatchLoss(loss, OPTIONS, gather=True)(own, batch, ROWS if known else None)
    out["loss"].backward()
    scale = own["logit_scale"].grad.clone()
    dist.all_reduce(scale)
    return out["loss"].detach(), own["image_features"].grad / 2, scale / 2


def of_ranks(rank: int) -> list:
    assert len(GROUPS) == sum(ROWS)
    found = [of_rank(HelipLoss(gamma=0.7, margin=0.1), rank, known) for known in (True, False)]
    return [*found, of_rank(HelipLoss(gamma=0.7, margin=0.1, gather=True), rank, False)]


def test_an_object_that_does_not_gather_is_given_the_rows_of_all_processes(tmp_path):
    encoded = encoded_rows(8, 3)
    width = nn.functional.pad(HARD[0], (0, 1), value=-1)
    moved = torch.where(HARD[1] < 0, HARD[1], HARD[1] + 3)
    whole = HelipLoss(gamma=0.7, margin=0.1)(
        *encoded.values(),
        torch.tensor([*TARGETS[0], *(3 + row for row in TARGETS[1])]),
        hard_rows=torch.cat([width, moved]),
        groups=GROUPS,
    )["loss"]
    whole.backward()
    gradient = encoded["image_features"].grad.split(ROWS)
    shares = []
    for rank, found in enumerate(run(of_ranks, tmp_path)):
        for number, (loss, image, scale) in enumerate(found):
            torch.testing.assert_close(image, gradient[rank])
            torch.testing.assert_close(scale, encoded["logit_scale"].grad)
            if number < 2:  # the whole, where one that gathers returns its share
                torch.testing.assert_close(loss, whole.detach())
            else:
                shares.append(loss)
    torch.testing.assert_close(sum(shares) / 2, whole.detach())
