"""What a recipe adds to the loss of a batch: SLIP's self-supervised term, and the distance to a
teacher.

A teacher gives the features of a batch before the batch is cut into chunks, as entries of it:
``teacher_image`` and ``teacher_text`` [b, t]. A copy of the start model that teaches stays with its
run, in OUT/teacher.safetensors: the model that the run goes on with may have been trained since.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from helip.common.collectives import gather_rows
from helip.common.devices import autocast
from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from helip.common.files import replace_by
from helip.common.processes import Processes
from helip.common.weights_digest import weights_digest
from helip.losses.distillation import DistillationLoss
from helip.losses.ssl import SslLoss
from helip.models.bundle import ModelBundle
from helip.models.lora import merge_lora
from helip.models.run_folder import CHECKPOINTS
from helip.models.slip import has_ssl_head
from helip.models.weights import fit_state_dict, read_tensors, write_tensors
from helip.store.embedding_store import EmbeddingStore, store_of
from helip.training.checkpoints import recorded_options
from helip.training.grad_cache import split_rows
from helip.training.network import named_outputs, share_weights
from helip.training.precision import precision_of
from helip.training.recipe import Recipe
from helip.training.tuning import ModelCopy

#: A store whose rows are those of the data set, or its path.
Teacher = EmbeddingStore | str | os.PathLike[str]


_log = logging.getLogger(__name__)

#: Of a run: what the start model was, where a copy of it teaches.
_KEPT = "teacher.safetensors"


def with_distill(recipe: Recipe, usual: float = 0.0, *, checkpoints: Path | None = None) -> Recipe:
    """The recipe with a weight of the distance to a teacher: its own, else that which the run in
    ``checkpoints`` began with, else the usual one. All processes call it together."""
    if recipe.distill is not None:
        return recipe
    if checkpoints is not None:
        begun = Processes().exchange(recorded_options(checkpoints).get("distill"))[0]
        usual = usual if begun is None else begun
    if usual:
        _log.info("distill: %g, by which features stay near those of the start model", usual)
    return dataclasses.replace(recipe, distill=usual)


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
    """The features of a teacher for each batch, and the distance of the model's to them."""

    def __init__(self, recipe: Recipe, teacher: _Teacher) -> None:
        self._loss, self.teacher = DistillationLoss(distill=recipe.distill), teacher

    @classmethod
    def of(
        cls,
        bundle: ModelBundle,
        recipe: Recipe,
        teacher: Teacher | None,
        processes: Processes,
        device: torch.device,
        *,
        chunks: int,
        out: Path,
        resume: bool,
    ) -> Distillation | None:
        """None with distill = 0; all processes call it together.

        bundle: its model is as it was given, before anything is done to it.
        teacher: None for a copy of the start model. chunks: that a batch is encoded in.
        out, resume: of the run.
        """
        if recipe.distill and teacher is not None:
            return cls(recipe, _StoredTeacher(store_of(teacher), device))
        if recipe.distill:
            begun = recorded_options(out / CHECKPOINTS).get("teacher") if resume else None
            copied = _CopiedTeacher(bundle, recipe, processes, device, chunks, out / _KEPT, begun)
            return cls(recipe, copied)
        if teacher is not None:
            raise InvalidArgumentError(
                "teacher is given and distill is 0.0, which has no teacher; give distill, such as "
                "1.0, or no teacher"
            )
        return None

    def teach(self, index: Tensor, ready: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the teacher adds to a batch on the device, of these rows of the data set."""
        image, text = self.teacher(index, ready)
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


class _Teacher(Protocol):
    nbytes: int  # on the device
    digest: str  # a run is resumed with the same teacher

    def keep(self) -> None:
        """Put into the run what it needs to go on."""

    def __call__(self, index: Tensor, ready: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]: ...


class _CopiedTeacher:
    """A frozen copy of the model at the start, which sees the same pictures and captions.

    kept: the file of its weights. begun: the digest of those that the run began with, if it did.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        recipe: Recipe,
        processes: Processes,
        device: torch.device,
        chunks: int,
        kept: Path,
        begun: str | None,
    ) -> None:
        self._model, self._kept = _copy_of(bundle), kept
        processes.leader_does(lambda: self._become(begun))
        self._model.to(device)
        if processes.count > 1:
            share_weights(self._model)
        self._precision, self._device, self._chunks = precision_of(recipe), device, chunks
        self.digest = weights_digest(self._model)
        self.nbytes = sum(p.nbytes for p in (*self._model.parameters(), *self._model.buffers()))

    def keep(self) -> None:
        replace_by(self._kept, lambda path: write_tensors(self._model.state_dict(), Path(path)))

    def _become(self, begun: str | None) -> None:
        """Take the kept weights, where the model is not the start of the run that it goes on with.

        Where they cannot be read the digest says that they are others, and the run is refused.
        """
        if begun is None or weights_digest(self._model) == begun:
            return
        with contextlib.suppress(CorruptError, MismatchError, StorageError):
            fit_state_dict(self._model, read_tensors(self._kept), str(self._kept))

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


def _copy_of(bundle: ModelBundle) -> nn.Module:
    try:
        model = ModelCopy(bundle).bundle.model
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError) as error:  # what deepcopy refuses
        raise UnsupportedError(
            f"the model cannot be copied, and a copy of it teaches ({error}); give distill=0, or "
            "a store of the data by the start model as teacher"
        ) from error
    merge_lora(model)  # of an interrupted run of this process
    return model.requires_grad_(False)


class _StoredTeacher:
    """Embeddings of one dual encoder in a store whose rows are those of the data set."""

    nbytes = 0  # mapped

    def __init__(self, store: EmbeddingStore, device: torch.device) -> None:
        self._store, self._deleted, self._device = store, store.deleted, device
        self.digest = store.fingerprint

    def keep(self) -> None:
        """It lies where it is."""

    def __call__(self, index: Tensor, ready: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        rows: np.ndarray = index.cpu().numpy()
        known = (rows >= 0) & (rows < len(self._store)) & ~np.isin(rows, self._deleted)
        if known.all():
            image, text = self._store.rows(rows)
            known = (image.any(dim=1) & text.any(dim=1)).numpy()
        if not known.all():
            raise MismatchError(
                f"row {rows[~known][0]} has no features in the teacher's store of "
                f"{len(self._store)} rows (it is outside, deleted or zeros); embed it, or give the "
                "store of the data that the loader reads"
            )
        return image.to(self._device), text.to(self._device)
