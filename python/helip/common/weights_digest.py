"""A digest of a model's weights: the same wherever they lie and in whatever order they are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from helip.common.errors import InvalidArgumentError

_SIZE = 32  # bytes of the digest


def weights_digest(
    weights: nn.Module | Mapping[str, Any], *, names: Callable[[str], bool] | None = None
) -> str:
    """BLAKE2b of 256 bits, in hex, over the names, dtypes, shapes and bytes of a state dict.

    ``weights``: a module, of which parameters and persistent buffers count, or a state dict. The
    device and the order of the dict do not count; a name, a dtype, a shape and every bit of a value
    do, the sign of a zero too. ``names`` says of an entry's name whether it counts; by default all
    do. From a GPU one entry at a time is copied.

    Raises InvalidArgumentError where no entry is left, and for an entry that has no bytes (of the
    meta device, sparse, or no tensor).
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    kept = sorted(name for name in state if names is None or names(name))
    if not kept:
        raise InvalidArgumentError(
            f"none of {len(state)} weights is left to digest; give a module with parameters, and "
            "names= that takes some of them"
        )
    digest = hashlib.blake2b(digest_size=_SIZE)
    for name in kept:
        values = _bytes_of(name, state[name])
        shape = ",".join(map(str, state[name].shape))
        head = f"{name}\0{state[name].dtype}\0{shape}".encode("utf-8", "surrogatepass")
        # With its length, so that no two lists of entries give one row of bytes.
        digest.update(len(head).to_bytes(8, "little") + head)
        digest.update(values)
    return digest.hexdigest()


def _bytes_of(name: str, tensor: Any) -> memoryview:
    odd = _oddity(tensor)
    if odd is not None:
        raise InvalidArgumentError(
            f"{name} is a {odd}, must be a dense tensor with values; leave it out by names="
        )
    flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().flatten()
    return memoryview(flat.view(torch.uint8).numpy()).cast("B")


def _oddity(tensor: Any) -> str | None:
    """Why an entry has no bytes of its own; None for a plain tensor."""
    if not isinstance(tensor, Tensor):
        return type(tensor).__name__
    if tensor.is_meta:
        return "tensor of the meta device"
    if hasattr(tensor, "full_tensor"):
        return "part of a tensor that is sharded over processes"
    if tensor.layout != torch.strided or tensor.is_quantized:
        return "sparse or quantized tensor"
    return None
