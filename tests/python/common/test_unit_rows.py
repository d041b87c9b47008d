"""Rows of features at length 1."""

from __future__ import annotations

import pytest
import torch

from helip.common.unit_rows import unit_rows


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_of_any_scale_have_length_one_in_their_dtype_and_zeros_stay(
    dtype: torch.dtype, scale: float
) -> None:
    found = unit_rows(torch.tensor([[3, 4], [0, 0], [-2, 0]], dtype=dtype) * scale)
    right = torch.tensor([[0.6, 0.8], [0, 0], [-1, 0]], dtype=dtype)
    torch.testing.assert_close(found, right)


def test_float16_becomes_float32() -> None:
    assert unit_rows(torch.ones(1, 4, dtype=torch.float16)).tolist() == [[0.5] * 4]
    assert unit_rows(torch.ones(1, 4, dtype=torch.float16)).dtype == torch.float32
