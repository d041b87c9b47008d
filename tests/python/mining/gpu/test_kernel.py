"""The operators helip::product_filter and product_seed, and the library that brings them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from helip import _core
from helip.common.errors import UnsupportedError
from helip.mining.gpu import kernel as device_kernel


@pytest.fixture(scope="module", autouse=True)
def _library():
    # An installed package has the library; a build tree names it.
    device_kernel.load_library(os.environ.get("HELIP_TORCH_LIBRARY"))


def unit(rows, width, dtype, generator):
    x = torch.randn(rows, width, generator=generator) + 0.2
    return torch.nn.functional.normalize(x).to(dtype)


def operands(m, n, widths, dtype=torch.bfloat16, seed=0, margin=0.01):
    generator = torch.Generator().manual_seed(seed)
    arguments = []
    for width in widths:
        if width is None:
            arguments += [None] * 4
            continue
        arguments += [unit(m, width, dtype, generator), unit(n, width, dtype, generator)]
        arguments += [margin * torch.rand(size, generator=generator) for size in (m, n)]
    return arguments


def call(arguments, *, rows=None, columns=None, **options):
    given = arguments[0] if arguments[0] is not None else arguments[4]
    m, n = len(given), len(arguments[1] if arguments[1] is not None else arguments[5])
    rules = {"image_max": 1.0, "text_max": 1.0, "min_score": 0.0, "signed": False}
    rules |= {"after": -m, "capacity": m * n, "fused": False, "stream": 0}
    return torch.ops.helip.product_filter(
        *arguments,
        torch.zeros(m) if rows is None else rows,
        torch.zeros(n) if columns is None else columns,
        **(rules | options),
    )


def survivors(*arguments, **options):
    """(row, column) -> (upper, lower)"""
    rows, columns, upper, lower, count = call(*arguments, **options)
    entries = [v[: int(count)].tolist() for v in (rows, columns, upper, lower)]
    found = {(i, j): (u, w) for i, j, u, w in zip(*entries, strict=True)}
    assert len(found) == int(count)
    return found


def exact(arguments, *, signed, image_max, text_max):
    """Scores of the pairs in float64, 0 for near duplicates."""
    score = 1.0
    for rows, columns, maximum in (
        (*arguments[:2], image_max),
        (*arguments[4:6], text_max),
    ):
        if rows is None:
            continue
        s = rows.double().numpy() @ columns.double().numpy().T
        score = score * np.where(s > maximum, 0, s if signed else np.maximum(s, 0))
    return np.maximum(score, 0)


SHAPES = [(1, 1, (8, 8)), (130, 257, (72, 40)), (300, 20, (None, 136)), (20, 140, (64, None))]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("m", "n", "widths"), SHAPES)
def test_bounds_enclose_the_score_and_nothing_above_a_threshold_is_lost(
    m, n, widths, signed, fused
):
    arguments = operands(m, n, widths)
    limits = {"signed": signed, "image_max": 0.3, "text_max": 0.4}
    score = exact(arguments, **limits)
    generator = torch.Generator().manual_seed(1)
    rows, columns = (0.1 * torch.rand(size, generator=generator) for size in (m, n))
    found = survivors(arguments, rows=rows, columns=columns, min_score=0.01, fused=fused, **limits)
    for (i, j), (upper, lower) in found.items():
        assert lower <= score[i, j] <= upper
        assert upper > 0.01
        assert upper >= min(rows[i], columns[j])
    reaches = (score >= rows.numpy()[:, None]) | (score >= columns.numpy())
    wanted = np.argwhere((score > 0.01) & reaches)
    assert {tuple(pair) for pair in wanted} <= set(found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("after", [-150, -20, 0, 40, 149])
def test_the_kernel_and_the_operators_agree(after, signed, dtype):
    arguments = operands(150, 150, (72, 200), dtype)
    rows = torch.linspace(0, 0.2, 150)
    options = {"rows": rows, "columns": rows.flip(0), "after": after, "signed": signed}
    options |= {"image_max": 0.2, "text_max": 0.25}
    by_operators = survivors(arguments, **options)
    by_kernel = survivors(arguments, fused=True, **options)
    assert by_kernel.keys() == by_operators.keys()
    for pair, bounds in by_operators.items():
        assert by_kernel[pair] == pytest.approx(bounds, abs=1e-6)
    if after == 0:
        assert all(i < j for i, j in by_kernel)


@pytest.mark.parametrize("fused", [False, True])
def test_a_row_without_a_margin_is_left_out(fused):
    arguments = operands(20, 30, (8, 16))
    arguments[2][3] = arguments[7][5] = torch.nan
    for signed in (False, True):
        found = survivors(arguments, fused=fused, signed=signed, image_max=0.5)
        assert found
        assert all(i != 3 and j != 5 for i, j in found)


@pytest.mark.parametrize("fused", [False, True])
def test_a_target_that_looks_for_nothing_gets_what_the_other_side_wants(fused):
    arguments = operands(20, 30, (8, 16))
    nothing = torch.full((20,), torch.inf)
    columns = torch.full((30,), torch.inf)
    assert not survivors(arguments, rows=nothing, columns=columns, fused=fused)
    columns[7] = 0
    found = survivors(arguments, rows=nothing, columns=columns, fused=fused)
    assert found
    assert {j for _, j in found} == {7}


@pytest.mark.parametrize("fused", [False, True])
def test_more_survivors_than_places_are_counted(fused):
    arguments = operands(20, 30, (8, 16), margin=1.0)
    rows, columns, upper, lower, count = call(arguments, capacity=17, fused=fused)
    assert int(count) > 17
    assert all(len(v) == 17 for v in (rows, columns, upper, lower))


def test_near_duplicates_are_dropped_beyond_doubt_and_have_no_lower_bound_in_doubt():
    rows = torch.ones(1, 1)
    columns = torch.tensor([[0.5], [0.985], [0.995], [-0.005], [-0.02]])
    margins = torch.zeros(1), torch.full((5,), 0.01)
    arguments = [rows, columns, *margins, None, None, None, None]
    found = survivors(arguments, image_max=0.98)
    assert found.keys() == {(0, 0), (0, 1), (0, 3)}
    assert found[0, 0] == pytest.approx((0.51, 0.49))
    assert found[0, 1][1] == 0
    assert found[0, 3] == pytest.approx((0.005, 0))


def test_a_seed_is_the_kth_largest_lower_bound():
    arguments = operands(40, 50, (24, 16))
    arguments[2][3] = torch.nan
    rules = {"image_max": 0.3, "text_max": 0.4}
    for signed in (False, True):
        score = exact(arguments, signed=signed, **rules)
        every = survivors(arguments, signed=signed, **rules)
        lower = np.zeros((40, 50))
        for place, (_, bound) in every.items():
            lower[place] = bound
        for k in (1, 3, 50):
            seeds = torch.ops.helip.product_seed(*arguments, signed=signed, k=k, **rules).numpy()
            np.testing.assert_allclose(seeds, np.sort(lower, axis=1)[:, -k], atol=1e-7)
            assert (seeds <= np.sort(score, axis=1)[:, -k]).all()
            assert seeds[3] == 0
    assert not torch.ops.helip.product_seed(*arguments, signed=False, k=51, **rules).any()


@pytest.mark.parametrize(
    "change",
    [
        {0: torch.ones(2, 5)},
        {0: torch.ones(2, 4, dtype=torch.float64)},
        {1: None},
        {2: torch.zeros(3)},
        {3: torch.zeros(3, dtype=torch.float64)},
        {4: torch.ones(3, 4), 5: torch.ones(3, 4), 6: torch.zeros(3), 7: torch.zeros(3)},
        {0: None, 1: None, 2: None, 3: None},
        {"rows": torch.zeros(3)},
        {"min_score": -1.0},
        {"capacity": -1},
        {"fused": True},
    ],
)
def test_tensors_that_do_not_fit_are_refused(change):
    arguments = [torch.ones(2, 4), torch.ones(3, 4), torch.zeros(2), torch.zeros(3), *[None] * 4]
    options = {"rows": torch.zeros(2), "columns": torch.zeros(3), "after": -2, "capacity": 6}
    options |= {"min_score": 0.0, "fused": False}
    for place, value in change.items():
        if isinstance(place, int):
            arguments[place] = value
        else:
            options[place] = value
    with pytest.raises(RuntimeError, match="product_filter"):
        torch.ops.helip.product_filter(
            *arguments,
            options.pop("rows"),
            options.pop("columns"),
            image_max=1.0,
            text_max=1.0,
            signed=False,
            stream=0,
            **options,
        )


def test_a_file_that_is_no_cuda_library_is_refused(tmp_path):
    (tmp_path / "libhelip_cuda.so").write_bytes(b"no library")
    with pytest.raises(UnsupportedError, match="libhelip_cuda"):
        device_kernel.load_cuda_library(tmp_path / "libhelip_cuda.so")


def test_the_cuda_library_loads_without_a_gpu():
    if not (Path(_core.__file__).parent / "lib" / "libhelip_cuda.so").exists():
        pytest.skip("built without a CUDA compiler")
    device_kernel.load_cuda_library()


def test_the_library_needs_no_cpp_symbol_of_torch():
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    paths = [Path(p) for p in torch.ops.loaded_libraries if "libhelip_torch" in p]
    assert paths
    for path in paths:
        listing = subprocess.run(
            [nm, "-DC", "--undefined-only", path], check=True, capture_output=True, text=True
        ).stdout
        assert "torch_call_dispatcher" in listing
        namespaces = ("at::", "c10::", "torch::")
        assert [line for line in listing.splitlines() if any(n in line for n in namespaces)] == []
