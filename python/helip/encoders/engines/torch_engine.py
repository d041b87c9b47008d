"""Networks computed by torch, on any device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

import torch

from helip.common.devices import autocast
from helip.common.options import Precision
from helip.encoders.engines.engine import EngineName, EnginePrecision


class TorchEngine:
    """A function over tensors on ``device``, under autocast of ``precision``."""

    name: EngineName = "torch"

    def __init__(
        self,
        network: Callable[..., torch.Tensor],
        device: torch.device,
        precision: Precision = "float32",
    ) -> None:
        self.precision: EnginePrecision = precision
        self._autocast = precision
        self._network = network
        self._device = device
        on_cpu = device.type == "cpu"
        # Activations of a larger call fall out of a CPU's caches: 16 pictures are the fastest for
        # convolutions (64 take nearly twice as long a picture).
        self.pictures = 16 if on_cpu else None
        self.captions = 32 if on_cpu else 256

    def run(self, calls: Iterable[Any]) -> Generator[torch.Tensor, None, None]:
        for inputs in calls:
            with torch.inference_mode(), autocast(self._device, self._autocast):
                features = self._network(*(self._placed(each) for each in inputs))
            # Out of inference mode, so that rows can be changed.
            yield features.detach().float().cpu().clone()

    def _placed(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value  # captions of a text encoder without a tokenizer
        if value.ndim == 4:
            return value.to(self._device, memory_format=torch.channels_last)
        return value.to(self._device)
