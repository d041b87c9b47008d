"""What a recipe adds to the loss of a batch: SLIP's self-supervised term, and the distance to a
teacher.

A teacher gives the features of a batch before the batch is cut into chunks, as entries of it:
``teacher_image`` and ``teacher_text`` [b, t].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helip.common.collectives import gather_rows
from helip.common.devices import autocast
from helip.common.errors import InvalidArgumentError
from helip.common.processes import Processes
from helip.common.weights_digest import weights_digest
from helip.losses.distillation import DistillationLoss
from helip.losses.ssl import SslLoss
from helip.models.bundle import ModelBundle
from helip.models.slip import has_ssl_head
from helip.training.grad_cache import split_rows
from helip.training.network import named_outputs, share_weights
from helip.training.precision import precision_of
from helip.training.recipe import Recipe
from helip.training.tuning import ModelCopy


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


class Distillation:
    """A teacher, which is a frozen copy of the model at the start and sees the same pictures and
    captions, and the distance of the model's features to its.

    All processes make one together. bundle: its model is as at the start, before anything is done
    to it. chunks: that a batch is encoded in.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        recipe: Recipe,
        processes: Processes,
        device: torch.device,
        chunks: int,
    ) -> None:
        self._loss = DistillationLoss(distill=recipe.distill)
        self._model = ModelCopy(bundle).bundle.model.to(device)
        if processes.count > 1:
            share_weights(self._model)
        self._precision, self._device, self._chunks = precision_of(recipe), device, chunks
        self.digest = weights_digest(self._model)  # a run is resumed with the same teacher
        self.nbytes = sum(p.nbytes for p in (*self._model.parameters(), *self._model.buffers()))

    @torch.no_grad()
    def teach(self, ready: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the teacher adds to a batch on the device."""
        parts = split_rows({name: ready[name] for name in ("image", "text")}, self._chunks)
        with autocast(self._device, self._precision):
            found = [named_outputs(self._model(part["image"], part["text"])) for part in parts]
        return {
            f"teacher_{name}": torch.cat([each[f"{name}_features"] for each in found])
            for name in ("image", "text")
        }

    def add(
        self,
        losses: Mapping[str, Tensor],
        encoded: Mapping[str, Tensor],
        batch: Mapping[str, Tensor],
        rank_rows: Sequence[int],
    ) -> dict[str, Tensor]:
        """``losses`` with the term in ``loss``, and ``distill`` beside it."""
        term = self._loss(
            encoded["image_features"],
            encoded["text_features"],
            batch["teacher_image"],
            batch["teacher_text"],
            rank_rows=rank_rows,
        )
        return {**losses, **term, "loss": losses["loss"] + term["loss"]}
