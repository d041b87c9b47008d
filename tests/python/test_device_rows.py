"""Unit rows on a device, the bound of what their products get wrong, and its preconditions."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from helip import device, device_rows
from helip.errors import UnsupportedError

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _library():
    # An installed package has the library; a build tree names it.
    device.load_library(os.environ.get("HELIP_TORCH_LIBRARY"))


@pytest.mark.parametrize("precision", list(device_rows.FORMATS))
def test_the_margin_covers_the_error_of_the_product(precision):
    image = np.random.default_rng(0).normal(size=(200, 768)).astype(np.float32)
    image[50] = 0
    inputs = {"image": image}
    dtype = device_rows.FORMATS[precision]
    block = device_rows.read_block(inputs, np.arange(200), CPU, dtype)
    exact = image.astype(np.float64)
    norms = np.linalg.norm(exact, axis=1)
    exact = exact / np.where(norms == 0, 1, norms)[:, None]
    short = block.units["image"].float()
    error = np.abs((short @ short.T).double().numpy() - exact @ exact.T)
    margin = device_rows.margin(block, block, "image").numpy()
    assert (error <= margin).all()
    documented = {"float32": 4.7e-5, "float16": 6e-4, "bfloat16": 3.5e-3}
    assert margin.max() == pytest.approx(documented[precision], rel=0.15)


def test_exact_products_leaves_the_switches_as_they_were():
    matmul = torch.backends.cuda.matmul
    before = (matmul.fp32_precision, matmul.allow_bf16_reduced_precision_reduction)
    with device_rows.exact_products(CPU):
        assert matmul.fp32_precision == "ieee"
        assert not matmul.allow_bf16_reduced_precision_reduction
    assert (matmul.fp32_precision, matmul.allow_bf16_reduced_precision_reduction) == before


def test_products_of_fewer_bits_are_detected(monkeypatch):
    with device_rows.exact_products(CPU):
        for dtype in device_rows.FORMATS.values():
            device_rows.check_products(CPU, dtype)
    scores = torch.ones(256, 256), torch.zeros(256, 256)
    monkeypatch.setattr(torch.ops.helip, "product_topk", lambda *a, **k: scores)
    with pytest.raises(UnsupportedError, match="fewer bits"):
        device_rows.check_products(CPU, torch.float32)


def test_a_row_of_norm_zero_stays_zero_and_is_marked():
    rows = np.array([[3.0, 4.0], [0.0, 0.0]])
    block = device_rows.read_block({"text": rows}, np.arange(2), CPU, torch.float32)
    assert block.units["text"].tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]
    assert block.zero.tolist() == [False, True]
    assert block.without_zero_rows().ids.tolist() == [0]


def test_a_dimension_without_a_useful_bound_is_refused():
    rows = np.ones((1, 200_000), np.float16)
    block = device_rows.read_block({"text": rows}, np.arange(1), CPU, torch.float32)
    with pytest.raises(UnsupportedError, match="200000"):
        device_rows.margin(block, block, "text")
