"""Mining on a GPU: runs where torch sees one, and is skipped elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helip import _core
from helip.common.errors import UnsupportedError
from helip.mining.gpu import kernel as device_kernel
from helip.mining.gpu import products as device_products
from helip.mining.inputs import inputs_of
from support.device_samples import mine_on_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]


@pytest.fixture(scope="module")
def matrices():
    rng = np.random.default_rng(0)
    pair = rng.integers(60, size=3000)
    image = rng.normal(size=(60, 96))[pair] + rng.normal(size=(3000, 96))
    text = rng.normal(size=(60, 72))[pair] + rng.normal(size=(3000, 72))
    image[10:20], text[15:25] = image[20:30], text[40:50]
    image[50], text[51] = 0, 0
    return image.astype(np.float32), text.astype(np.float32)


@pytest.fixture(scope="module")
def fused():
    device_kernel.load_library()
    try:
        device_kernel.load_cuda_library()
    except UnsupportedError as error:
        pytest.skip(str(error))


def mined(matrices, **options):
    inputs = inputs_of(None, *matrices, ("image", "text"))
    result = mine_on_device(inputs, k=20, **({"device": "cuda"} | options))
    signed = options.get("signed", False)
    native = _core.MineOptions(k=20, method="exact", signed_products=signed)
    expected = _core.mine_targets(*inputs.matrices, list(range(3000)), native)
    for mine, right in zip((result.ids, result.scores, result.counts), expected, strict=True):
        np.testing.assert_array_equal(mine, right)
    return result.report


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_torchs_operators_give_the_table_of_the_host(matrices, precision, signed):
    report = mined(matrices, precision=precision, kernel="torch", signed=signed)
    assert report["solved_on_host"] == 0


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_the_fused_kernel_gives_the_table_of_the_host(matrices, fused, precision, signed):
    options = {"precision": precision, "kernel": "fused", "signed": signed}
    mined(matrices, **options)
    report = mined(matrices, block_rows=700, capacity=2000, **options)
    assert report["calls_split"] > 0


def test_the_fused_kernel_agrees_with_the_operators(fused):
    gpu = torch.device("cuda", torch.cuda.current_device())
    for dtype in (torch.float16, torch.bfloat16):
        with device_products.exact_products(), device_products.plain_mode(gpu):
            device_products.check_kernel(gpu, dtype)


def test_the_fused_kernel_finds_what_its_emulation_finds(fused):
    generator = torch.Generator().manual_seed(3)
    rows = torch.nn.functional.normalize(torch.randn(500, 136, generator=generator)).bfloat16()
    margins, thresholds = torch.full((500,), 0.002), torch.zeros(500)
    found = []
    for place in ("cpu", "cuda"):
        operands = [x.to(place) for x in (rows, rows, margins, margins)]
        stream = torch.cuda.current_stream().cuda_stream if place == "cuda" else 0
        i, j, upper, lower, count = torch.ops.helip.product_filter(
            *operands, *[None] * 4, *[thresholds.to(place)] * 2, image_max=0.98, text_max=1.0,
            min_score=0.0, signed=False, after=0, capacity=10**6, fused=True, stream=stream,
        )  # fmt: skip
        table = torch.zeros(2, 500, 500)
        places = slice(int(count))
        table[:, i[places].cpu().long(), j[places].cpu().long()] = torch.stack(
            [upper[places].cpu(), lower[places].cpu()]
        )
        found.append(table)
    # A sum may differ in its last bits, and whether a score of almost zero is one.
    assert (found[0] - found[1]).abs().max() < 1e-5


def test_several_gpus_give_the_same_table(matrices):
    if torch.cuda.device_count() < 2:
        pytest.skip("torch sees one GPU")
    mined(matrices, device="cuda:all", block_rows=200)
