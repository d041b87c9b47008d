"""Which of torch's kernels a training step on a CPU takes, where torch does not choose the fastest.

Both choices change nothing but the order of sums. They depend on the model alone, so that a resumed
run takes those that it began with. docs/training.md says what they were measured to gain.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

# In bfloat16 the backward of torch's CPU flash attention is slow over short sequences: up to so
# many tokens matrix products and a softmax are faster, forth and back. They keep [b, heads, n, n].
FEW_TOKENS = 100
_IMAGE_TOWERS = ("visual", "vision_model")  # of open_clip, of transformers


def attention_kernel(
    model: nn.Module, device: torch.device, precision: str, *, compiled: bool = False
) -> AbstractContextManager[Any]:
    """A context for the forward and the backward pass of a step, so for activations that are
    computed again, too."""
    plain = device.type == "cpu" and precision == "bfloat16" and not compiled
    plain = plain and 0 < longest_sequence(model) <= FEW_TOKENS
    return sdpa_kernel(SDPBackend.MATH) if plain else contextlib.nullcontext()


def longest_sequence(model: nn.Module) -> int:
    """Tokens of the longest sequence that a tower of the model has positions for.

    0 where a tower has no table of them [tokens, width], so that nobody knows.
    """
    longest = {True: 0, False: 0}  # of the image tower, of the text tower
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        if parameter.dim() >= 2 and any(part.startswith("pos") for part in parts):
            of_image = parts[0] in _IMAGE_TOWERS
            longest[of_image] = max(longest[of_image], parameter.shape[-2])
    return max(longest.values()) if all(longest.values()) else 0


def takes_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Whether pictures should come as channels last: for a convolutional tower on a CPU.

    Weights stay as they are. Of towers that are not open_clip's nobody knows whether they may.
    """
    visual = getattr(model, "visual", None)
    if device.type != "cpu" or not type(visual).__module__.startswith("open_clip."):
        return False
    assert isinstance(visual, nn.Module)
    return sum(isinstance(module, nn.Conv2d) for module in visual.modules()) > 1
