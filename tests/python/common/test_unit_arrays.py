"""Rows of arrays at length 1."""

from __future__ import annotations

import numpy as np
import pytest

from helip.common.unit_arrays import unit_array


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_have_length_one_in_their_dtype_and_zeros_stay(dtype: type) -> None:
    rows = np.array([[3, 4], [0, 0], [-2, 0]], dtype=dtype)
    found = unit_array(rows)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [-1, 0]], rtol=1e-6)
