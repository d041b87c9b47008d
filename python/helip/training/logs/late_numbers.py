"""Numbers of a step on their way from the device, which nobody waits for until they are read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class LateNumbers:
    """Names and their values [n]; copied to the host as soon as the device has them.

    Making one waits for nothing. `read` waits for the work that was queued before it was made.
    """

    def __init__(self, names: Sequence[str], values: Tensor) -> None:
        self._names = tuple(names)
        self._host, self._copied = values, None
        if values.is_cuda:
            self._host = torch.empty_like(values, device="cpu", pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def read(self) -> dict[str, float]:
        if self._copied is not None:
            self._copied.synchronize()
        return dict(zip(self._names, map(float, self._host.numpy()), strict=True))
