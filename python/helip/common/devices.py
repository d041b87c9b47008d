"""Devices and number formats of torch, by the names that options have for them."""

from __future__ import annotations

import torch

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.options import Precision

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str | torch.device) -> torch.device:
    """The device of that name; ``auto`` is a GPU where there is one, else the CPU.

    Raises:
        InvalidArgumentError: no name of a device. UnsupportedError: there is no such GPU.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InvalidArgumentError(
            f"device is {str(device)!r}, must be auto, cpu, cuda or cuda:1"
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError(
            f"device is {str(device)!r}, but torch finds no CUDA device; use device='cpu', or a "
            "CUDA build of torch"
        )
    return chosen


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """A context in which ``precision`` is computed in; float32 is no autocast."""
    dtype = _AUTOCAST[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether this processor or GPU multiplies bfloat16 itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
