"""The one interface of whatever computes a network."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Literal, Protocol

import torch

EngineName = Literal["torch", "openvino", "onnx"]
EnginePrecision = Literal["float32", "bfloat16", "float16", "int8"]
#: The inputs of one call: pixels [n, 3, H, W], or token tensors [n, tokens].
Inputs = tuple[torch.Tensor, ...]


class Engine(Protocol):
    """A network that is ready to compute. Not thread-safe."""

    name: EngineName
    precision: EnginePrecision
    pictures: int | None
    """Pictures of one call that it computes fastest; None for any number."""
    captions: int
    """The same of captions."""

    def run(self, calls: Iterable[Inputs]) -> Generator[torch.Tensor, None, None]:
        """Features [n, dim] float32 on the CPU of each call, in order.

        Calls may be computed side by side, and some ahead of who asks for them; the iterator is to
        be closed or exhausted before the next run.
        """
        ...
