"""The losses of a recipe: a contrastive one with the margin loss, and SLIP's beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helip.common.collectives import gather_rows
from helip.common.errors import InvalidArgumentError
from helip.losses.helip_loss import HelipLoss
from helip.losses.options import LossOptions
from helip.losses.siglip import HelipSigmoidLoss
from helip.losses.ssl import SslLoss
from helip.models.slip import has_ssl_head
from helip.training.recipe import Recipe

_LOSSES: dict[str, type[HelipLoss]] = {"clip": HelipLoss, "siglip": HelipSigmoidLoss}


def make_loss(recipe: Recipe, *, gather: bool = False) -> HelipLoss:
    """``gather``: negatives come from all processes."""
    return _LOSSES[recipe.loss](**LossOptions.of(recipe).as_dict(), gather=gather)


class SslTerm:
    """SLIP's self-supervised loss, for a model that has the head."""

    def __init__(self, loss: SslLoss) -> None:
        self._loss = loss

    @classmethod
    def of(cls, model: nn.Module, recipe: Recipe) -> SslTerm | None:
        """None without a head, or with ssl_scale = 0."""
        wanted = has_ssl_head(model) and recipe.ssl_scale > 0
        if not wanted:
            return None
        return cls(SslLoss(scale=recipe.ssl_scale, temperature=recipe.ssl_temperature))

    def views(self, batch: Mapping[str, Any]) -> Tensor:
        """The batch's [b, 2, 3, H, W], rows first, as the model's third argument."""
        if "views" not in batch:
            raise InvalidArgumentError(
                "the model has a self-supervised head and the batch no 'views'; give the loader "
                "transform=TwoViews(transform, ssl_transform), or train with ssl_scale=0"
            )
        return batch["views"].transpose(0, 1)

    def add(
        self,
        losses: Mapping[str, Tensor],
        out: Mapping[str, Tensor],
        rank_rows: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """``losses`` with the term in ``loss``, and ``ssl`` and ``ssl_accuracy`` beside it.

        out: the model's output. rank_rows: how many rows each process has; with several, the term
            is that of all their rows, on each of them.
        """
        both = torch.cat([out["ssl_first"], out["ssl_second"]], dim=1)
        if len(rank_rows) > 1:
            both = gather_rows(both, rank_rows)
        term = self._loss(*both.chunk(2, dim=1))
        return {**losses, **term, "loss": losses["loss"] + term["loss"]}
