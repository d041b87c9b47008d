"""Whether mining was seen to give the CPU's tables on the GPUs of this machine.

A proof holds for a kind of GPU with one version of helip, of torch and of CUDA. Those that were
given are kept in a file of the user's cache; while there is none, ``device="auto"`` is the CPU.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch

from helip import _core
from helip.common.errors import Error, UnsupportedError
from helip.common.files import read_json, replace_file
from helip.mining.gpu.kernel import load_cuda_library, load_library
from helip.mining.gpu.miner import DeviceMiner, devices_of
from helip.mining.inputs import inputs_of

_ROWS, _K = 20_000, 50
_FORMATS = {"torch": ("float32", "float16", "bfloat16"), "fused": ("float16", "bfloat16")}


def prove_gpu(device: str = "cuda") -> list[str]:
    """Mine 20,000 generated pairs on ``device`` by every kernel, and compare with the CPU's table.

    Takes seconds. Afterwards ``mine(device="auto")`` takes GPUs of this kind, until helip, torch
    or CUDA change. Returns what was compared, such as "fused, bfloat16".

    Raises:
        Error: a table that is not that of the CPU. UnsupportedError: no such device, or a kernel
        that is installed and does not run.
    """
    devices = devices_of(device)
    load_library()
    kernels = ["torch"]
    if devices[0].type == "cpu":
        kernels.append("fused")  # in emulation
    elif _has_fused_kernel():
        kernels.append("fused")
    inputs = inputs_of(None, *_pairs(), ("image", "text"))
    expected = _core.mine_targets(
        *inputs.matrices, list(range(_ROWS)), _core.MineOptions(k=_K, method="exact")
    )
    compared = []
    for kernel in kernels:
        for precision in _FORMATS[kernel]:
            miner = DeviceMiner(inputs, device=device, k=_K, kernel=kernel, precision=precision)
            for first, pools in miner.bands():
                last = first + len(pools.counts)
                for found, right in zip(
                    (pools.ids, pools.scores, pools.counts), expected, strict=True
                ):
                    if not np.array_equal(found, right[first:last]):
                        raise Error(
                            f"kernel {kernel!r} in {precision} on {device} gives another table "
                            f"than the CPU among targets {first} to {last - 1}; use device='cpu', "
                            "and please report it"
                        )
            compared.append(f"{kernel}, {precision}")
    if devices[0].type == "cuda":
        given = {*_proofs(), *map(_kind, devices)}
        replace_file(_file(), json.dumps({"mining": sorted(given)}, indent=1) + "\n")
    return compared


def is_proven(device: str = "cuda") -> bool:
    """Whether `prove_gpu` has passed for all GPUs that ``device`` names."""
    given = _proofs()
    return all(_kind(each) in given for each in devices_of(device))


def _pairs() -> tuple[np.ndarray, np.ndarray]:
    """Clusters with near duplicates, rows of zeros, and scores that are equal."""
    rng = np.random.default_rng(0)
    cluster = rng.integers(_ROWS // 50, size=_ROWS)
    image, text = (
        (rng.normal(size=(_ROWS // 50, d))[cluster] + rng.normal(size=(_ROWS, d))).astype(
            np.float32
        )
        for d in (384, 136)
    )
    image[10:20], text[15:25] = image[20:30], text[40:50]
    image[50], text[51] = 0, 0
    return image, text


def _kind(device: torch.device) -> str:
    properties = torch.cuda.get_device_properties(device)
    return (
        f"{properties.name}, compute capability {properties.major}.{properties.minor}, "
        f"CUDA {torch.version.cuda}, torch {torch.__version__}, helip {_core.__version__}"
    )


def _has_fused_kernel() -> bool:
    try:
        load_cuda_library()
    except UnsupportedError:
        return False
    return True


def _file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "helip" / "proven-gpus.json"


def _proofs() -> set[str]:
    try:
        return set(read_json(_file()).get("mining", ()))
    except (Error, RuntimeError):  # no home, or no file that this version wrote
        return set()
