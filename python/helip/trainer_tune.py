"""What a recipe asks of a model beyond plain fine-tuning: locks, LoRA, and SLIP's second loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from helip.errors import InvalidArgumentError
from helip.loss_ssl import SslLoss
from helip.models import ModelBundle
from helip.models_lock import lock_towers
from helip.models_lora import add_lora, has_lora, merge_lora
from helip.models_slip import HEAD, has_ssl_head
from helip.recipe import Recipe

__all__ = ["ModelTuning", "SslTerm"]


class ModelTuning:
    """Locks towers and adapts a bundle's model by LoRA, in place, before its optimizer is made."""

    def __init__(self, bundle: ModelBundle, recipe: Recipe) -> None:
        self._bundle, self._adapted = bundle, recipe.lora is not None
        model = bundle.model
        self._trained = {name: p.requires_grad for name, p in model.named_parameters()}
        lock_towers(
            model,
            image=recipe.lock_image,
            image_unlocked_groups=recipe.lock_image_unlocked_groups,
            text=recipe.lock_text,
            text_unlocked_layers=recipe.lock_text_unlocked_layers,
        )
        if has_ssl_head(model) and recipe.ssl_scale == 0:
            model.get_submodule(HEAD).requires_grad_(False)  # it rests: nothing reaches it
        if recipe.lora is None:
            return
        if not has_lora(model):  # of an interrupted run of this process, it is there
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(recipe.seed)
                add_lora(model, recipe.lora)
        if bundle.config:  # so that a checkpoint is opened as what it is
            bundle.config["lora"] = recipe.lora.as_dict()

    def finish(self) -> None:
        """Merge what was adapted; what needed a gradient before, does again."""
        if self._adapted:
            merge_lora(self._bundle.model)
            self._bundle.config.pop("lora", None)
        for name, parameter in self._bundle.model.named_parameters():
            parameter.requires_grad_(self._trained.get(name, True))


class SslTerm:
    """SLIP's self-supervised loss, for a model that has the head."""

    def __init__(self, loss: SslLoss) -> None:
        self._loss = loss

    @classmethod
    def of(cls, model: nn.Module, recipe: Recipe) -> SslTerm | None:
        """None without a head, or with ssl_scale = 0."""
        wanted = has_ssl_head(model) and recipe.ssl_scale > 0
        return cls(recipe.make_ssl_loss()) if wanted else None

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
        gather: Callable[[Tensor], Tensor] = lambda features: features,
    ) -> dict[str, Tensor]:
        """``losses`` with the term in ``loss``, and ``ssl`` and ``ssl_accuracy`` beside it.

        out: the model's output. gather: takes features [b, d] of this process to those of all, with
            gradients.
        """
        both = gather(torch.cat([out["ssl_first"], out["ssl_second"]], dim=1))
        term = self._loss(*both.chunk(2, dim=1))
        return {**losses, **term, "loss": losses["loss"] + term["loss"]}
