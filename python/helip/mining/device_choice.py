"""Where a job is mined: on the CPU, or on GPUs that know fewer options."""

from __future__ import annotations

import warnings

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.machine import may_have_gpu
from helip.mining.options import MineOptions


def choose_device(device: str, options: MineOptions, *, deleted: int) -> str:
    """``cpu``, or the name of GPUs; ``deleted`` rows of the store.

    ``auto`` is a GPU only where `prove_gpu` has passed. RuntimeWarning where it has not.

    Raises:
        InvalidArgumentError: no name of a device. UnsupportedError: no such device, or an option
        that it does not know.
    """
    if device == "cpu":
        return device
    of_the_host = ""
    if options.method not in ("auto", "exact"):
        of_the_host = f"method is {options.method!r}"
    elif options.margin is not None:
        of_the_host = f"margin is {options.margin}"
    elif options.collapse != "none":
        of_the_host = f"collapse is {options.collapse!r}"
    elif deleted:
        of_the_host = f"the store has {deleted:,} deleted rows"
    if device == "auto" and (of_the_host or not may_have_gpu()):
        return "cpu"
    import torch

    if device == "auto":
        if not torch.cuda.is_available():
            return "cpu"
        return "cuda" if _proven("cuda", "mining on the CPU; ") else "cpu"
    if device.split(":")[0] != "cuda":
        raise InvalidArgumentError(
            f'device is {device!r}; use "cpu", "cuda", "cuda:0,cuda:1", "cuda:all" or "auto"'
        )
    if of_the_host:
        raise UnsupportedError(f'{of_the_host}, which only the CPU knows; use device="cpu"')
    if not torch.cuda.is_available():
        raise UnsupportedError(
            f'device is {device!r}, but torch finds no CUDA device; use device="cpu", or a CUDA '
            "build of torch"
        )
    _proven(device)
    return device


def _proven(device: str, consequence: str = "") -> bool:
    from helip.mining.gpu.proof import is_proven

    if proven := is_proven(device):
        return proven
    warnings.warn(
        f"mining on the GPUs {device!r} of this machine is unproven: {consequence}"
        "helip.mining.prove_gpu() compares their tables with those of the CPU, in seconds",
        RuntimeWarning,
        stacklevel=5,
    )
    return proven
