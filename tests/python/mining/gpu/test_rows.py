"""Unit rows on a device, and the margins that bound what their products get wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.mining.gpu import rows as device_rows

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", list(device_rows.FORMATS))
def test_the_margins_of_two_rows_cover_the_error_of_their_product(precision):
    image = np.random.default_rng(0).normal(size=(200, 768)).astype(np.float32)
    image[50] = 0
    dtype = device_rows.FORMATS[precision]
    block = device_rows.read_block({"image": image}, np.arange(200), CPU, dtype)
    exact = image.astype(np.float64)
    norms = np.linalg.norm(exact, axis=1)
    exact = exact / np.where(norms == 0, 1, norms)[:, None]
    short = block.units["image"].float()
    error = np.abs((short @ short.T).double().numpy() - exact @ exact.T)
    margins = block.margins["image"].double().numpy()
    assert np.isnan(margins[50])
    error[50], error[:, 50], margins[50] = 0, 0, 0
    sums = margins[:, None] + margins
    assert (error <= sums).all()
    documented = {"float32": 4.7e-5, "float16": 6e-4, "bfloat16": 3.5e-3}
    assert sums.max() == pytest.approx(documented[precision], rel=0.15)


def test_a_row_of_norm_zero_has_no_margin_in_any_modality():
    inputs = {"image": np.ones((2, 3)), "text": np.array([[3.0, 4.0], [0.0, 0.0]])}
    block = device_rows.read_block(inputs, np.arange(2), CPU, torch.float32)
    assert block.units["text"].tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]
    for margins in block.margins.values():
        assert margins.isnan().tolist() == [False, True]


def test_rows_of_16_bits_are_as_wide_as_the_kernel_reads_them():
    inputs = {"text": np.ones((2, 13))}
    for dtype, width in ((torch.float32, 13), (torch.bfloat16, 16)):
        block = device_rows.read_block(inputs, np.arange(2), CPU, dtype)
        assert block.units["text"].shape == (2, width)
        assert not block.units["text"][:, 13:].any()


def test_a_block_is_the_same_in_one_step_or_many(monkeypatch):
    inputs = {"text": np.random.default_rng(0).normal(size=(50, 4))}
    ids = np.arange(0, 50, 2)
    whole = device_rows.read_block(inputs, ids, CPU, torch.float16)
    monkeypatch.setattr(device_rows, "STEP_ROWS", 7)
    steps = device_rows.read_block(inputs, ids, CPU, torch.float16)
    assert torch.equal(whole.units["text"], steps.units["text"])
    assert torch.equal(whole.margins["text"], steps.margins["text"])


def test_whole_numbers_that_are_no_codes_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"text is torch\.int64"):
        device_rows.read_block({"text": np.ones((2, 3), int)}, np.arange(2), CPU, torch.float32)


def test_a_dimension_without_a_useful_bound_is_refused():
    rows = np.ones((1, 200_000), np.float16)
    with pytest.raises(UnsupportedError, match="200000"):
        device_rows.read_block({"text": rows}, np.arange(1), CPU, torch.float32)
