"""What a family of encoders gives: a network over tensors, and what makes its tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

# PIL image → float32 [3, H, W]
Preprocess = Callable[[Any], torch.Tensor]
# n captions → a named tensor [n, tokens] for each input of the network, padded to the longest
Tokenize = Callable[[list[str]], dict[str, torch.Tensor]]


class Network(torch.nn.Module):
    """A model with the function that makes pooled features of it, so that both can be exported."""

    def __init__(self, model: torch.nn.Module, features: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self.features = features
        self.eval()  # exporters put back the mode that they find, on the model too

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Pixels [n, 3, H, W], or the tensors of a tokenizer in their order → [n, dim]."""
        return self.features(self.model, *inputs)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """An encoder as its family loads it, before anything computes it."""

    network: Callable[..., torch.Tensor]
    """A torch module over pixels or tokens; of a text encoder without ``tokenize``, a function over
    captions, which only torch can compute."""
    weights: str
    """weights_digest of the parameters that network uses."""
    preprocess: Preprocess | None = None
    tokenize: Tokenize | None = None


def ready(model: torch.nn.Module, device: torch.device) -> Any:
    """The model as it is to compute: in float32, on ``device``, without dropout or gradients."""
    prepared: Any = model.float().eval().requires_grad_(False).to(device)
    return prepared.to(memory_format=torch.channels_last)
