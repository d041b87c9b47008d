"""Distillation: a model that is trained stays close to a teacher, such as the model at the start.

    loss = distill * distance

For unit rows x_i, y_i of the model (image and text of row i), u_i, v_i of the teacher, and b rows,

    features:  distance = mean over i of ( (1 - <x_i, u_i>) + (1 - <y_i, v_i>) ) / 2
    logits:    distance = mean over i of ( KL(p_i || q_i) + KL(p'_i || q'_i) ) / 2

where p_i is the softmax over j of s <u_i, v_j>, q_i that of s <x_i, y_j>, and p', q' have image and
text exchanged; s is the logit scale of the teacher. The first ties each feature to one place; the
second the similarities within a batch alone, so that the teacher may have another width. (Both are
forms of knowledge distillation, arXiv 1503.02531; for CLIP see arXiv 2307.12732.)

Everything is computed in float32 whatever the autocast dtype, or in float64 when the features are
float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helip.common.collectives import Everyone, gather_pairs
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.options import method_keywords
from helip.common.unit_rows import unit_rows
from helip.losses.features import check_features, one_number
from helip.losses.margin import similarities
from helip.losses.options import DistillOptions


@dataclass(frozen=True, kw_only=True)
class DistillCall(DistillOptions):
    """What a DistillationLoss is made of."""

    gather: bool = False
    """logits: compare own rows with those of all processes; without torch.distributed it changes
    nothing."""
    group: Any = None
    """The processes; None for all that there are."""


class DistillationLoss(nn.Module):
    """``distill`` x the distance to a teacher. No parameters, no state.

    Of several processes each calls it with rows of its own; the mean over processes of what is
    returned, and of gradients, is that of one process with the whole batch. Without ``gather`` the
    softmaxes of ``logits`` go over the rows of the process alone.
    """

    @method_keywords(DistillCall)
    def __init__(self, call: DistillCall) -> None:
        super().__init__()
        self.options = DistillOptions.of(call)
        self.gather = call.gather
        self.group = call.group

    def forward(
        self,
        image_features: Tensor,  # [b, d] floating
        text_features: Tensor,  # [b, d] floating
        teacher_image: Tensor,  # [b, t] floating; features: t = d
        teacher_text: Tensor,  # [b, t] floating
        teacher_scale: Tensor | float | None = None,  # logits: one number, already exponentiated
        *,
        rank_rows: Sequence[int] | None = None,  # b of each process; None: as many on each
    ) -> dict[str, Tensor]:
        """``loss`` (weighted, with graph) and, detached, ``distill``, the distance; scalars."""
        check_features(image_features, text_features)
        self._check_teacher(image_features, teacher_image, teacher_text)
        own = unit_rows(image_features), unit_rows(text_features)
        teacher = unit_rows(teacher_image.detach()), unit_rows(teacher_text.detach())
        with torch.autocast(device_type=image_features.device.type, enabled=False):
            if self.options.distill_kind == "features":
                cosines = [(x * u).sum(dim=1) for x, u in zip(own, teacher, strict=True)]
                distance = 1.0 - 0.5 * (cosines[0] + cosines[1])
            else:
                distance = self._divergence(own, teacher, teacher_scale, rank_rows)
            rows = rank_rows or [1]
            weight = len(distance) * len(rows) / sum(rows) if len(rows) > 1 else 1.0
            distance = weight * distance.mean()
        return {"loss": self.options.distill * distance, "distill": distance.detach()}

    def _divergence(
        self,
        own: tuple[Tensor, Tensor],
        teacher: tuple[Tensor, Tensor],
        teacher_scale: Tensor | float | None,
        rank_rows: Sequence[int] | None,
    ) -> Tensor:
        """[b]: of each own row, the mean of both directions."""
        if teacher_scale is None:
            raise InvalidArgumentError(
                "distill_kind is 'logits' and teacher_scale is None; pass the exponentiated logit "
                "scale of the teacher"
            )
        scale = one_number(
            teacher_scale, "teacher_scale", "teacher.logit_scale.exp()", own[0].dtype
        )
        log_q, log_p = (
            [F.log_softmax(scale * each, dim=1) for each in self._similarities(rows, rank_rows)]
            for rows in (own, teacher)
        )
        divergences = [
            F.kl_div(q, p, reduction="none", log_target=True).sum(dim=1)
            for q, p in zip(log_q, log_p, strict=True)
        ]
        return 0.5 * (divergences[0] + divergences[1])

    def _similarities(
        self, rows: tuple[Tensor, Tensor], rank_rows: Sequence[int] | None
    ) -> tuple[Tensor, Tensor]:
        """[b, all rows]: of own images to the texts of all, and of own texts to their images."""
        everyone = gather_pairs(*rows, rank_rows, self.group) if self.gather else Everyone(*rows)
        return similarities(*rows, everyone, "cross")

    def _check_teacher(self, image: Tensor, teacher_image: Tensor, teacher_text: Tensor) -> None:
        shapes = [tuple(features.shape) for features in (teacher_image, teacher_text)]
        if shapes[0] != shapes[1] or len(shapes[0]) != 2 or shapes[0][0] != len(image):
            raise InvalidArgumentError(
                f"teacher_image has shape {shapes[0]} and teacher_text {shapes[1]}, must be the "
                f"same [{len(image)}, dim]: one row of each for each row of the batch"
            )
        if self.options.distill_kind == "features" and shapes[0][1] != image.shape[1]:
            raise MismatchError(
                f"the teacher's features have {shapes[0][1]} dimensions and the model's "
                f"{image.shape[1]}, must be as many for distill_kind='features'; take "
                "distill_kind='logits', or a teacher of that width"
            )

    def extra_repr(self) -> str:
        named = ", ".join(f"{name}={value!r}" for name, value in self.options.as_dict().items())
        return named + (", gather=True" if self.gather else "")
