"""Gradients by cached features, against those of the whole batch (arXiv 2101.06983)."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

from helip.common.errors import InvalidArgumentError
from helip.losses.helip_loss import HelipLoss
from helip.training.grad_cache import cached_backward, split_rows
from support.process_group import run

ROWS = 11


class Towers(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Sequential(
            nn.Linear(9, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 5)
        )
        self.text = nn.Sequential(
            nn.Linear(8, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 5)
        )
        self.log_scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, image, text):
        return {
            "image": self.image(image),
            "text": self.text(text),
            "scale": self.log_scale.exp(),
        }


def make_batch(dtype=torch.float64, rows: int = ROWS, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(rows, 9, generator=generator, dtype=torch.float64).to(dtype),
        "text": torch.randn(rows, 8, generator=generator, dtype=torch.float64).to(dtype),
        "target": torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 4][:rows]),
    }


def losses_of(loss):
    return lambda out, batch: loss(out["image"], out["text"], out["scale"], batch["target"])


def encode_with(model):
    return lambda part: model(part["image"], part["text"])


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def whole(model, batch, loss):
    out = losses_of(loss)(encode_with(model)(batch), batch)
    out["loss"].backward()
    return out, gradients(model)


@pytest.mark.parametrize("chunks", [1, 2, 3, 11, 20])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.float64, 1e-14)])
def test_loss_and_gradients_are_those_of_the_whole_batch(chunks, dtype, bound):
    batch, loss = make_batch(dtype), HelipLoss(gamma=0.7, margin=0.1)
    expected, right = whole(Towers().to(dtype), batch, loss)
    model = Towers().to(dtype)
    out = cached_backward(batch, chunks, encode=encode_with(model), losses=losses_of(loss))
    for name, value in expected.items():
        torch.testing.assert_close(out[name], value, rtol=bound, atol=bound)
    for name, gradient in gradients(model).items():
        assert (gradient - right[name]).norm() <= bound * right[name].norm(), name


def test_both_passes_drop_the_same_and_leave_the_generator_where_one_would():
    batch, loss = make_batch(torch.float32), HelipLoss()
    model = Towers(dropout=0.5)
    torch.manual_seed(7)
    parts = split_rows(batch, 3)
    encoded = [encode_with(model)(part) for part in parts]  # one pass with a graph, same numbers
    after = torch.rand(1)
    joined = {n: torch.cat([e[n] for e in encoded]) for n in ("image", "text")}
    losses_of(loss)({**joined, "scale": model.log_scale.exp()}, batch)["loss"].backward()
    right = gradients(model)
    model.zero_grad()
    torch.manual_seed(7)
    cached_backward(batch, 3, encode=encode_with(model), losses=losses_of(loss))
    assert torch.equal(torch.rand(1), after)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, right[name], rtol=1e-5, atol=1e-7)


def test_no_more_than_a_chunk_is_encoded_with_a_graph():
    seen = []

    def encode(part):
        seen.append((len(part["image"]), torch.is_grad_enabled()))
        return encode_with(model)(part)

    model = Towers().double()
    cached_backward(make_batch(), 4, encode=encode, losses=losses_of(HelipLoss()))
    assert seen == [(3, False)] * 3 + [(2, False)] + [(3, True)] * 3 + [(2, True)]


def test_gradients_are_held_back_in_all_chunks_but_the_last():
    held = []

    @contextlib.contextmanager
    def hold():
        held.append(True)
        yield

    model = Towers().double()
    cached_backward(
        make_batch(), 4, encode=encode_with(model), losses=losses_of(HelipLoss()), hold=hold
    )
    assert len(held) == 3


def test_a_locked_tower_gets_no_gradient():
    model = Towers().double()
    model.image.requires_grad_(False)
    cached_backward(make_batch(), 3, encode=encode_with(model), losses=losses_of(HelipLoss()))
    assert all(p.grad is None for p in model.image.parameters())
    assert all(p.grad.any() for p in model.text.parameters())


def test_the_loss_can_be_scaled():
    batch = make_batch()
    _, right = whole(Towers().double(), batch, HelipLoss())
    model = Towers().double()
    cached_backward(
        batch, 2, encode=encode_with(model), losses=losses_of(HelipLoss()), scale=lambda x: 8 * x
    )
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, 8 * right[name])


def test_entries_of_several_lengths_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"'b': 2.* must have as many"):
        split_rows({"a": torch.ones(3), "b": torch.ones(2)}, 2)


def two_processes(rank: int, dtype: torch.dtype) -> tuple:
    batch = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in make_batch(rows=10).items()
    }
    half = {name: value[5 * rank : 5 * rank + 5] for name, value in batch.items()}
    half["target"] = torch.tensor([0, 1, 0, 1, 1])
    model = nn.parallel.DistributedDataParallel(Towers().to(dtype))
    loss = HelipLoss(gamma=0.7, margin=0.1, gather=True)
    cached_backward(half, 2, encode=encode_with(model), losses=losses_of(loss), hold=model.no_sync)
    return tuple(gradients(model.module).values())


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.float64, 1e-14)])
def test_it_is_exact_over_processes_too(tmp_path, dtype, bound):
    batch = make_batch(dtype, rows=10)
    batch["target"] = torch.tensor([0, 1, 0, 1, 1, 5, 6, 5, 6, 6])
    _, right = whole(Towers().to(dtype), batch, HelipLoss(gamma=0.7, margin=0.1))
    for ours in run(two_processes, tmp_path, dtype):
        for gradient, expected in zip(ours, right.values(), strict=True):
            assert (gradient - expected).norm() <= bound * expected.norm()
