"""What a recipe asks of a model beyond plain fine-tuning: locks, LoRA, and SLIP's second loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helip.common.collectives import gather_rows
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.losses.ssl import SslLoss
from helip.models.bundle import ModelBundle
from helip.models.locking import lock_towers
from helip.models.lora import add_lora, has_lora, merge_lora
from helip.models.slip import HEAD, has_ssl_head
from helip.training.recipe import Recipe
from helip.training.weight_average import WeightAverage

__all__ = ["ModelTuning", "SslTerm", "averages", "check_tuning"]


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


def averages(model: nn.Module, recipe: Recipe) -> dict[str, WeightAverage]:
    """The step hook that keeps an average of the weights, where the recipe wants one."""
    return {} if recipe.ema is None else {"ema": WeightAverage(model, recipe.ema)}


def check_tuning(
    recipe: Recipe, model: nn.Module, hooks: Mapping[str, Any], accumulate: int, *, sharded: bool
) -> None:
    """Refuse what does not go together with the way that a run computes."""
    if accumulate > 1 and SslTerm.of(model, recipe):
        raise UnsupportedError(
            f"accumulate is {accumulate}, and the self-supervised head normalises over the batch, "
            "which parts would change; use accumulate=1, or ssl_scale=0"
        )
    if sharded and recipe.lora is not None:
        raise UnsupportedError(
            "lora has not been made to work with parallel='fsdp'; take parallel='ddp', which keeps "
            "no optimizer state of what is frozen"
        )
    if recipe.ema is not None and "ema" in hooks:
        raise InvalidArgumentError(
            "a hook is named 'ema', and so is what the recipe's ema keeps; name the hook otherwise"
        )


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
