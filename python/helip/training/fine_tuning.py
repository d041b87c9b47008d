"""Fine-tuning of a CLIP model on its own data with hard pairs (HELIP, arXiv 2305.05208).

`train` puts the parts together: data set, table of hard pairs, loader, model, recipe. `Trainer` is
the loop alone, for a loader of one's own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from helip.common.errors import InvalidArgumentError
from helip.common.processes import Processes, in_processes
from helip.data.image_transform import ImageTransform
from helip.data.opening import Dataset, open_dataset
from helip.loading.hardness_schedule import HardnessSchedule
from helip.loading.loader import HardPairLoader
from helip.loading.views import TwoViews, slip_augmentation
from helip.mining.streaming import StreamingMiner
from helip.models.bundle import ModelBundle, bundle_of_transformers, create_model
from helip.models.hugging_face import is_transformers_clip
from helip.models.lora import Lora
from helip.models.slip import has_ssl_head
from helip.pairs.hard_pairs import HardPairs
from helip.training.recipe import Recipe
from helip.training.trainer import (
    BatchLoader,
    Embed,
    NonFiniteLossError,
    StepHook,
    Trainer,
    TrainResult,
)
from helip.training.wise_ft import StartWeights

__all__ = [
    "BatchLoader",
    "NonFiniteLossError",
    "Recipe",
    "StepHook",
    "TrainResult",
    "Trainer",
    "train",
]

# A run names these options where they are not what they were before there was a choice; so runs of
# that time can be resumed.
_ONLY_CHOICE = {
    "strategy": "auto",
    "schedule": None,
    "targets_per_batch": None,
    "order": "rows",
    "block": 1024,
    "walk_rows": 256,
    "restart": 0.1,
}


@in_processes
def train(
    *,
    model: ModelBundle | nn.Module | str | os.PathLike[str],
    data: Any,
    out: str | os.PathLike[str],
    pairs: HardPairs | StreamingMiner | str | os.PathLike[str] | None = None,
    embed: Embed | None = None,
    epochs: int = 2,
    steps: int | None = None,
    batch_size: int = 256,
    hard_per_target: int = 1,
    rank_min: int = 0,
    rank_max: int | None = None,
    temperature: float | None = None,
    fraction: float = 1.0,
    short: str = "skip",
    strategy: str = "auto",
    schedule: HardnessSchedule | Mapping[str, Any] | None = None,
    targets_per_batch: int | None = None,
    order: str = "rows",
    block: int = 1024,
    walk_rows: int = 256,
    restart: float = 0.1,
    loss: str = "clip",
    gamma: float = 1.0,
    margin: float = 0.0,
    direction: str = "preserve",
    space: str = "cross",
    accumulate: int = 1,
    parallel: str = "ddp",
    grad_checkpointing: bool = False,
    compiled: bool = False,
    lr: float = 1e-5,
    min_lr: float = 0.0,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.98),
    eps: float = 1e-6,
    warmup: float = 0.1,
    grad_clip: float | None = 1.0,
    precision: str = "float32",
    ssl_scale: float = 1.0,
    ssl_temperature: float = 0.1,
    lock_image: bool = False,
    lock_image_unlocked_groups: int = 0,
    lock_text: bool = False,
    lock_text_unlocked_layers: int = 0,
    lora: Lora | int | Mapping[str, Any] | None = None,
    layer_decay: float | None = None,
    ema: float | None = None,
    wise_ft: float | None = None,
    device: str | torch.device = "auto",
    control: bool = False,
    resume: bool = True,
    seed: int = 0,
    workers: int | None = None,
    max_quarantined: float = 0.1,
    transform: Callable[[Any], torch.Tensor] | None = None,
    tokenizer: Callable[[list[str]], torch.Tensor] | None = None,
    hooks: Mapping[str, StepHook] | None = None,
    checkpoint_every: int | None = 1000,
    keep: int = 2,
    log_every: int = 1,
    log_to: Sequence[str] = (),
    progress: bool = True,
    should_stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Fine-tune ``model`` on ``data`` with the hard pairs of ``pairs``; write into ``out``.

    model: a ModelBundle, a name or path for `create_model`, a CLIPModel of transformers, or an
        open_clip model together with ``transform`` and ``tokenizer``. It is trained in place, and
        left in eval mode.
    data: a Dataset, or anything that `open_dataset` takes.
    pairs: a HardPairs or its path, or a StreamingMiner, which is given each batch after its step,
        and whose finds the next batches are drawn from. None trains plainly, with the CLIP loss
        alone.
    embed: what the StreamingMiner mines, of frozen encoders: a callable(batch) that gives image
        [b, d_image] and text [b, d_text]. None: the features of the model that is trained.
    epochs, steps: an epoch has every target once; ``steps`` overrides with a number of optimizer
        steps.
    batch_size: rows a batch, of which batch_size // (1 + hard_per_target) are targets, or
        targets_per_batch. Under torchrun it is the batch of all processes together, a multiple of
        their number.
    rank_min, rank_max, temperature, fraction, short, strategy, schedule, targets_per_batch, order,
        block, walk_rows, restart, max_quarantined, workers: see HardPairLoader.
    gamma, margin, direction, space: see HelipLoss.
    ssl_scale, ssl_temperature: of a model with SLIP's head, whose loss is CLIP + ssl_scale x SSL +
        gamma x HNML. A ``transform`` that is no TwoViews is made one with SLIP's augmentation.
    loss, lock_image, lock_text, ..., lora, layer_decay, ema, and the other numbers: see Recipe.
    wise_ft: also save (1 - wise_ft) of the start model + wise_ft of the tuned one as OUT/wise-ft
        (`helip.interpolate`), in (0, 1).
    accumulate, parallel, grad_checkpointing, compiled, hooks, log_to: see Trainer.
    device: "auto" takes a GPU where there is one; under torchrun each process takes its own.
    control: the fair comparison. As many optimizer steps with as many rows a batch as the run with
        the same arguments and control=False, but plain shuffled targets in all rows and the CLIP
        loss alone. Since a HELIP epoch spends rows on hard pairs, the control sees each pair as
        a target about (1 + hard_per_target) times as often. Needs ``pairs``, to count the steps,
        or ``steps``.
    resume: see Trainer; a run whose options have changed is refused, naming them.

    Raises MismatchError for a table of another data set or a changed option,
    NonFiniteLossError when the loss is NaN, CancelledError when stopped.
    """
    recipe = Recipe(
        loss=loss,
        gamma=0.0 if control or pairs is None else gamma,
        margin=margin,
        direction=direction,
        space=space,
        lr=lr,
        min_lr=min_lr,
        weight_decay=weight_decay,
        betas=betas,
        eps=eps,
        warmup=warmup,
        precision=precision,
        grad_clip=grad_clip,
        seed=seed,
        ssl_scale=ssl_scale,
        ssl_temperature=ssl_temperature,
        lock_image=lock_image,
        lock_image_unlocked_groups=lock_image_unlocked_groups,
        lock_text=lock_text,
        lock_text_unlocked_layers=lock_text_unlocked_layers,
        lora=Lora.of(lora),
        layer_decay=layer_decay,
        ema=ema,
    )
    if embed is not None and not isinstance(pairs, StreamingMiner):
        raise InvalidArgumentError(
            f"embed makes what a StreamingMiner mines, but pairs is a {type(pairs).__name__}; pass "
            "pairs=StreamingMiner(...), or no embed"
        )
    if epochs < 1:
        raise InvalidArgumentError(f"epochs is {epochs}, must be at least 1")
    bundle = _bundle(model, transform, tokenizer)
    start = None if wise_ft is None else StartWeights(bundle, wise_ft)
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    table = HardPairs.open(pairs) if isinstance(pairs, (str, os.PathLike)) else pairs
    own_rows = _own_rows(batch_size, hard_per_target if table is not None else 0)
    own_targets = targets_per_batch
    if targets_per_batch is not None:
        own_targets = Processes().share(targets_per_batch, "targets_per_batch")
    common: dict[str, Any] = {
        "seed": seed,
        "workers": workers,
        "max_quarantined": max_quarantined,
        "transform": _with_views(bundle, transform or bundle.train_transform, ssl_scale),
        "tokenizer": tokenizer or bundle.tokenizer,
        "order": order,
        "block": block,
    }
    choice: dict[str, Any] = {
        "hard_per_target": hard_per_target,
        "rank_min": rank_min,
        "rank_max": rank_max,
        "temperature": temperature,
        "fraction": fraction,
        "short": short,
        "strategy": strategy,
        "schedule": HardnessSchedule.of(schedule),
        "targets_per_batch": own_targets,
        "walk_rows": walk_rows,
        "restart": restart,
    }
    if table is None:
        if control and steps is None:
            raise InvalidArgumentError(
                "control is True and both pairs and steps are None; pass the pairs of the HELIP "
                "run, whose steps the control repeats, or the number of steps"
            )
        loader = HardPairLoader(dataset, None, batch_size=own_rows, hard_per_target=0, **common)
    else:
        loader = HardPairLoader(dataset, table, batch_size=own_rows, **choice, **common)
    if control and table is not None:
        steps = steps if steps is not None else epochs * len(loader)
        rows = own_rows  # of a batch in which rows may serve several targets
        if strategy not in ("shared", "walk"):
            rows -= own_rows % (1 + hard_per_target)
        loader = HardPairLoader(dataset, None, batch_size=rows, hard_per_target=0, **common)
    trainer = Trainer(
        bundle,
        loader,
        out=out,
        recipe=recipe,
        epochs=epochs,
        steps=steps,
        accumulate=accumulate,
        parallel=parallel,
        grad_checkpointing=grad_checkpointing,
        compiled=compiled,
        hooks=hooks,
        miner=table if isinstance(table, StreamingMiner) and not control else None,
        embed=embed if not control else None,
        identity={
            "control": control,
            "batch_size": batch_size,
            "data": dataset.fingerprint,
            "pairs": _digest(table) if isinstance(table, HardPairs) else None,
            **_named(
                {**choice, "targets_per_batch": targets_per_batch, "order": order, "block": block}
            ),
            **(start.identity() if start else {}),
        },
        device=device,
        resume=resume,
        checkpoint_every=checkpoint_every,
        keep=keep,
        log_every=log_every,
        log_to=log_to,
        progress=progress,
        should_stop=should_stop,
    )
    result = trainer.run()
    if start is not None:
        Processes().leader_does(lambda: start.save(result.checkpoint, Path(out)))
    return result


def _with_views(bundle: ModelBundle, transform: Any, ssl_scale: float) -> Any:
    """``transform``, and SLIP's augmented views beside it where the model's head wants them."""
    if not (has_ssl_head(bundle.model) and ssl_scale > 0) or isinstance(transform, TwoViews):
        return transform
    if isinstance(transform, ImageTransform):  # threads of the core make all three
        shared = {name: getattr(transform, name) for name in ("mean", "std", "dtype", "layout")}
        again = ImageTransform.slip(transform.size, interpolation="bilinear", **shared)
        return TwoViews(transform, again)
    return TwoViews(transform, slip_augmentation(bundle.config.get("preprocess_cfg") or {}))


def _own_rows(batch_size: int, hard_per_target: int) -> int:
    """Rows of a batch on this process."""
    processes = Processes()
    rows = processes.share(batch_size, "batch_size")
    if processes.count > 1 and rows <= hard_per_target:
        raise InvalidArgumentError(
            f"batch_size is {batch_size}, which leaves each of {processes.count} processes {rows} "
            f"rows, must be at least {(1 + hard_per_target) * processes.count}: a target and its "
            f"{hard_per_target} hard pairs stay together"
        )
    return rows


def _named(choice: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a loader that a run is known by, as plain values."""
    named = {
        name: value
        for name, value in choice.items()
        if name not in _ONLY_CHOICE or value != _ONLY_CHOICE[name]
    }
    schedule = named.get("schedule")
    return named if schedule is None else {**named, "schedule": dataclasses.asdict(schedule)}


def _digest(table: HardPairs) -> str:
    """Of the pools themselves: the table's fingerprint is that of its store."""
    digest = hashlib.sha256(np.ascontiguousarray(table.ids).data)
    digest.update(np.ascontiguousarray(table.counts).data)
    return digest.hexdigest()


def _bundle(model: Any, transform: Any, tokenizer: Any) -> ModelBundle:
    if isinstance(model, ModelBundle):
        return model
    if isinstance(model, (str, os.PathLike)):
        return create_model(model)
    if is_transformers_clip(model):
        own = bundle_of_transformers(model, tokenizer=tokenizer)
        own.train_transform = transform or own.train_transform
        return own
    if not isinstance(model, nn.Module):
        raise InvalidArgumentError(
            f"model is a {type(model).__name__}, must be a ModelBundle, an open_clip model, or a "
            "name or path for create_model"
        )
    if transform is None or tokenizer is None:
        raise InvalidArgumentError(
            f"model is a bare {type(model).__name__}, so transform and tokenizer must be passed "
            "too; or pass a ModelBundle from create_model"
        )
    return ModelBundle(
        model=model,
        train_transform=transform,
        eval_transform=None,
        tokenizer=tokenizer,
        name=type(model).__name__,
    )
