"""What a step of training keeps in memory, from steps on few rows.

Every operation of torch is seen, and each new storage is counted as long as it lives. Two steps on
few rows run the same operations; what is alive after each of them grows linearly with the rows, so
two curves give that of any number of rows, and its highest point. What an operation needs inside
itself, and what an allocator keeps back, is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class LiveBytes(TorchDispatchMode):
    """Inside, ``curve`` gets the bytes alive after each operation; ``known`` tensors are not
    counted."""

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live, self.curve = 0, [0]
        self._seen: dict[int, Any] = {}
        for tensor in known:
            self._watch(tensor, count=False)

    def __torch_dispatch__(
        self, work: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        made = work(*arguments, **(options or {}))
        tree_map_only(Tensor, self._watch, made)
        self.curve.append(self.live)
        return made

    def _watch(self, tensor: Tensor, count: bool = True) -> Tensor:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key not in self._seen:
            size = storage.nbytes() if count else 0
            self.live += size
            self._seen[key] = weakref.finalize(storage, self._gone, key, size)
        return tensor

    def _gone(self, key: int, size: int) -> None:
        self.live -= size
        self._seen.pop(key, None)


def extrapolated(few: LiveBytes, more: LiveBytes, rows: tuple[int, int], wanted: int) -> int:
    """The highest point of the curve of ``wanted`` rows, from those of ``rows``."""
    if len(few.curve) != len(more.curve):
        # Other kernels for other shapes: the line through the highest points is what is left.
        low, high = np.array([max(few.curve)]), np.array([max(more.curve)])
    else:
        low, high = np.array(few.curve), np.array(more.curve)
    slope = np.maximum(high - low, 0) / max(rows[1] - rows[0], 1)
    return int((high + slope * (wanted - rows[1])).max())


def bytes_of(tensors: Iterable[Any]) -> int:
    """Of the tensors among these, each storage once."""
    sizes = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in tensors
        if isinstance(tensor, torch.Tensor)
    }
    return sum(sizes.values())
