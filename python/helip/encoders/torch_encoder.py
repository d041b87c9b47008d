"""Encoders over torch modules: precision, device, memory layout and batch pieces in one place.

The two classes turn a torch module, or a function over captions, into an encoder that returns
float32 rows on the CPU, whatever device and precision it computes with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from helip.common.errors import InvalidArgumentError, UnsupportedError

_PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Activations of a larger piece fall out of a CPU's caches: 16 pictures are the fastest for
# convolutions (64 take nearly twice as long a picture), and 32 captions waste little on padding.
_CPU_IMAGES = 16
_CPU_TEXTS = 32
_ACCELERATOR_TEXTS = 256


def check_precision(dtype: str) -> torch.dtype:
    """The torch dtype of a precision's name."""
    if dtype not in _PRECISIONS:
        raise InvalidArgumentError(
            f"an encoder's precision is {dtype!r}; it must be one of {', '.join(_PRECISIONS)}"
        )
    return _PRECISIONS[dtype]


def check_device(device: str | torch.device) -> torch.device:
    """The torch device of that name; UnsupportedError where CUDA is asked for and absent."""
    try:
        checked = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidArgumentError(
            f"device is {device!r}; it must be a device of torch such as 'cpu' or 'cuda:0'"
        ) from error
    if checked.type == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError(
            f"device is {device!r}, but this torch finds no CUDA device: use device='cpu', or "
            "install a CUDA build of torch"
        )
    return checked


class _Compute:
    """Where and how precisely an encoder computes."""

    def __init__(self, device: str | torch.device, dtype: str) -> None:
        self.precision = check_precision(dtype)
        self.device = check_device(device)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        enabled = self.precision is not torch.float32
        with (
            torch.inference_mode(),
            torch.autocast(
                self.device.type,
                dtype=self.precision if enabled else None,
                enabled=enabled,
            ),
        ):
            yield

    @property
    def on_cpu(self) -> bool:
        return self.device.type == "cpu"


class TorchImageEncoder:
    """An image encoder over ``module``, which maps [n, 3, H, W] to pooled features [n, dim].

    ``preprocess`` maps a PIL image to a float32 tensor [3, H, W]; it is a plain attribute, so that
    a data loader's workers get it without the model. Not thread-safe.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        preprocess: Callable[[Any], torch.Tensor],
        *,
        spec: str,
        device: str | torch.device = "cpu",
        dtype: str = "float32",
    ) -> None:
        self.spec = spec
        self.preprocess = preprocess
        self._compute = _Compute(device, dtype)
        self._module = module.float().eval()
        self._module.to(self._compute.device)
        any_module: Any = self._module  # some versions of torch do not declare this overload
        any_module.to(memory_format=torch.channels_last)
        # One blank picture settles the width and shows that the two parts fit each other.
        self.dim = int(self._features(self._blank()[None]).shape[1])

    def _blank(self) -> torch.Tensor:
        from PIL import Image

        return self.preprocess(Image.new("RGB", (64, 64)))

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        images = images.to(self._compute.device, memory_format=torch.channels_last)
        with self._compute():
            features = self._module(images)
        if features.ndim != 2 or features.shape[0] != images.shape[0]:
            raise UnsupportedError(
                f"encoder {self.spec!r} gives an output of shape {list(features.shape)} for "
                f"{images.shape[0]} pictures; pooled features [n, dim] are needed"
            )
        return features.float().cpu()

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
        piece = _CPU_IMAGES if self._compute.on_cpu else len(images)
        return torch.cat([self._features(part) for part in images.split(piece)])


class TorchTextEncoder:
    """A text encoder over ``embed``, which maps a few captions to features [n, dim].

    Equal captions of one call are encoded once, and captions of like length together, so that
    little is computed on padding. The rows do not depend on the order of the captions. Not
    thread-safe.
    """

    def __init__(
        self,
        embed: Callable[[list[str]], torch.Tensor],
        *,
        spec: str,
        device: str | torch.device = "cpu",
        dtype: str = "float32",
        dim: int | None = None,
    ) -> None:
        self.spec = spec
        self._embed = embed
        self._compute = _Compute(device, dtype)
        self.dim = dim if dim is not None else int(self._features(["a"]).shape[1])

    def _features(self, texts: list[str]) -> torch.Tensor:
        with self._compute():
            features = self._embed(texts)
        if features.ndim != 2 or features.shape[0] != len(texts):
            raise UnsupportedError(
                f"encoder {self.spec!r} gives an output of shape {list(features.shape)} for "
                f"{len(texts)} captions; pooled features [n, dim] are needed"
            )
        return features.float().cpu()

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Features of captions: n strings → [n, dim] float32 on the CPU."""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InvalidArgumentError("encode takes a list of strings, one a caption")
        features = torch.zeros(len(texts), self.dim)
        if not len(texts):
            return features
        unique = sorted(set(texts), key=lambda text: (len(text), text))
        piece = _CPU_TEXTS if self._compute.on_cpu else _ACCELERATOR_TEXTS
        rows = torch.cat(
            [self._features(unique[at : at + piece]) for at in range(0, len(unique), piece)]
        )
        position = {text: row for row, text in enumerate(unique)}
        return rows[torch.tensor([position[text] for text in texts])]
