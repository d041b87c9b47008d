"""Distillation: a model that is trained stays close to a teacher, such as the model at the start.

    loss = distill * mean over i of ( (1 - <x_i, u_i>) + (1 - <y_i, v_i>) ) / 2

for unit rows x_i, y_i of the model (image and text of row i), u_i, v_i of the teacher. So each
feature is tied to one place. (A form of knowledge distillation, arXiv 1503.02531; for CLIP see
arXiv 2307.12732.)

Everything is computed in float32 whatever the autocast dtype, or in float64 when the features are
float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from helip.common.errors import InvalidArgumentError
from helip.common.options import method_keywords
from helip.common.unit_rows import unit_rows
from helip.losses.features import check_features
from helip.losses.options import DistillOptions


class DistillationLoss(nn.Module):
    """``distill`` x the distance to a teacher; None is 0. No parameters, no state.

    Of several processes each calls it with rows of its own; the mean over processes of what is
    returned, and of gradients, is that of one process with the whole batch.
    """

    @method_keywords(DistillOptions)
    def __init__(self, options: DistillOptions) -> None:
        super().__init__()
        self.weight = options.distill or 0.0

    def forward(
        self,
        image_features: Tensor,  # [b, d] floating
        text_features: Tensor,  # [b, d] floating
        teacher_image: Tensor,  # [b, d] floating
        teacher_text: Tensor,  # [b, d] floating
        *,
        rank_rows: Sequence[int] | None = None,  # b of each process; None: as many on each
    ) -> dict[str, Tensor]:
        """``loss`` (weighted, with graph) and, detached, ``distill``, the distance; scalars."""
        check_features(image_features, text_features)
        shapes = [tuple(each.shape) for each in (teacher_image, teacher_text)]
        if shapes != [tuple(image_features.shape)] * 2:
            raise InvalidArgumentError(
                f"teacher_image has shape {shapes[0]} and teacher_text {shapes[1]}, must be that "
                f"of the model's features, {tuple(image_features.shape)}: take a teacher of that "
                "width"
            )
        own = unit_rows(image_features), unit_rows(text_features)
        teacher = unit_rows(teacher_image.detach()), unit_rows(teacher_text.detach())
        with torch.autocast(device_type=image_features.device.type, enabled=False):
            cosines = [(x * u).sum(dim=1) for x, u in zip(own, teacher, strict=True)]
            distance = 1.0 - 0.5 * (cosines[0] + cosines[1])
            rows = rank_rows or [1]
            weight = len(distance) * len(rows) / sum(rows) if len(rows) > 1 else 1.0
            distance = weight * distance.mean()
        return {"loss": self.weight * distance, "distill": distance.detach()}

    def extra_repr(self) -> str:
        return f"distill={self.weight}"
