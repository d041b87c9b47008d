"""Encoders over torch models: precision, device, memory layout and chunks of a batch in one place.

The two classes turn a function over pictures or captions into an encoder that returns float32 rows
on the CPU, whatever device and precision it computes with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from helip.common.devices import autocast
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.options import Precision

# PIL image → float32 [3, H, W]
Preprocess = Callable[[Any], torch.Tensor]
# [n, 3, H, W] on the device, or n captions → pooled features [n, dim]
EmbedImages = Callable[[torch.Tensor], torch.Tensor]
EmbedTexts = Callable[[list[str]], torch.Tensor]

_CPU = torch.device("cpu")
# Activations of a larger chunk fall out of a CPU's caches: 16 pictures are the fastest for
# convolutions (64 take nearly twice as long a picture), and 32 captions waste little on padding.
_CPU_IMAGES = 16
_CPU_TEXTS = 32
_ACCELERATOR_TEXTS = 256


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a family gives: how to embed, and which weights do it."""

    embed: Callable[[Any], torch.Tensor] = field(kw_only=False)  # EmbedImages or EmbedTexts
    weights: str
    """weights_digest of the parameters that embed uses."""
    preprocess: Any = None  # a Preprocess, of an image encoder


def ready(model: torch.nn.Module, device: torch.device) -> Any:
    """The model as it is to compute: in float32, on ``device``, without dropout or gradients."""
    prepared: Any = model.float().eval().requires_grad_(False).to(device)
    return prepared.to(memory_format=torch.channels_last)


@dataclass(eq=False, kw_only=True)
class _TorchEncoder:
    embed: Callable[[Any], torch.Tensor] = field(kw_only=False)
    spec: str
    weights: str = ""
    """Digest of the values of its parameters; empty where it is not known."""
    files: str = ""
    """Stamp of the local files that it was loaded from, as they were before; see weights.py."""
    device: torch.device = _CPU
    dtype: Precision = "float32"

    def _features(self, inputs: Any) -> torch.Tensor:
        """Features [n, dim] of n inputs, a chunk that is computed at once."""
        with torch.inference_mode(), autocast(self.device, self.dtype):
            features = self.embed(inputs)
        if features.ndim != 2 or len(features) != len(inputs):
            raise UnsupportedError(
                f"encoder {self.spec!r} gives an output of shape {list(features.shape)} for "
                f"{len(inputs)} samples; pooled features [n, dim] are needed"
            )
        return features.float().cpu()


@dataclass(eq=False)
class TorchImageEncoder(_TorchEncoder):
    """An image encoder over ``embed``, which maps some pictures to features.

    ``preprocess`` maps a PIL image to a float32 tensor [3, H, W]; it is a plain attribute, so that
    a data loader's workers get it without the model. Not thread-safe.
    """

    preprocess: Any  # a Preprocess

    def __post_init__(self) -> None:
        from PIL import Image

        # One blank picture settles the width and shows that the two fit each other.
        blank = self.preprocess(Image.new("RGB", (64, 64)))
        self.dim = self.encode(blank[None]).shape[1]

    @property
    def block(self) -> int | None:
        """Pictures that are computed at once, each without regard to the others of its batch; None
        for all of a batch."""
        return _CPU_IMAGES if self.device.type == "cpu" else None

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features of a batch: [n, 3, H, W] float → [n, dim] float32 on the CPU.

        Raises InvalidArgumentError for another shape or dtype.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise InvalidArgumentError(
                f"images are {images.dtype} {list(images.shape)}; encode takes float tensors "
                "[n, 3, H, W] as preprocess() makes them"
            )
        if not len(images):
            return torch.zeros(0, self.dim)
        chunks = images.split(self.block or len(images))
        layout = torch.channels_last
        return torch.cat(
            [self._features(chunk.to(self.device, memory_format=layout)) for chunk in chunks]
        )


@dataclass(eq=False)
class TorchTextEncoder(_TorchEncoder):
    """A text encoder over ``embed``, which maps a few captions to features.

    Equal captions of one call are encoded once, and captions of like length together, so that
    little is computed on padding. The rows do not depend on the order of the captions. Not
    thread-safe.
    """

    def __post_init__(self) -> None:
        self.dim = self._features(["a"]).shape[1]

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Features of captions: n strings → [n, dim] float32 on the CPU."""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InvalidArgumentError("encode takes a list of strings, one a caption")
        if not len(texts):
            return torch.zeros(0, self.dim)
        unique = sorted(set(texts), key=lambda text: (len(text), text))
        size = _CPU_TEXTS if self.device.type == "cpu" else _ACCELERATOR_TEXTS
        chunks = [unique[at : at + size] for at in range(0, len(unique), size)]
        rows = torch.cat([self._features(chunk) for chunk in chunks])
        position = {text: row for row, text in enumerate(unique)}
        return rows[torch.tensor([position[text] for text in texts])]
