"""What a run does to a model beside its weights, how it gives the model back, and a copy of it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from helip.models.bundle import ModelBundle
from helip.models.locking import lock_towers
from helip.models.lora import add_lora, has_lora, merge_lora, train_adapters_alone
from helip.models.options import Lora
from helip.models.slip import HEAD, has_ssl_head
from helip.models.weights import fit_state_dict
from helip.training.checkpoints import random_states, restore_random_states
from helip.training.recipe import Recipe

# Attributes of modules that a run sets: of torch, open_clip with timm, and transformers.
_SWITCHES = ("training", "_compiled_call_impl", "grad_checkpointing", "gradient_checkpointing")


class ModelTuning:
    """Locks towers and adapts a bundle's model by LoRA, in place, before its optimizer is made."""

    def __init__(self, bundle: ModelBundle, recipe: Recipe) -> None:
        self._bundle, self._adapted = bundle, recipe.lora is not None
        self._given = _Manner(bundle.model)
        self._added = False  # LoRA, by this one
        self.failed = False
        with self.given_back(whole=True):
            self._tune(bundle.model, recipe)

    def _tune(self, model: nn.Module, recipe: Recipe) -> None:
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
        if has_lora(model):  # of an interrupted run of this process
            train_adapters_alone(model)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(recipe.seed)
                add_lora(model, lora)
            self._added = True
        if self._bundle.config:  # so that a checkpoint is opened as what it is
            self._bundle.config["lora"] = lora.plain()

    @contextlib.contextmanager
    def given_back(self, *, whole: bool = False) -> Iterator[None]:
        """Whatever fails inside, the model is as it was given, but for its weights, and for LoRA:
        its products stay beside the weights for the run to go on with.

        whole: without LoRA that is there since then; nothing has trained yet.
        """
        try:
            yield
        except BaseException:
            self.failed = True
            self._give_back(merge=whole and self._added)
            raise

    def finish(self) -> None:
        """Merge what was adapted, and give the model back, in eval mode."""
        self._give_back(merge=self._adapted)
        self._bundle.model.eval()
        self._bundle.untrained = False

    def _give_back(self, *, merge: bool) -> None:
        if merge:
            merge_lora(self._bundle.model)
            self._bundle.config.pop("lora", None)
        self._given.restore(self._bundle.model)


class _Manner:
    """What a model is beside its weights: which need a gradient, modes and switches of modules."""

    def __init__(self, model: nn.Module) -> None:
        self._trained = {name: (p, p.requires_grad) for name, p in model.named_parameters()}
        self._modules = [
            (module, {name: vars(module)[name] for name in _SWITCHES if name in vars(module)})
            for module in model.modules()
        ]

    def restore(self, model: nn.Module) -> None:
        for module, switches in self._modules:
            for name in _SWITCHES:
                vars(module).pop(name, None)
            vars(module).update(switches)
        for parameter, trains in self._trained.values():  # whatever LoRA has named it since
            parameter.requires_grad_(trains)
        for name, parameter in model.named_parameters():
            parameter.grad = None
            if name in self._trained:  # also where merging made another object of it
                parameter.requires_grad_(self._trained[name][1])


class ModelCopy:
    """A bundle with a copy of its model as it is now, frozen, in eval mode and on the CPU: nothing
    that is done to it reaches the original. Made before the model is parallel.

    device: where it is measured.
    keep: False on a process that never looks at it, which has the bundle itself.
    """

    def __init__(
        self, bundle: ModelBundle, device: torch.device | None = None, *, keep: bool = True
    ) -> None:
        self._device = device or torch.device("cpu")
        self.bundle = bundle
        if keep:
            model = copy.deepcopy(bundle.model).cpu().eval().requires_grad_(False)
            self.bundle = dataclasses.replace(bundle, model=model)

    @contextlib.contextmanager
    def measured(self, weights: Mapping[str, Tensor] | None = None) -> Iterator[ModelBundle]:
        """The copy on its device, in eval mode, with these weights, else those that it has.

        Random generators are as before, after it.
        """
        states, model = random_states(), self.bundle.model
        try:
            if weights is not None:
                fit_state_dict(model, weights, "the model of the run")
            model.to(self._device).eval()
            yield self.bundle
        finally:
            model.cpu()
            restore_random_states(states)
