"""Three looks at an image for SLIP (arXiv 2112.12750): the plain view and two augmented ones.

`TwoViews` is a transform that gives all three as one tensor [3, 3, H, W]; `split_views` takes a
batch of them apart into ``image`` and ``views``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from helip.common.errors import InvalidArgumentError
from helip.data.image_transform import ImageTransform


@dataclass(frozen=True)
class TwoViews:
    """An image -> [3, 3, H, W]: ``transform`` of it, then ``ssl_transform`` of it twice."""

    transform: Callable[[Any], Tensor]
    ssl_transform: Callable[[Any], Tensor]

    def __call__(self, image: Any) -> Tensor:
        three = [self.transform(image), self.ssl_transform(image), self.ssl_transform(image)]
        shapes = [tuple(view.shape) for view in three]
        if len(set(shapes)) > 1:
            raise InvalidArgumentError(
                f"transform gives {shapes[0]} and ssl_transform {shapes[1]} and {shapes[2]}, must "
                "be the same shape: one tower sees them all"
            )
        return torch.stack(three)


def slip_augmentation(preprocess: Mapping[str, Any]) -> ImageTransform:
    """SLIP's augmentation, in the size and colours of a model's ``preprocess_cfg``."""
    missing = [name for name in ("size", "mean", "std") if not preprocess.get(name)]
    if missing:
        raise InvalidArgumentError(
            f"the model's preprocess_cfg lacks {', '.join(missing)}, so its views cannot be "
            "made; pass transform=TwoViews(transform, ImageTransform.slip(size, mean=..., std=...))"
        )
    size, mean, std = preprocess["size"], preprocess["mean"], preprocess["std"]
    size = size if isinstance(size, int) else tuple(size)
    return ImageTransform.slip(size, interpolation="bilinear", mean=mean, std=std)


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
