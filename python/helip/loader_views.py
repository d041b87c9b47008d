"""Three looks at a picture for SLIP (arXiv 2112.12750): the plain view and two augmented ones.

`TwoViews` is a transform that gives all three as one tensor [3, 3, H, W]; `split_views` takes a
batch of them apart into ``image`` and ``views``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from helip.errors import InvalidArgumentError

__all__ = ["SlipAugmentation", "TwoViews", "split_views"]


class TwoViews:
    """A picture -> [3, 3, H, W]: ``transform`` of it, then ``ssl_transform`` of it twice."""

    def __init__(
        self, transform: Callable[[Any], Tensor], ssl_transform: Callable[[Any], Tensor]
    ) -> None:
        self.transform = transform
        self.ssl_transform = ssl_transform

    def __call__(self, image: Any) -> Tensor:
        three = [self.transform(image), self.ssl_transform(image), self.ssl_transform(image)]
        shapes = [tuple(view.shape) for view in three]
        if len(set(shapes)) > 1:
            raise InvalidArgumentError(
                f"transform gives {shapes[0]} and ssl_transform {shapes[1]} and {shapes[2]}, must "
                "be the same shape: one tower sees them all"
            )
        return torch.stack(three)

    def __repr__(self) -> str:
        return f"TwoViews({self.transform!r}, {self.ssl_transform!r})"


class SlipAugmentation:
    """SLIP's augmentation of a view: SimCLR's with weaker colours. A PIL image -> [3, size, size].

    A crop of 8 to 100 % of the area; with probability 0.8 brightness, contrast and saturation by up
    to 40 % and hue by up to 10 %; grey with 0.2; blurred by 0.1 to 2 pixels with 0.5; mirrored with
    0.5. Draws from torch's global generator alone.
    """

    def __init__(
        self, size: int | Sequence[int], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        from torchvision import transforms  # which open_clip needs as well

        self._steps = transforms.Compose(
            [
                transforms.RandomResizedCrop(size, scale=(0.08, 1.0)),
                transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
                transforms.RandomGrayscale(p=0.2),
                transforms.RandomApply([_Blur(0.1, 2.0)], p=0.5),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(tuple(mean), tuple(std)),
            ]
        )

    @classmethod
    def like(cls, preprocess: dict[str, Any]) -> SlipAugmentation:
        """Of the size and colour statistics of a model's ``preprocess_cfg``."""
        missing = [name for name in ("size", "mean", "std") if not preprocess.get(name)]
        if missing:
            raise InvalidArgumentError(
                f"the model's preprocess_cfg lacks {', '.join(missing)}, so its views cannot be "
                "made; pass transform=TwoViews(transform, SlipAugmentation(size, mean, std))"
            )
        return cls(preprocess["size"], preprocess["mean"], preprocess["std"])

    def __call__(self, image: Any) -> Tensor:
        return self._steps(image.convert("RGB"))


class _Blur:
    """A Gaussian blur of a PIL image, its radius drawn from [low, high]."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def __call__(self, image: Any) -> Any:
        from PIL import ImageFilter

        radius = self._low + (self._high - self._low) * float(torch.rand(()))
        return image.filter(ImageFilter.GaussianBlur(radius))


def split_views(images: Tensor) -> dict[str, Tensor]:
    """{"image" [b, 3, H, W], "views" [2, b, 3, H, W]} of a batch of `TwoViews`, [b, 3, 3, H, W]."""
    if images.dim() != 5 or images.shape[1] != 3:
        raise InvalidArgumentError(
            f"a batch of TwoViews has shape {tuple(images.shape)}, must be [rows, 3, 3, H, W]"
        )
    return {
        "image": images[:, 0].contiguous(),
        "views": images[:, 1:].transpose(0, 1).contiguous(),
    }
