"""NT-Xent of SLIP against its formula in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.losses.ssl import SslLoss


def nt_xent(first: torch.Tensor, second: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    return SslLoss(temperature=temperature)(first, second)["loss"]


def reference(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """The sum over rows, one at a time."""
    rows = np.concatenate([first, second]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    b, total = len(first), 0.0
    for r in range(2 * b):
        others = [math.exp(rows[r] @ rows[s] / temperature) for s in range(2 * b) if s != r]
        total -= math.log(math.exp(rows[r] @ rows[(r + b) % (2 * b)] / temperature) / sum(others))
    return total / (2 * b)


def views(rows: int = 7, dim: int = 5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    second = first + torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return first.to(dtype), second.to(dtype)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_loss_is_the_formula(rows, temperature):
    first, second = views(rows)
    expected = reference(first.numpy(), second.numpy(), temperature)
    assert float(nt_xent(first, second, temperature)) == pytest.approx(expected, rel=1e-12)
    single = float(nt_xent(first.float(), second.float(), temperature))
    assert single == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_its_gradient_is_that_of_the_formula():
    first, second = (view.requires_grad_() for view in views(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), (first, second))


def test_features_of_low_precision_are_worked_on_in_float32_under_autocast():
    first, second = views(dtype=torch.bfloat16)
    expected = reference(first.double().numpy(), second.double().numpy(), 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent(first, second, 0.1)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_module_scales_the_term_and_counts_what_is_found():
    first, second = views()
    out = SslLoss(scale=0.25, temperature=0.2)(first, second)
    assert float(out["loss"]) == pytest.approx(0.25 * float(out["ssl"]))
    rows = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    similarity = (rows @ rows.T).fill_diagonal_(-math.inf)
    found = similarity.argmax(dim=1) == (torch.arange(14) + 7) % 14
    assert float(out["ssl_accuracy"]) == pytest.approx(float(found.double().mean()))
    assert not out["ssl"].requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": -1.0}, "ssl_scale is -1"),
        ({"scale": math.nan}, "ssl_scale is nan"),
        ({"temperature": 0.0}, "ssl_temperature is 0"),
    ],
)
def test_options_outside_their_bounds_are_refused(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        SslLoss(**options)


def test_views_of_unlike_shapes_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"\(3, 4\) and \(2, 4\)"):
        nt_xent(torch.ones(3, 4), torch.ones(2, 4))
