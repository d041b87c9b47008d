"""Fine-tuning of a CLIP model on its own data with hard pairs (HELIP, arXiv 2305.05208).

`train` puts the parts together: data set, table of hard pairs, loader, model, recipe. `Trainer` is
the loop alone, for a loader of one's own.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.options import keywords, require
from helip.common.processes import Processes, join_processes
from helip.data.dataset import Dataset
from helip.data.image_transform import ImageTransform
from helip.data.opening import open_dataset
from helip.loading.loader import HardPairLoader
from helip.loading.options import BatchOptions, ReadOptions
from helip.loading.pair_source import pools_digest
from helip.loading.row_facts import require_rows_of
from helip.loading.strategy import (
    STRATEGIES,
    hard_pairs_of,
    makes_communities,
    with_strategy,
)
from helip.loading.views import TwoViews, slip_augmentation
from helip.losses.loss import BatchLoss
from helip.losses.options import LOSSES
from helip.mining.streaming import StreamingMiner
from helip.models.bundle import ModelBundle, bundle_of_transformers, create_model
from helip.models.hugging_face import is_transformers_clip
from helip.models.options import ModelOptions
from helip.models.run_folder import CHECKPOINTS
from helip.models.slip import has_ssl_head
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.soft_labels import SoftLabels
from helip.store.embedding_store import EmbeddingStore, store_of
from helip.training.measuring.wise_ft import WiseFt
from helip.training.named_recipes import recipe_named, with_recipe
from helip.training.options import OwnPoolOptions, RunOptions
from helip.training.own_pools import (
    OwnPoolsTrainer,
    check_own_pools,
    no_pools_yet,
    own_pools,
)
from helip.training.recipe import Recipe
from helip.training.result import TrainResult
from helip.training.terms import Teacher, with_distill
from helip.training.trainer import Trainer
from helip.training.trainer_call import LoopOptions
from helip.verdicts.exclusions import Exclusions
from helip.verdicts.verdicts import Source, exclusions_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainCall(ModelOptions, BatchOptions, ReadOptions, Recipe, OwnPoolOptions, LoopOptions):
    """What `train` is asked."""

    model: ModelBundle | nn.Module | Mapping[str, Any] | str | os.PathLike[str]
    """A ModelBundle, a name or path for create_model (which takes checkpoint), the configuration
    that create_model takes, as a dict, a CLIPModel of transformers, or an open_clip model together
    with transform and tokenizer. It is trained in place, and left in eval mode; after a failure as
    it was, but for its weights."""
    data: Any
    """A Dataset, or anything that open_dataset takes."""
    pairs: HardPairs | StreamingMiner | str | os.PathLike[str] | None = None
    """A HardPairs or its path, of whose communities batches are made unless another strategy is
    asked for; or a StreamingMiner, which is given each batch after its step, and whose finds the
    next batches are drawn from. None trains plainly, with the CLIP loss alone, unless pools is
    given."""
    store: EmbeddingStore | str | os.PathLike[str] | None = None
    """The embeddings of the data, or their path, for similar_captions and similar_images, and for
    a loss of one's own that takes embeddings."""
    verdicts: Source | None = None
    """What people said of pairs of the data, or the path of their file: what they took out is no
    hard pair, and the losses do not push it apart where it meets in a batch by chance."""
    soft_labels: SoftLabels | str | os.PathLike[str] | None = None
    """Soft labels of the data, or their path, that the loss takes in place of one right caption a
    row; the control has them, too."""
    control: bool = False
    """The fair comparison: as many steps with as many rows, without hard pairs or margin loss."""
    wise_ft: float | None = None
    """Also save (1 - wise_ft) of the start model + wise_ft of the tuned one, of its average with
    ema, as OUT/wise-ft."""
    recipe: str | None = None
    """A name of helip.recipes(), whose settings take the place of defaults: what is given beside
    it goes first. Checkpoints record its name and version. from_scratch=True names from-scratch
    where nothing is named, not even None."""
    transform: Callable[[Any], torch.Tensor] | None = None
    """In place of the model's own; one that is no TwoViews is made one for SLIP."""
    tokenizer: Callable[[list[str]], torch.Tensor] | None = None
    """In place of the model's own."""


@keywords(TrainCall, complete=with_recipe)
def train(call: TrainCall) -> TrainResult:
    """Fine-tune ``model`` on ``data`` with the hard pairs of ``pairs``; write into ``out``.

    With a table batches are made of communities of hard pairs (docs/loader.md), and those of the
    rows of its batch that are in its pool are the hard rows of a row in the margin loss; a frozen
    copy of the start model, OUT/teacher.safetensors, holds the features near its own. With
    ``from_scratch=True`` a model by name or configuration starts with random weights of ``seed``.

    With ``verdicts`` hard pairs that people took out are left out of the pools, and counted in
    ``loader_stats["verdicts"]``; those of them that meet in a batch are treated as rows of equal
    captions are. The control and a run without a table obey the second part.

    Under torchrun batch_size and targets_per_batch are those of all processes together, multiples
    of their number.

    With ``control`` all rows are plain shuffled targets under the CLIP loss alone, with a teacher
    where ``distill`` is given, for as many optimizer steps with as many rows a batch as the run
    with the same arguments has. Where a run draws hard pairs its epochs spend rows on them, and the
    control sees each pair as a target about (1 + hard_per_target) times as often; of communities,
    as often. Both see all rows, but where ``short`` is "skip", as it is by default where hard pairs
    are drawn; loader_stats of both has ``target_rows`` and ``rows``. It needs ``pairs``, to count
    the steps, or ``steps``.

    A model with SLIP's head is trained with CLIP + ssl_scale x SSL + gamma x HNML. A run whose
    options have changed is refused, naming them.

    Raises MismatchError for a table, verdicts or soft labels of another data set or a changed
    option, NonFiniteLossError when the loss is NaN, OutOfMemoryError when a step does not fit on
    the device, CancelledError when stopped.
    """
    with join_processes(call.device) as device:
        trainer, mixture = make_trainer(dataclasses.replace(call, device=str(device)))
        result = trainer.run()
        if mixture is not None:
            Processes().leader_does(lambda: mixture.save(result.checkpoint, Path(call.out)))
        return result


def make_trainer(
    call: TrainCall, bundle: ModelBundle | None = None, kind: type[Trainer] | None = None
) -> tuple[Trainer, WiseFt | None]:
    """The trainer of a call, and what mixes its end with its start; nothing is written yet.

    bundle: in place of the call's model.
    """
    check_own_pools(call)
    if call.embed is not None and not isinstance(call.pairs, StreamingMiner):
        raise InvalidArgumentError(
            "embed makes what a StreamingMiner mines, but pairs is a "
            f"{type(call.pairs).__name__}; pass pairs=StreamingMiner(...), or no embed"
        )
    recipe = Recipe.of(call)
    BatchLoss(recipe.loss, recipe)  # refuses a wrong one before a model and data are opened
    if call.control or (call.pairs is None and call.pools is None):
        recipe = dataclasses.replace(recipe, gamma=0.0)
    bundle = bundle or bundle_of(call)
    mixture = None if call.wise_ft is None else WiseFt(bundle, call.wise_ft)
    dataset = call.data if isinstance(call.data, Dataset) else open_dataset(call.data)
    table = call.pairs
    if isinstance(table, (str, os.PathLike)):
        table = HardPairs.open(table)
    if call.pools is not None:
        table = no_pools_yet(call, dataset)
    exclusions = _exclusions(call.verdicts, dataset)
    labels = SoftLabels.opened(call.soft_labels)
    call = dataclasses.replace(call, soft_labels=labels)
    whole = isinstance(table, HardPairs)
    call = with_strategy(call, whole_table=whole, rows=len(dataset), step_rows=call.batch_size)
    hard = table is not None and not call.control
    recipe = with_distill(
        recipe,
        1.0 if hard and makes_communities(call) and not bundle.untrained else 0.0,
        checkpoints=Path(call.out) / CHECKPOINTS if call.resume else None,
    )
    pools = None if call.pools is None else own_pools(call, bundle, dataset)
    loader, steps = _loader(call, bundle, dataset, table, exclusions)
    loader.gives_empty_batches = True
    kind = kind or (Trainer if pools is None else OwnPoolsTrainer)
    trainer = kind(
        bundle,
        loader,
        out=call.out,
        recipe=recipe,
        miner=table if isinstance(table, StreamingMiner) and not call.control else None,
        embed=None if call.control else call.embed,
        teacher=None if call.teacher is None else _teacher(call.teacher, dataset),
        hooks=call.hooks,
        validate=call.validate,
        guard=call.guard,
        identity={
            **BatchOptions.of(call).plain(),
            "recipe": None if call.recipe is None else recipe_named(call.recipe).label,
            "control": call.control,
            "data": dataset.fingerprint,
            "pairs": pools_digest(table) if isinstance(table, HardPairs) and not pools else None,
            **OwnPoolOptions.of(call).plain(),
            "verdicts": None if exclusions is None else exclusions.digest,
            "soft_labels": None if labels is None else labels.digest,
            **(mixture.identity() if mixture else {}),
        },
        should_stop=call.should_stop,
        progress=call.progress,
        **{**RunOptions.of(call).as_dict(), "steps": steps},
    )
    if pools is not None and isinstance(trainer, OwnPoolsTrainer):
        trainer.pools = pools
    return trainer, mixture


def _loader(
    call: TrainCall,
    bundle: ModelBundle,
    dataset: Dataset,
    table: HardPairs | StreamingMiner | None,
    exclusions: Exclusions | None,
) -> tuple[HardPairLoader, int | None]:
    """This process's loader, and the number of steps where it is not that of its epochs."""
    per_target = hard_pairs_of(call)
    rows = _own_rows(call.batch_size, per_target if table is not None else 0)
    on_gpu = torch.device(call.device).type == "cuda"
    common: dict[str, Any] = {
        **ReadOptions.of(call).as_dict(),
        "pin_memory": on_gpu if call.pin_memory is None else call.pin_memory,
        "seed": call.seed,
        "transform": _with_views(bundle, call.transform or bundle.train_transform, call.ssl_scale),
        "tokenizer": call.tokenizer or bundle.tokenizer,
        "store": _store(call, dataset),
        "verdicts": exclusions,
        "soft_labels": call.soft_labels,
    }
    plain: dict[str, Any] = {name: getattr(call, name) for name in ("order", "block", "unique")} | {
        "hard_per_target": 0
    }
    if table is None:
        if call.control and call.steps is None:
            raise InvalidArgumentError(
                "control is True and both pairs and steps are None; pass the pairs of the HELIP "
                "run, whose steps the control repeats, or the number of steps"
            )
        return HardPairLoader(dataset, None, batch_size=rows, **plain, **common), call.steps
    options = {**BatchOptions.of(call).as_dict(), "batch_size": rows}
    if call.targets_per_batch is not None:
        options["targets_per_batch"] = Processes().share(
            call.targets_per_batch, "targets_per_batch"
        )
    loader = HardPairLoader(dataset, table, **options, **common)
    if not call.control:
        return loader, call.steps
    steps = call.steps if call.steps is not None else call.epochs * len(loader)
    if not STRATEGIES[call.strategy].among_targets:
        rows -= rows % (1 + per_target)
    mined = None if isinstance(table, StreamingMiner) else table  # tells which rows to expect
    return HardPairLoader(dataset, mined, batch_size=rows, **plain, **common), steps


def _exclusions(verdicts: Source | None, dataset: Dataset) -> Exclusions | None:
    """What the verdicts take out, the same on all processes."""
    if verdicts is None:
        return None
    found = exclusions_of(verdicts, len(dataset), dataset.fingerprint)
    if len(set(Processes().exchange(found.digest))) > 1:
        raise MismatchError(
            "the processes have read different verdicts, as while somebody judges; give the run a "
            "copy of its own: helip verdicts merge FILE --out COPY"
        )
    return found


def _store(call: TrainCall, dataset: Dataset) -> EmbeddingStore | None:
    """The store, where a bound on similarity or a loss of one's own may ask for it."""
    if call.similar_captions is None and call.similar_images is None:
        named = isinstance(call.loss, str) and call.loss in LOSSES
        return None if named or call.store is None else store_of(call.store)
    if call.store is None:
        raise InvalidArgumentError(
            f"similar_captions is {call.similar_captions} and similar_images "
            f"{call.similar_images}, which compare embeddings, and store is None; pass the store "
            "that the data was embedded into"
        )
    if call.similar_captions is not None:
        _refuse_several_captions(dataset, "similar_captions", "equal captions are told without it")
    return store_of(call.store)


def _teacher(given: Teacher, dataset: Dataset) -> EmbeddingStore:
    """The store, where each of its rows says what a row of the data set is."""
    store = store_of(given)
    require_rows_of(dataset, store)
    _refuse_several_captions(dataset, "teacher", "then a copy of the start model teaches")
    return store


def _refuse_several_captions(dataset: Dataset, option: str, without: str) -> None:
    offsets, _ = dataset.caption_groups()
    if several := int((np.diff(offsets) > 1).sum()):
        raise InvalidArgumentError(
            f"{option} goes by a store, which has one text embedding a row, and {several} "
            "rows of the data have several captions, of which each epoch takes another; leave "
            f"{option} out: {without}"
        )


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


def bundle_of(call: TrainCall) -> ModelBundle:
    """The model of a call, with its transforms."""
    model, transform, tokenizer = call.model, call.transform, call.tokenizer
    start = ModelOptions.of(call).as_dict()
    if call.from_scratch:
        start["seed"] = call.seed
    if isinstance(model, Mapping):
        return create_model(str(model.get("name", "model")), config=dict(model), **start)
    if isinstance(model, (str, os.PathLike)):
        return create_model(model, **start)
    for name, value in ModelOptions.of(call).as_dict().items():
        require(
            value == getattr(ModelOptions, name), name, value,
            f"left out for a model that is made already, a {type(model).__name__}",
        )  # fmt: skip
    if isinstance(model, ModelBundle):
        return model
    if is_transformers_clip(model):
        own = bundle_of_transformers(model, tokenizer=tokenizer)
        own.train_transform = transform or own.train_transform
        return own
    if not isinstance(model, nn.Module):
        raise InvalidArgumentError(
            f"model is a {type(model).__name__}, must be a ModelBundle, an open_clip model, or a "
            "name, path or configuration for create_model"
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
