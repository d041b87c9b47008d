"""Locked towers: parts of a CLIP model that fine-tuning leaves as they are (arXiv 2111.07991)."""

from __future__ import annotations

from typing import Any

from torch import nn

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.options import Whole, check
from helip.models.slip import HEAD


def lock_towers(
    model: nn.Module,
    *,
    image: bool = False,
    image_unlocked_groups: int = 0,
    text: bool = False,
    text_unlocked_layers: int = 0,
    batch_norms: bool = False,
) -> None:
    """Lock a tower, but for its last groups or layers, by the model's own lock methods, in place.

    What a group is, is open_clip's: of a ViT the projection, the last block with the norm behind
    it, each block before, and the embeddings. Versions of open_clip differ in two towers. Up to
    3.3 the projection on a timm tower is never locked, and a ModifiedResNet only as a whole
    (UnsupportedError); since 4.2 the projection is the last group of a timm tower, and the groups
    of a ModifiedResNet are its attention pool, each stage before, and the stem. The temperature
    always trains.

    batch_norms: lock the weights of all batch norms but those of a self-supervised head, whose
        statistics then stay as well (see `train_mode`).
    """
    if image:
        _lock(model, "image", "unlocked_groups", image_unlocked_groups)
    if text:
        _lock(model, "text", "unlocked_layers", text_unlocked_layers)
    if batch_norms:
        _lock_batch_norms(model)
    if not any(p.requires_grad for p in model.parameters()):
        raise InvalidArgumentError("every parameter of the model is locked; leave some unlocked")


def train_mode(model: nn.Module) -> None:
    """`model.train()`, but batch norms that do not train keep their statistics as well."""
    model.train()
    training = set(training_batch_norms(model))
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and name not in training:
            module.eval()


def training_batch_norms(model: nn.Module) -> list[str]:
    """Names of the batch norms that normalise over the batch while the model trains.

    That is all but those whose parameters are locked.
    """
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            own = list(module.parameters(recurse=False))
            if not own or any(p.requires_grad for p in own):
                found.append(name)
    return found


def _lock_batch_norms(model: nn.Module) -> None:
    found = [name for name in training_batch_norms(model) if not name.startswith(f"{HEAD}.")]
    if not found:
        raise InvalidArgumentError(
            "lock_batch_norms is True, and no batch norm of the towers trains; leave it out"
        )
    for name in found:
        model.get_submodule(name).requires_grad_(False)


def _lock(model: Any, tower: str, option: str, unlocked: int) -> None:
    label = f"lock_{tower}_{option}"
    check(label, unlocked, Whole)
    method = getattr(model, f"lock_{tower}_tower", None)
    if method is None:
        raise UnsupportedError(f"a {type(model).__name__} cannot lock its {tower} tower")
    before = [name for name, p in model.named_parameters() if p.requires_grad]
    try:
        method(**{option: unlocked})
    except (AssertionError, NotImplementedError, RuntimeError, KeyError, AttributeError) as error:
        raise UnsupportedError(
            f"the {tower} tower cannot be locked but for {label} = {unlocked} "
            f"({type(error).__name__}: {error}); 0 locks all of it"
        ) from error
    after = {name for name, p in model.named_parameters() if p.requires_grad}
    if before and len(after) >= len(before):
        raise InvalidArgumentError(
            f"{label} is {unlocked}, which leaves nothing of the {tower} tower locked; take fewer"
        )
