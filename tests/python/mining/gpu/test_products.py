"""What products need to be as exact as their bounds say, and the checks that it is so."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch

from helip.common.errors import UnsupportedError
from helip.mining.gpu import kernel as device_kernel
from helip.mining.gpu import products as device_products
from helip.mining.gpu.rows import FORMATS

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _library():
    # An installed package has the library; a build tree names it.
    device_kernel.load_library(os.environ.get("HELIP_TORCH_LIBRARY"))


def test_exact_products_leaves_the_switches_as_they_were():
    matmul = torch.backends.cuda.matmul
    before = (matmul.fp32_precision, matmul.allow_bf16_reduced_precision_reduction)
    with device_products.exact_products():
        assert matmul.fp32_precision == "ieee"
        assert not matmul.allow_bf16_reduced_precision_reduction
    assert (matmul.fp32_precision, matmul.allow_bf16_reduced_precision_reduction) == before


def test_products_of_fewer_bits_are_detected(monkeypatch):
    with device_products.exact_products(), device_products.plain_mode(CPU):
        for dtype in FORMATS.values():
            device_products.check_products(CPU, dtype)
    real = device_kernel.filter_pairs

    def rounded(*arguments, **options):
        found = real(*arguments, **options)
        return replace(found, upper=found.upper.bfloat16().float())

    monkeypatch.setattr(device_products, "filter_pairs", rounded)
    with pytest.raises(UnsupportedError, match="fewer bits"):
        device_products.check_products(CPU, torch.float32)


def test_a_kernel_that_gives_other_scores_is_detected(monkeypatch):
    device_products.check_kernel(CPU, torch.bfloat16)
    real = device_kernel.filter_pairs

    def swapped(*arguments, fused, **options):
        found = real(*arguments, fused=fused, **options)
        return replace(found, upper=found.upper.flip(0)) if fused else found

    monkeypatch.setattr(device_products, "filter_pairs", swapped)
    with pytest.raises(UnsupportedError, match="HELIP_CUDA_KERNEL=torch"):
        device_products.check_kernel(CPU, torch.bfloat16)
