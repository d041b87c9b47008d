"""Products as exact as their bounds say: what must be off for them, and checks that it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from helip.common.errors import UnsupportedError
from helip.mining.gpu.kernel import filter_pairs
from helip.mining.gpu.rows import RowBlock
from helip.mining.options import PairRules

_RULES = PairRules(image_max=1.0, text_max=1.0)


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Switches TF32 and 16-bit sums off, and back to what they were.

    The switches are global to the process: another thread's products see them too, and two of these
    contexts must not overlap in time unless one lies within the other.
    """
    cuda: Any = torch.backends.cuda.matmul
    host: Any = torch.backends.mkldnn
    switches = [
        (cuda, "fp32_precision", "ieee"),
        (host.matmul, "fp32_precision", "ieee"),
        (cuda, "allow_bf16_reduced_precision_reduction", False),
        (cuda, "allow_fp16_reduced_precision_reduction", False),
        (cuda, "allow_fp16_accumulation", False),
    ]
    before = [getattr(owner, name) for owner, name, _ in switches]
    legacy: str | None
    try:
        legacy = torch.get_float32_matmul_precision()
    except RuntimeError:  # set through the newer switches, which torch will not mix with this one
        legacy = None
    try:
        if legacy is not None:
            torch.set_float32_matmul_precision("highest")
        for owner, name, value in switches:
            setattr(owner, name, value)
        yield
    finally:
        if legacy is not None:
            torch.set_float32_matmul_precision(legacy)
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


@contextlib.contextmanager
def plain_mode(device: torch.device) -> Iterator[None]:
    """No gradients, no autocast, and ``device`` the current one: for this thread alone."""
    current = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    with current, torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def check_products(device: torch.device, dtype: torch.dtype) -> None:
    """Raises UnsupportedError when products in ``dtype`` are rounded to fewer bits than float32.

    Environment variables can overrule the switches of exact_products, so this looks at the result
    of a small product. Call within exact_products and plain_mode.
    """
    n = 256
    if dtype == torch.float32:
        # 1 + 2**-12 needs 13 bits: float32 keeps it, TF32 (11) and bfloat16 (8) do not.
        expected = 1 + 2.0**-12
        rows = torch.full((n, n), expected, dtype=dtype, device=device)
        columns = torch.eye(n, dtype=dtype, device=device)
    else:
        # So does 4097, as a sum of ones.
        expected = 4097.0
        rows = torch.ones((n, 4104), dtype=dtype, device=device)
        rows[:, 4097:] = 0
        columns = torch.ones_like(rows)
    zeros = torch.zeros(n, device=device)
    found = filter_pairs(
        RowBlock({"image": rows}, {"image": zeros}),
        RowBlock({"image": columns}, {"image": zeros}),
        (zeros, zeros),
        _RULES,
        after=-n,
        capacity=n * n,
        fused=False,
    )
    if found.count() != n * n or not bool((found.upper == expected).all()):
        raise UnsupportedError(
            f"products of {dtype} on {device} are rounded to fewer bits than float32 has; unset "
            "what enforces that, such as NVIDIA_TF32_OVERRIDE or TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"
        )


def check_kernel(device: torch.device, dtype: torch.dtype) -> None:
    """Raises UnsupportedError when the fused kernel and torch's operators disagree on a block."""
    n = 300
    generator = torch.Generator().manual_seed(0)
    units, margins = {}, {}
    for name, width in (("image", 72), ("text", 200)):
        rows = torch.randn(n, width, generator=generator)
        units[name] = torch.nn.functional.normalize(rows).to(device, dtype)
        margins[name] = (0.01 * torch.rand(n, generator=generator)).to(device)
        margins[name][n // 2] = torch.nan
    block = RowBlock(units, margins)
    none = torch.zeros(n, device=device)
    tables = []
    for fused in (False, True):
        found = filter_pairs(
            block, block, (none, none), _RULES, after=0, capacity=n * n, fused=fused
        )
        table = torch.zeros(2, n, n)
        rows, columns, upper, lower = (each.cpu() for each in found.some(found.count()))
        table[:, rows.long(), columns.long()] = torch.stack([upper, lower])
        tables.append(table)
    if not torch.allclose(tables[0], tables[1], rtol=0, atol=1e-5):
        raise UnsupportedError(
            f"the fused kernel gives other scores than torch on {device}; set "
            "HELIP_CUDA_KERNEL=torch, and report it"
        )
