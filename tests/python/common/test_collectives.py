"""The losses over many processes, against one process with the whole batch."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn

from helip.common.collectives import gather_pairs, gather_rows, row_counts
from helip.common.errors import InvalidArgumentError
from helip.losses.helip_loss import HelipLoss
from helip.losses.siglip import HelipSigmoidLoss
from support.process_group import run

READINGS = [(d, s) for d in ("preserve", "repel") for s in ("cross", "intra")]
ROWS = (6, 8)  # of the two processes; the second has a target more
TARGETS = ([0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 0, 1, 2, 2])  # rank 1: target 3 has no hard row
# Of every row, several; every third loss takes them in place of the targets.
HARD_ROWS = (
    torch.tensor([[3, -1], [4, 2], [5, 1], [0, -1], [1, -1], [-1, -1]]),
    torch.tensor([[4, 1, 5], [0, 5, -1], [6, 7, -1], [-1, -1, -1], [0, -1, -1],
                  [1, -1, -1], [2, 7, -1], [2, 6, -1]]),
)  # fmt: skip
# Of captions and of pictures: equal within a process and across, hard rows among them.
GROUPS = torch.tensor(
    [
        [5, 2, 3, 4, 2, 9, 5, 2, 8, 6, 5, 7, 9, 1],
        [1, 0, 1, 0, 0, 0, 0, 7, 0, 7, 0, 0, 7, 1],
    ]
).T
EQUAL = (
    {"equal_captions": "separate"},
    {"equal_captions": "mask"},
    {"equal_captions": "positive"},
    {"equal_captions": "mask", "similar_captions": 0.3},
    {"equal_captions": "positive", "similar_captions": 0.3, "similar_images": 0.4},
)


class Towers(nn.Module):
    """Two linear towers, a temperature and a bias."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in (("image", (12, 7)), ("text", (10, 7))):
            weight = torch.randn(shape, generator=generator, dtype=torch.float64)
            setattr(self, name, nn.Parameter(weight.to(dtype)))
        self.scale = nn.Parameter(torch.tensor(2.0, dtype=dtype))
        self.bias = nn.Parameter(torch.tensor(-3.0, dtype=dtype))

    def forward(self, image, text):
        return image @ self.image, text @ self.text, self.scale.exp(), self.bias


def inputs(dtype):
    generator = torch.Generator().manual_seed(1)
    rows = sum(ROWS)
    shapes = ((rows, 12), (rows, 10))
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]


def make_losses(gather: bool):
    options = [{"direction": d, "space": s} for d, s in READINGS] + [{"gamma": 0.0}, *EQUAL]
    options = [{"gamma": 0.7, "margin": 0.2, "gather": gather, **o} for o in options]
    return [kind(**o) for kind in (HelipLoss, HelipSigmoidLoss) for o in options]


def evaluate(loss, model, image, text, target, groups, **options):
    options |= {"groups": groups, "embeddings": {"image": image, "caption": text}}
    image, text, scale, bias = model(image, text)
    if isinstance(loss, HelipSigmoidLoss):
        options["logit_bias"] = bias
    out = loss(image, text, scale, target, **options)
    # Replicas wait for the gradient of every parameter.
    return {**out, "loss": out["loss"] + 0.0 * bias}


def shares(rank: int, dtype: torch.dtype) -> list:
    """Values and averaged gradients of each loss on one rank, by DistributedDataParallel."""
    image, text = (x.split(ROWS)[rank] for x in inputs(dtype))
    target, groups = torch.tensor(TARGETS[rank]), GROUPS.split(ROWS)[rank]
    found = []
    for number, loss in enumerate(make_losses(gather=True)):
        model = nn.parallel.DistributedDataParallel(Towers(dtype))
        # Known or asked for, the rows are the same.
        options = {"rank_rows": ROWS} if number % 2 else {}
        if number % 3 == 0:
            options["hard_rows"] = HARD_ROWS[rank]
        out = evaluate(loss, model, image, text, target, groups, **options)
        out["loss"].backward()
        values = {name: value.detach().clone() for name, value in out.items()}
        for value in values.values():
            dist.all_reduce(value)
            value /= 2
        gradients = {n: p.grad for n, p in model.module.named_parameters() if p.grad is not None}
        found.append((values, gradients))
    return found


def whole(dtype: torch.dtype) -> list:
    image, text = inputs(dtype)
    target = torch.tensor(TARGETS[0] + [ROWS[0] + t for t in TARGETS[1]])
    first, second = HARD_ROWS
    hard_rows = torch.cat(
        [
            torch.nn.functional.pad(first, (0, 1), value=-1),
            torch.where(second < 0, second, second + ROWS[0]),
        ]
    )
    found = []
    for number, loss in enumerate(make_losses(gather=False)):
        model = Towers(dtype)
        more = {"hard_rows": hard_rows} if number % 3 == 0 else {}
        out = evaluate(loss, model, image, text, target, GROUPS, **more)
        out["loss"].backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append(({name: value.detach() for name, value in out.items()}, gradients))
    return found


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_two_processes_give_the_loss_and_gradients_of_one(tmp_path, dtype, bound):
    expected = whole(dtype)
    exact = whole(torch.float64)
    for ours in run(shares, tmp_path, dtype):
        for (values, gradients), (right, right_gradients), (_, sizes) in zip(
            ours, expected, exact, strict=True
        ):
            assert values.keys() == right.keys()
            for name, value in values.items():
                torch.testing.assert_close(value, right[name], rtol=bound, atol=bound)
            for name, gradient in right_gradients.items():
                error = (gradients[name] - gradient).norm()
                assert error <= bound * sizes[name].norm(), name


def test_whole_batches_have_terms_of_every_kind():
    """So that the comparison above compares something."""
    for loss, (values, _) in zip(make_losses(gather=False), whole(torch.float64), strict=True):
        separate = loss.options.equal_captions == "separate"
        assert "equal_rows" not in values if separate else 0 < values["equal_rows"] <= 1
    for values, _ in whole(torch.float64):
        assert 0 < values["violated"] < 1
        assert values["margin"] > 0
        assert values["hard_similarity"] != 0 != values["ordinary_similarity"]


def gathered(rank: int) -> tuple:
    rows = torch.arange(6.0).reshape(2, 3)[: rank + 1] + 10 * rank
    rows.requires_grad_()
    counts = row_counts(len(rows), rows.device)
    everyone = gather_rows(rows, counts)
    weight = (rank + 1) * torch.arange(9.0).reshape(3, 3)
    (everyone * weight).sum().backward()
    return counts, everyone.detach(), rows.grad


def test_rows_are_gathered_in_order_and_gradients_are_summed_where_they_came_from(tmp_path):
    for rank, (counts, everyone, gradient) in enumerate(run(gathered, tmp_path)):
        assert counts == [1, 2]
        assert everyone.tolist() == [[0, 1, 2], [10, 11, 12], [13, 14, 15]]
        expected = 3 * torch.arange(9.0).reshape(3, 3)
        assert torch.equal(gradient, expected[:1] if rank == 0 else expected[1:])


def wrong_rows(rank: int) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        gather_pairs(torch.ones(2, 3), torch.ones(2, 3), rank_rows=[2, 3] if rank else [3, 2])
    return str(caught.value)


def test_rows_that_do_not_fit_are_refused_before_anybody_waits(tmp_path):
    messages = run(wrong_rows, tmp_path)
    assert "rank_rows is [3, 2]" in messages[0]
    assert "and 2 for rank 1" in messages[1]


def test_without_processes_gather_changes_nothing():
    image, text = (x[:, :8] for x in inputs(torch.float32))
    target = torch.tensor(TARGETS[0] + [ROWS[0] + t for t in TARGETS[1]])
    plain, gathering = (HelipLoss(gather=g)(image, text, 5.0, target) for g in (False, True))
    assert all(torch.equal(plain[name], gathering[name]) for name in plain)
