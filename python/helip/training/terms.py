"""What a recipe adds to the loss of a batch: SLIP's self-supervised term, and the distance to a
teacher.

A teacher gives the features of a batch before the batch is cut into chunks, as entries of it:
``teacher_image`` and ``teacher_text`` [b, t].
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helip.common.collectives import gather_rows
from helip.common.devices import autocast
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.options import Precision
from helip.common.processes import Processes
from helip.common.weights_digest import weights_digest
from helip.losses.distillation import DistillationLoss
from helip.losses.ssl import SslLoss
from helip.models.bundle import ModelBundle
from helip.models.slip import has_ssl_head
from helip.store.embedding_store import EmbeddingStore, store_of
from helip.training.grad_cache import split_rows
from helip.training.network import named_outputs, share_weights
from helip.training.precision import precision_of
from helip.training.recipe import Recipe
from helip.training.tuning import ModelCopy

#: A store whose rows are those of the data set, or its path.
Teacher = EmbeddingStore | str | os.PathLike[str]


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
    """The teacher's features of each batch, and the distance of the model's to them."""

    def __init__(self, distill: float, features: _CopiedTeacher | _StoredFeatures) -> None:
        self._loss, self._features = DistillationLoss(distill=distill), features
        self.nbytes = features.nbytes  # memory of the teacher on this process

    @classmethod
    def of(
        cls,
        bundle: ModelBundle,
        recipe: Recipe,
        teacher: Teacher | None,
        processes: Processes,
        device: torch.device,
        chunks: int,
    ) -> Distillation | None:
        """None with distill = 0; all processes call it together.

        bundle: its model is as at the start, before anything is done to it.
        teacher: None for a copy of the model.
        """
        if recipe.distill == 0:
            if teacher is None:
                return None
            raise InvalidArgumentError(
                "teacher is given and distill is 0.0, which has no teacher; give distill, such as "
                "1.0, or no teacher"
            )
        if teacher is not None:
            return cls(recipe.distill, _StoredFeatures(store_of(teacher), device))
        copied = _CopiedTeacher(bundle, precision_of(recipe), processes, device, chunks)
        return cls(recipe.distill, copied)

    def identity(self) -> dict[str, Any]:
        """What must be the same when the run is resumed: it needs the same teacher."""
        return {"teacher": self._features.digest}

    def teach(self, index: Tensor, ready: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the teacher adds to a batch on the device, of these rows of the data set."""
        image, text = self._features(index, ready)
        return {"teacher_image": image, "teacher_text": text}

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


class _CopiedTeacher:
    """A frozen copy of the model, which sees the same pictures and captions as the model."""

    def __init__(
        self,
        bundle: ModelBundle,
        precision: Precision,
        processes: Processes,
        device: torch.device,
        chunks: int,
    ) -> None:
        self._model = ModelCopy(bundle).bundle.model.to(device)
        if processes.count > 1:
            share_weights(self._model)
        self._precision, self._device, self._chunks = precision, device, chunks
        self.digest = weights_digest(self._model)
        self.nbytes = sum(p.nbytes for p in (*self._model.parameters(), *self._model.buffers()))

    @torch.no_grad()
    def __call__(self, index: Tensor, ready: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        parts = split_rows({name: ready[name] for name in ("image", "text")}, self._chunks)
        with autocast(self._device, self._precision):
            found = [named_outputs(self._model(part["image"], part["text"])) for part in parts]
        image, text = (
            torch.cat([each[name] for each in found])
            for name in ("image_features", "text_features")
        )
        return image, text


class _StoredFeatures:
    """Embeddings of one dual encoder in a store whose rows are those of the data set."""

    nbytes = 0  # mapped

    def __init__(self, store: EmbeddingStore, device: torch.device) -> None:
        widths = store.image_tensor.shape[1], store.text_tensor.shape[1]
        if widths[0] != widths[1]:
            raise MismatchError(
                f"teacher is {store!r}, whose image and text rows have widths {widths[0]} and "
                f"{widths[1]}, must have one: both of one dual encoder, such as a CLIP model"
            )
        self._store, self._device = store, device
        self._deleted = store.deleted
        self.digest = store.fingerprint

    def __call__(self, index: Tensor, ready: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        rows: np.ndarray = torch.as_tensor(index).cpu().numpy()
        outside = rows[(rows < 0) | (rows >= len(self._store))]
        if len(outside):
            raise MismatchError(
                f"the batch holds row {outside[0]} and the teacher's store {len(self._store)} "
                "rows; give the store of the data that the loader reads"
            )
        image, text = self._store.rows(rows)
        absent = ~(image.any(dim=1) & text.any(dim=1)).numpy() | np.isin(rows, self._deleted)
        if absent.any():
            raise MismatchError(
                f"row {rows[absent][0]} of the teacher's store is deleted or zeros, so it teaches "
                "nothing; embed that row, or leave it out of the data"
            )
        return image.to(self._device), text.to(self._device)
