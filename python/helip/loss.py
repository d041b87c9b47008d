"""CLIP loss and the hard negative margin loss (HNML) of HELIP, arXiv 2305.05208.

    loss = clip + gamma * margin                                            (Eq. 7)

``clip`` is the symmetric InfoNCE over all rows of the batch. ``margin`` is HNML (Eq. 6): for a
target i with hard rows H_i, and B_i all rows but i and H_i,

    image_i = mean over j in B_i of max(0, sim(I_i, T_j) - min over h in H_i of sim(I_i, T_h) + m)
    text_i  = the same with image and text exchanged
    margin  = mean over targets with hard rows of (image_i + text_i) / 2

so an ordinary negative should not be closer to the target than its hard negatives are. Sources
disagree on two points, and both readings are offered:

- ``direction="preserve"`` is Eq. 6. ``direction="repel"`` penalises hard negatives that come
  closer than ordinary ones do, as a published summary of the paper reads it:
  max(0, max over h in H_i of sim(I_i, T_h) - mean over j in B_i of sim(I_i, T_j) + m).
- ``space="cross"`` compares images with captions. ``space="intra"`` compares images with images
  and captions with captions.

``sim`` is the cosine of the model's own embeddings. Everything is computed in float32 whatever
the autocast dtype, or in float64 when the features are float64.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helip.errors import InvalidArgumentError

__all__ = ["HelipLoss", "check_target", "clip_loss", "hard_negative_margin_loss"]

DIRECTIONS = ("preserve", "repel")
SPACES = ("cross", "intra")


class HelipLoss(nn.Module):
    """CLIP loss + gamma x HNML (arXiv 2305.05208, Eq. 7). No parameters, no state.

    gamma: weight of the margin loss, >= 0; with 0 the loss is the CLIP loss and the margin is
        still reported, without a gradient.
    margin: m of Eq. 6, in [-2, 2]; 0 in the paper.
    direction, space: the readings described at the top of this module.
    """

    def __init__(
        self,
        *,
        gamma: float = 1.0,
        margin: float = 0.0,
        direction: str = "preserve",
        space: str = "cross",
    ) -> None:
        super().__init__()
        if not (math.isfinite(gamma) and gamma >= 0):
            raise InvalidArgumentError(
                f"gamma is {gamma}, must be a finite number >= 0; 0 switches the margin loss off"
            )
        _check_options(margin, direction, space)
        self.gamma = float(gamma)
        self.margin = float(margin)
        self.direction = direction
        self.space = space

    def forward(
        self,
        image_features: Tensor,  # [b, d] floating
        text_features: Tensor,  # [b, d] floating
        logit_scale: Tensor | float,  # one number, already exponentiated, as open_clip passes it
        target: Tensor | None = None,  # [b] integer: row of the target that each row serves
    ) -> dict[str, Tensor]:
        """Return ``loss`` (with graph) and, detached, ``clip``, ``margin`` and ``violated``.

        ``violated`` is the share of the hinge terms that are above zero. A row that serves itself
        is a target; ``target=None`` means that no row is a hard pair. All four are scalars.

        The values of a target on an accelerator are not read, since that would stall its stream;
        there, a row out of range is nobody's hard pair. Use `check_target` before the copy.
        """
        _check_features(image_features, text_features)
        image = _unit_rows(image_features)
        text = _unit_rows(text_features)
        similarity = _cosine(image, text)
        clip = _info_nce(similarity, logit_scale)
        if target is None:
            zero = clip.new_zeros(())
            return {"loss": clip, "clip": clip.detach(), "margin": zero, "violated": zero}
        check_target(target, image.shape[0])
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.gamma > 0):
            first, second = _directions(image, text, similarity, self.space)
            margin, violated = _margin_loss(first, second, target, self.margin, self.direction)
        loss = clip + self.gamma * margin if self.gamma > 0 else clip
        return {
            "loss": loss,
            "clip": clip.detach(),
            "margin": margin.detach(),
            "violated": violated.detach(),
        }

    def extra_repr(self) -> str:
        return (
            f"gamma={self.gamma}, margin={self.margin}, "
            f"direction={self.direction!r}, space={self.space!r}"
        )


def clip_loss(image_features: Tensor, text_features: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE over the b x b cosines: image i belongs to caption i.

    Features [b, d], normalised or not; ``logit_scale`` already exponentiated. Returns a scalar.
    """
    _check_features(image_features, text_features)
    return _info_nce(_cosine(_unit_rows(image_features), _unit_rows(text_features)), logit_scale)


def hard_negative_margin_loss(
    image_features: Tensor,
    text_features: Tensor,
    target: Tensor,
    *,
    margin: float = 0.0,
    direction: str = "preserve",
    space: str = "cross",
) -> Tensor:
    """HNML alone (arXiv 2305.05208, Eq. 6; see the top of this module). Returns a scalar.

    It is 0, with a graph, when no row is a hard pair; a target for which no ordinary row is left
    contributes 0.
    """
    _check_options(margin, direction, space)
    _check_features(image_features, text_features)
    check_target(target, image_features.shape[0])
    image = _unit_rows(image_features)
    text = _unit_rows(text_features)
    similarity = _cosine(image, text) if space == "cross" else None
    first, second = _directions(image, text, similarity, space)
    return _margin_loss(first, second, target, margin, direction)[0]


def check_target(target: Tensor, rows: int) -> None:
    """Raise InvalidArgumentError unless ``target`` is integer [rows] with values in [0, rows).

    Values are read only where that is free: on the CPU, outside torch.compile.
    """
    if not isinstance(target, Tensor) or target.dtype not in _INTEGERS:
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise InvalidArgumentError(
            f"target is {kind}, must be an integer tensor; pass the loader's batch['target']"
        )
    if target.dim() != 1 or target.shape[0] != rows:
        raise InvalidArgumentError(
            f"target has shape {tuple(target.shape)}, must be ({rows},): one entry for each row"
        )
    if torch.compiler.is_compiling() or target.device.type != "cpu":
        return
    outside = (target < 0) | (target >= rows)
    if bool(outside.any()):
        row = int(outside.nonzero()[0, 0])
        raise InvalidArgumentError(
            f"target[{row}] is {int(target[row])}, must be in [0, {rows}): the batch row, not the "
            "data-set row, of the target that this row serves"
        )


_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class _Roles(NamedTuple):
    """Who is what to whom in a batch; row i is seen from target i."""

    hard: Tensor  # bool [b, b]: r is a hard row of i
    ordinary: Tensor  # bool [b, b]: j is an ordinary negative of i, and i has hard rows
    ordinary_count: Tensor  # [b] floating, at least 1
    targets: Tensor  # scalar, floating: targets with hard rows, at least 1


def _roles(target: Tensor, dtype: torch.dtype) -> _Roles:
    rows = torch.arange(target.shape[0], device=target.device)
    itself = rows[:, None] == rows[None, :]
    hard = (target[None, :] == rows[:, None]) & ~itself
    is_target = hard.any(dim=1)
    ordinary = ~(hard | itself) & is_target[:, None]
    return _Roles(
        hard=hard,
        ordinary=ordinary,
        ordinary_count=ordinary.sum(dim=1).clamp(min=1).to(dtype),
        targets=is_target.sum().clamp(min=1).to(dtype),
    )


def _directions(
    image: Tensor, text: Tensor, similarity: Tensor | None, space: str
) -> tuple[Tensor, Tensor]:
    """The similarities [b, b] seen from each image, and those seen from each caption."""
    if space == "intra":
        return _cosine(image, image), _cosine(text, text)
    assert similarity is not None
    return similarity, similarity.T


def _margin_loss(
    from_image: Tensor, from_text: Tensor, target: Tensor, margin: float, direction: str
) -> tuple[Tensor, Tensor]:
    """The margin loss and the share of violated hinges, both scalar."""
    roles = _roles(target.to(from_image.device), from_image.dtype)
    hinge = _hinge_preserve if direction == "preserve" else _hinge_repel
    image, image_violated = hinge(from_image, roles, margin)
    text, text_violated = hinge(from_text, roles, margin)
    loss = 0.5 * (image + text) / roles.targets
    return loss, 0.5 * (image_violated + text_violated)


def _hinge_preserve(similarity: Tensor, roles: _Roles, margin: float) -> tuple[Tensor, Tensor]:
    """Eq. 6, one direction: sum over targets, and the share of (target, ordinary) terms above 0."""
    floor = similarity.masked_fill(~roles.hard, math.inf).amin(dim=1)
    floor = floor.masked_fill(floor == math.inf, 0.0)  # rows without hard rows; masked below
    terms = F.relu(similarity - floor[:, None] + margin).masked_fill(~roles.ordinary, 0.0)
    total = (terms.sum(dim=1) / roles.ordinary_count).sum()
    count = roles.ordinary.sum().clamp(min=1).to(similarity.dtype)
    return total, torch.count_nonzero(terms.detach()).to(similarity.dtype) / count


def _hinge_repel(similarity: Tensor, roles: _Roles, margin: float) -> tuple[Tensor, Tensor]:
    """The other reading, one direction: sum over targets, and the share of targets above 0."""
    ceiling = similarity.masked_fill(~roles.hard, -math.inf).amax(dim=1)
    ceiling = ceiling.masked_fill(ceiling == -math.inf, 0.0)
    mean = similarity.masked_fill(~roles.ordinary, 0.0).sum(dim=1) / roles.ordinary_count
    # Without an ordinary row there is nothing to compare with.
    counted = roles.ordinary.any(dim=1)
    terms = F.relu(ceiling - mean + margin).masked_fill(~counted, 0.0)
    count = counted.sum().clamp(min=1).to(similarity.dtype)
    return terms.sum(), torch.count_nonzero(terms.detach()).to(similarity.dtype) / count


def _unit_rows(features: Tensor) -> Tensor:
    """Rows [b, d] scaled to length 1, in float32 or float64; a zero row stays zero, gradient 0."""
    with torch.autocast(device_type=features.device.type, enabled=False):
        rows = features.to(torch.promote_types(features.dtype, torch.float32))
        # The cosine does not change with a row's scale, so the largest entry can be divided out:
        # squares then neither overflow nor vanish.
        largest = rows.detach().abs().amax(dim=1, keepdim=True)
        empty = largest < torch.finfo(rows.dtype).tiny
        rows = (rows / largest.masked_fill(empty, 1.0)).masked_fill(empty, 0.0)
        squared = rows.square().sum(dim=1, keepdim=True).masked_fill(empty, 1.0)
        return rows * squared.rsqrt()


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    """[b, b] products of unit rows, kept out of autocast."""
    with torch.autocast(device_type=first.device.type, enabled=False):
        dtype = torch.promote_types(first.dtype, second.dtype)
        return first.to(dtype) @ second.to(dtype).T


def _info_nce(similarity: Tensor, logit_scale: Tensor | float) -> Tensor:
    if isinstance(logit_scale, Tensor):
        if logit_scale.numel() != 1:
            raise InvalidArgumentError(
                f"logit_scale has shape {tuple(logit_scale.shape)}, must be one number: pass "
                "model.logit_scale.exp()"
            )
        logit_scale = logit_scale.reshape(()).to(similarity.dtype)
    with torch.autocast(device_type=similarity.device.type, enabled=False):
        logits = similarity * logit_scale
        labels = torch.arange(logits.shape[0], device=logits.device)
        return 0.5 * (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels))


def _check_options(margin: float, direction: str, space: str) -> None:
    if not -2.0 <= margin <= 2.0:
        raise InvalidArgumentError(
            f"margin is {margin}, must be in [-2, 2], the range of a difference of two cosines; "
            "the paper uses 0"
        )
    if direction not in DIRECTIONS:
        raise InvalidArgumentError(
            f"direction is {direction!r}, must be 'preserve' (Eq. 6) or 'repel'"
        )
    if space not in SPACES:
        raise InvalidArgumentError(f"space is {space!r}, must be 'cross' (Eq. 6) or 'intra'")


def _check_features(image: Tensor, text: Tensor) -> None:
    for name, features in (("image_features", image), ("text_features", text)):
        if features.dim() != 2 or not features.is_floating_point():
            raise InvalidArgumentError(
                f"{name} is {features.dtype} {tuple(features.shape)}, must be floating [rows, dim]"
            )
    if image.shape != text.shape:
        raise InvalidArgumentError(
            f"image_features {tuple(image.shape)} and text_features {tuple(text.shape)} must have "
            "the same shape: row i of both is one pair"
        )
    if image.shape[0] == 0 or image.shape[1] == 0:
        raise InvalidArgumentError(
            f"features have shape {tuple(image.shape)}, must hold at least one row and one column"
        )
