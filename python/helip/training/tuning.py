"""What a recipe asks of a model beyond plain fine-tuning: locks and LoRA."""

from __future__ import annotations

import torch

from helip.models.bundle import ModelBundle
from helip.models.locking import lock_towers
from helip.models.lora import add_lora, has_lora, merge_lora
from helip.models.options import Lora
from helip.models.slip import HEAD, has_ssl_head
from helip.training.recipe import Recipe


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
            batch_norms=recipe.lock_batch_norms,
        )
        if has_ssl_head(model) and recipe.ssl_scale == 0:
            model.get_submodule(HEAD).requires_grad_(False)  # it rests: nothing reaches it
        lora: Lora | None = Lora.of(recipe.lora)
        if lora is None:
            return
        if not has_lora(model):  # of an interrupted run of this process, it is there
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(recipe.seed)
                add_lora(model, lora)
        if bundle.config:  # so that a checkpoint is opened as what it is
            bundle.config["lora"] = lora.plain()

    def finish(self) -> None:
        """Merge what was adapted; what needed a gradient before, does again."""
        if self._adapted:
            merge_lora(self._bundle.model)
            self._bundle.config.pop("lora", None)
        for name, parameter in self._bundle.model.named_parameters():
            parameter.requires_grad_(self._trained.get(name, True))
