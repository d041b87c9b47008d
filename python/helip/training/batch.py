"""A batch of a loader on its way to the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from helip.common.errors import InvalidArgumentError
from helip.losses.features import check_hard_rows, check_target


def on_device(
    batch: Mapping[str, Any], device: torch.device, *, channels_last: bool = False
) -> dict[str, Tensor]:
    """Its tensors there, rows first; InvalidArgumentError where what is trained on is none.

    channels_last: in which order of its memory the pictures are; their shape is the same.
    """
    for name, maker in (("image", "transform"), ("text", "tokenizer")):
        if not isinstance(batch[name], Tensor):
            raise InvalidArgumentError(
                f"batch[{name!r}] is a {type(batch[name]).__name__}, must be a tensor; give "
                f"the loader a {maker}"
            )
    check_target(batch["target"], len(batch["index"]))
    if "hard_rows" in batch:
        check_hard_rows(batch["hard_rows"], len(batch["index"]))
    names = [name for name, value in batch.items() if isinstance(value, Tensor)]
    ready = {name: batch[name].to(device, non_blocking=True) for name in names}
    if channels_last:
        ready["image"] = ready["image"].contiguous(memory_format=torch.channels_last)
    if "views" in ready:
        ready["views"] = ready["views"].transpose(0, 1)
    return ready


def captions_that_fill(text: Tensor, tokenizer: Any) -> Tensor | int:
    """How many captions, int64 [b, context], fill the context, so may be cut."""
    end = getattr(tokenizer, "eot_token_id", None)
    return 0 if end is None else (text[:, -1] == end).sum()
