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

Rows of a batch whose captions or pictures are equal are no negatives of each other
(``equal_captions``, see `helip.losses.equal`); none of them counts as an ordinary or a hard row of
the other in the margin loss.

``soft_labels`` say how right row j is for row i, w_ij in 0 .. 1, and row i for itself, w_ii. In
``clip`` row i, its picture as well as its caption, aims at w_ij / max(1, sum over j of w_ij) in
place of itself alone. So a row without labels has w_ii = 1, and one whose weights are
all 0 has no term. The margin loss has no part in them.

Which rows are hard rows of which target, ``target`` says: each row serves one. Where every row is a
target and hard pairs of each other are many, as in a loader's batches of communities, ``hard_rows``
says it in its place: H_i is then all rows of the batch that stand in the pool of i.

``gather=True`` takes the negatives from the batches of all processes, while a target and its hard
rows stay on one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from helip.common.collectives import Everyone, gather_pairs
from helip.common.options import keywords, method_keywords
from helip.common.unit_rows import unit_rows
from helip.losses.equal import cross_entropy, equal_rows, label_weights
from helip.losses.features import (
    check_features,
    check_hard_rows,
    check_soft_labels,
    check_target,
    one_number,
)
from helip.losses.margin import Margin, Similarities, among, margin_loss, served, similarities
from helip.losses.options import LossOptions, MarginOptions


@dataclass(frozen=True, kw_only=True)
class LossCall(LossOptions):
    """What a HelipLoss is made of."""

    gather: bool = False
    """Take the negatives from all processes; without torch.distributed it changes nothing."""
    group: Any = None
    """The processes; None for all that there are."""


class HelipLoss(nn.Module):
    """CLIP loss + gamma x HNML (arXiv 2305.05208, Eq. 7). No parameters, no state.

    With ``gather`` each process calls the loss, and its backward, with rows of its own. What is
    returned is then the share of this process: the mean over processes is what one process would
    return for the whole batch, and so are gradients that are averaged over processes.

    Examples:
        Rows 0 and 2 are targets, rows 1 and 3 the hard pairs of these:

        >>> import helip, torch
        >>> image = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
        >>> loss = helip.HelipLoss(gamma=1.0)
        >>> found = loss(image, image, logit_scale=10.0, target=torch.tensor([0, 0, 2, 2]))
        >>> round(float(found["clip"]), 3), float(found["margin"])
        (0.372, 0.0)
    """

    @method_keywords(LossCall)
    def __init__(self, call: LossCall) -> None:
        super().__init__()
        self.options = LossOptions.of(call)
        self.gamma = float(call.gamma)
        self.gather = call.gather
        self.group = call.group

    def forward(
        self,
        image_features: Tensor,  # [b, d] floating
        text_features: Tensor,  # [b, d] floating
        logit_scale: Tensor | float,  # one number, already exponentiated, as open_clip passes it
        target: Tensor | None = None,  # [b] integer: row of the target that each row serves
        logit_bias: Tensor | float | None = None,  # one number, of losses that take it; None is 0
        *,
        hard_rows: Tensor | None = None,  # [b, m] integer: hard rows of each row, -1 for none
        groups: Tensor | None = None,  # int64 [b] or [b, m], such as batch["caption_group"]
        embeddings: Mapping[str, Tensor] | None = None,  # "caption", "image": [b, d], of a store
        rank_rows: Sequence[int] | None = None,  # b of each process, saves asking for it
        soft_labels: Tensor | None = None,  # [b, b] in 0 .. 1, such as batch["soft_labels"]
    ) -> dict[str, Tensor]:
        """Return scalars: ``loss`` (with graph) and, detached, ``clip``, ``margin`` and others.

        Rows with the same number in a column of ``groups`` are equal; 0 is equal to nothing.
        ``embeddings`` are compared where similar_captions or similar_images give a bound. Either
        adds ``equal_rows``: the share of rows that have an equal one in the batch. ``soft_labels``
        add ``soft_rows``: the share of rows that do not aim at themselves alone.

        ``violated`` is the rate of the hinge terms that are above zero; ``hard_similarity`` and
        ``ordinary_similarity`` are what HNML compares, averaged over targets and both directions.
        A row that serves itself is a target. ``hard_rows``, such as batch["hard_rows"], goes
        before ``target``. With neither no row is a hard pair, and then all but ``loss`` and
        ``clip`` are 0.

        The values of both on an accelerator are not read, since that would stall its stream;
        there, a row out of range is nobody's hard pair. Use `check_target` before the copy.
        """
        check_features(image_features, text_features)
        hard = _hard_mask(target, hard_rows, image_features.shape[0])
        image = unit_rows(image_features)
        text = unit_rows(text_features)
        everyone = (
            gather_pairs(image, text, rank_rows, self.group)
            if self.gather
            else Everyone(image, text)
        )
        space, direction = self.options.space, self.options.direction
        crossed = similarities(image, text, everyone, "cross")
        equal = equal_rows(groups, embeddings, self.options, everyone)
        if soft_labels is not None:
            check_soft_labels(soft_labels, image_features.shape[0])
        weights = label_weights(soft_labels, crossed.from_image, equal, self.options, everyone)
        masked = equal if self.options.equal_captions == "mask" else None
        clip = self.contrast(crossed, everyone, logit_scale, logit_bias, masked, weights)
        told, share = {}, everyone.processes / everyone.total
        if equal is not None:
            told["equal_rows"] = equal.any(dim=1).sum().to(clip.dtype) * share
        if soft_labels is not None:
            plain = ((soft_labels > 0).sum(dim=1) == 1) & (soft_labels.diagonal() == 1)
            told["soft_rows"] = (~plain).sum().to(clip) * share
        if hard is None:
            nothing = dict.fromkeys(Margin._fields[1:], clip.new_zeros(()))
            return (
                {"loss": clip, "clip": clip.detach(), "margin": clip.new_zeros(())} | nothing | told
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.gamma > 0):
            seen = crossed if space == "cross" else similarities(image, text, everyone, space)
            hnml = margin_loss(seen, hard, everyone, self.options.margin, direction, equal)
        return {
            "loss": clip + self.gamma * hnml.loss if self.gamma > 0 else clip,
            "clip": clip.detach(),
            "margin": hnml.loss.detach(),
            "violated": hnml.violated.detach(),
            "hard_similarity": hnml.hard_similarity,
            "ordinary_similarity": hnml.ordinary_similarity,
            **told,
        }

    def contrast(
        self,
        seen: Similarities,
        everyone: Everyone,
        logit_scale: Tensor | float,
        logit_bias: Tensor | float | None,
        masked: Tensor | None,  # bool [b, all rows]: without a term
        weights: Tensor | None,  # [b, all rows]: how right each is; None: each row for itself
    ) -> Tensor:
        """This process's share of the contrastive term, a scalar with a graph."""
        dtype = seen.from_image.dtype
        scale = one_number(logit_scale, "logit_scale", "model.logit_scale.exp()", dtype)
        with torch.autocast(device_type=seen.from_image.device.type, enabled=False):
            # Of rows as pairs: what a row aims at is the same from its picture and its caption.
            from_image, from_text = (
                cross_entropy(similarity * scale, masked, weights, everyone) for similarity in seen
            )
            # The mean over own rows, weighted with their part of all rows.
            weight = seen.from_image.shape[0] * everyone.processes / everyone.total
            return 0.5 * weight * (from_image + from_text)

    def extra_repr(self) -> str:
        named = ", ".join(f"{name}={value!r}" for name, value in self.options.as_dict().items())
        return named + (", gather=True" if self.gather else "")


def clip_loss(image_features: Tensor, text_features: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE over the b x b cosines: image i belongs to caption i.

    Features [b, d], normalised or not; ``logit_scale`` already exponentiated. Returns a scalar.
    """
    found: Tensor = HelipLoss(gamma=0.0)(image_features, text_features, logit_scale)["loss"]
    return found


@dataclass(frozen=True, kw_only=True)
class MarginCall(MarginOptions):
    """What `hard_negative_margin_loss` is given."""

    image_features: Tensor = field(kw_only=False)
    """[b, d] floating."""
    text_features: Tensor = field(kw_only=False)
    """[b, d] floating."""
    target: Tensor = field(kw_only=False)
    """[b] integer: row of the target that each row serves."""
    hard_rows: Tensor | None = None
    """[b, m] integer, in place of target: the hard rows of each row, -1 for none."""


@keywords(MarginCall)
def hard_negative_margin_loss(call: MarginCall) -> Tensor:
    """HNML alone (arXiv 2305.05208, Eq. 6; see the top of this module). Returns a scalar.

    It is 0, with a graph, when no row is a hard pair; a target for which no ordinary row is left
    contributes 0.
    """
    check_features(call.image_features, call.text_features)
    hard = _hard_mask(call.target, call.hard_rows, call.image_features.shape[0])
    assert hard is not None
    everyone = Everyone(unit_rows(call.image_features), unit_rows(call.text_features))
    seen = similarities(everyone.image, everyone.text, everyone, call.space)
    return margin_loss(seen, hard, everyone, call.margin, call.direction).loss


def _hard_mask(target: Tensor | None, hard_rows: Tensor | None, rows: int) -> Tensor | None:
    """bool [b, b]: which rows are hard rows of each; None where nothing says it."""
    if target is not None:
        check_target(target, rows)
    if hard_rows is None:
        return None if target is None else served(target)
    check_hard_rows(hard_rows, rows)
    return among(hard_rows)
