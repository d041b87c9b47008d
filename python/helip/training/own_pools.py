"""Pools by the model itself: the model that trains encodes its data, and mines its own hard pairs.

    OUT/pools/0/store         what the start model makes of the data, an EmbeddingStore
                pairs         the table that was mined of it
                account.json  of which weights they are, seconds, and targets without a hard pair
    OUT/pools/1/…             by the model as it was pools_every epochs later, and so on

Of stores the newest stays alone, tables all stay. What a kill left half done is gone on with where
the weights are the same; a table that is whole is not mined again. Weights are those that train,
not their average, in eval mode and in the precision of the run. Random generators are as before,
after a mining, so a run that is resumed before, in or behind one trains on the same batches.
Of several processes rank 0 encodes and mines, and the others wait for the table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helip.common.devices import autocast
from helip.common.errors import CancelledError, InvalidArgumentError, UnsupportedError
from helip.common.files import discard_directory, make_directory, read_json, replace_file
from helip.common.options import require
from helip.common.processes import Processes
from helip.common.weights_digest import weights_digest
from helip.data.dataset import Dataset
from helip.encoders.embedding import embed
from helip.encoders.network_encoder import blank
from helip.loading.loader import HardPairLoader
from helip.loading.options import BatchOptions, HardnessSchedule
from helip.loading.strategy import hard_pairs_of
from helip.mining.miner import mine
from helip.mining.options import PairRules
from helip.models.bundle import ModelBundle
from helip.pairs.hard_pairs import HardPairs
from helip.training.checkpoints import random_states, restore_random_states
from helip.training.metrics import RunLog
from helip.training.precision import precision_of
from helip.training.result import TrainResult
from helip.training.trainer import Trainer

_SHOWN = ("plain_targets", "encode_seconds", "mine_seconds")


@dataclass(frozen=True, kw_only=True)
class OwnPools:
    """What is encoded and mined, and when."""

    data: Dataset
    tokenizer: Callable[[list[str]], Tensor]
    k: int
    """Of the tables."""
    every: int | None
    """Epochs from one mining to the next; None mines once."""
    workers: int
    max_quarantined: float


class OwnPoolsTrainer(Trainer):
    """Mines the pools of its loader, a HardPairLoader, by the model that it trains."""

    pools: OwnPools
    _taken: int | None = None  # the mining whose table the loader has

    def _prepare(self, epoch: int, log: RunLog, *, midway: bool) -> None:
        every, first = self.pools.every, self._at.step == 0
        number = 0 if every is None or first else epoch // every
        if number == self._taken:
            return
        assert isinstance(self.loader, HardPairLoader)
        folder = self._folder(number)
        # Later in these epochs the weights are no longer those that mined.
        begins = every is not None and not midway and epoch == number * every
        if first or (number and begins):
            states = random_states()
            try:
                mined = self.processes.leader_does(lambda: self._mine(folder))
            finally:
                restore_random_states(states)
            if mined or first:
                log.write(step=self._at.step, event="pools", **_account(folder, number))
            self.processes.leader_does(lambda: _discard_store(self._folder(number - 1)))
        self.loader.set_pairs(HardPairs.open(folder / "pairs"))
        self._taken = number

    def _result(self, checkpoint: Path) -> TrainResult:
        done = itertools.takewhile(lambda n: _is_done(self._folder(n)), itertools.count())
        found = [_account(self._folder(number), number) for number in done]
        return dataclasses.replace(super()._result(checkpoint), pools=found)

    def _folder(self, number: int) -> Path:
        return self.out / "pools" / str(number)

    def _mine(self, folder: Path) -> bool:
        """Make the table of a mining by the weights as they are; whether it was not there yet."""
        pools = self.pools
        of: dict[str, Any] = {
            "weights": weights_digest(self.model),
            "data": pools.data.fingerprint,
            "k": pools.k,
            "precision": precision_of(self.recipe),
        }
        if folder.exists() and _read(folder).get("of") != of:  # of a start, or steps, that are gone
            discard_directory(folder)
        if _is_done(folder):
            return False
        make_directory(folder)
        _write(folder, {"encode_seconds": 0.0, "mine_seconds": 0.0, **_read(folder), "of": of})
        try:
            with _counted(folder, "encode_seconds"), _in_eval_mode(self.model):
                image, text = self._sides(of["weights"])
                store = embed(
                    pools.data, out=folder / "store", image_encoder=image, text_encoder=text,
                    workers=pools.workers, max_quarantined=pools.max_quarantined,
                    progress=self._show_progress,
                )  # fmt: skip
            with _counted(folder, "mine_seconds"):
                table = mine(
                    store, out=folder / "pairs", k=pools.k, progress=self._show_progress,
                    on_progress=lambda *_: not self._shall_stop(),
                )  # fmt: skip
        except (KeyboardInterrupt, CancelledError):
            if not self._shall_stop():
                raise
            raise CancelledError(
                f"stopped while the model mined its pools after step {self._at.step} of "
                f"{self.total_steps}; the same call{self._again} goes on from what is in {folder}"
            ) from None
        plain = int((np.asarray(table.counts) == 0).sum())
        _write(folder, {**_read(folder), "plain_targets": plain})
        return True

    def _sides(self, weights: str) -> tuple[_Side, _Side]:
        """Both sides of the model, which is in eval mode, as encoders."""
        model: Any = self.model
        preprocess: Any = self.bundle.eval_transform
        precision = precision_of(self.recipe)

        def features(encode: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
            if self._shall_stop():
                raise KeyboardInterrupt  # upon which a job of embedding commits what is whole
            with torch.no_grad(), autocast(self.device, precision):
                return encode(batch.to(self.device)).float().cpu()

        def of_images(images: Tensor) -> Tensor:
            return features(model.encode_image, images)

        def of_texts(texts: list[str]) -> Tensor:
            return features(model.encode_text, self.pools.tokenizer(texts))

        dims = of_images(blank(preprocess)[None]).shape[1], of_texts(["a"]).shape[1]
        return (
            _Side(dims[0], of_images, weights, precision, preprocess),
            _Side(dims[1], of_texts, weights, precision),
        )


@dataclass(frozen=True)
class _Side:
    """A side of the model in training, as `embed` takes an encoder."""

    dim: int
    encode: Callable[[Any], Tensor]
    weights: str
    precision: str
    preprocess: Callable[[Any], Tensor] | None = None
    spec: str = "model in training"

    @property
    def computed(self) -> dict[str, str]:
        return {"engine": "torch", "precision": self.precision}


def check_own_pools(call: Any) -> None:
    """Refuse what does not go with pools by the model itself, before anything is opened.

    call: a TrainCall.
    """
    if call.pools is None:
        require(
            call.pools_every is None, "pools_every", call.pools_every, "None without pools='own'"
        )
        return
    if call.pairs is not None:
        raise InvalidArgumentError(
            f"pools is {call.pools!r}, which mines the pairs, and pairs is a "
            f"{type(call.pairs).__name__}; give pools alone (no --pairs and no --stream), or pairs "
            "alone"
        )
    if call.control:
        raise InvalidArgumentError(
            f"pools is {call.pools!r} and control is True, which takes no hard pairs; leave pools "
            "out, and give the steps of the run that the control stands beside: steps=N"
        )
    if call.parallel == "fsdp" and Processes().count > 1:
        raise UnsupportedError(
            f"pools is {call.pools!r} and parallel is 'fsdp', where no process has the whole model "
            "to encode by; take parallel='ddp', or mine a table first and give it as pairs"
        )


def own_pools(call: Any, bundle: ModelBundle, data: Dataset) -> OwnPools:
    """What a run of ``call``, whose strategy is settled, mines.

    Raises InvalidArgumentError where its model or its batches do not allow it.
    """
    if bundle.eval_transform is None:
        raise InvalidArgumentError(
            f"pools is {call.pools!r}, and model {bundle.name} has no eval_transform to encode the "
            "data by; give a ModelBundle from create_model"
        )
    require(
        call.short in ("keep", "random"),
        "short", call.short, "'keep' or 'random' with pools='own', and is 'skip' where hard pairs "
        "are drawn: else the steps of an epoch depend on pools that are not mined yet",
    )  # fmt: skip
    tokenizer: Any = call.tokenizer or bundle.tokenizer
    return OwnPools(
        data=data,
        tokenizer=tokenizer,
        k=max(PairRules().k, _window(call)),
        every=call.pools_every,
        workers=call.workers or 0,
        max_quarantined=call.max_quarantined,
    )


def no_pools_yet(call: Any, data: Dataset) -> HardPairs:
    """A table of empty pools, as wide as the options need it, until the model has mined."""
    shape = (len(data), _window(call))
    return HardPairs.from_arrays(
        np.full(shape, -1, dtype=np.int32),
        np.zeros(shape, dtype=np.float32),
        data_fingerprint=data.fingerprint,
    )


def _discard_store(folder: Path) -> None:
    if (store := folder / "store").exists():
        discard_directory(store)


def minings(every: int | None, steps: int, steps_per_epoch: int) -> int:
    """How many times a run of so many steps mines."""
    epochs = -(-steps // steps_per_epoch)
    return 1 if every is None else -(-epochs // every)


def _window(call: BatchOptions) -> int:
    """Ranks that a pool must have, for all that the options ask for."""
    schedule = call.schedule if isinstance(call.schedule, HardnessSchedule) else None
    first = max(call.rank_min, (schedule and schedule.rank_min) or 0)
    last = max(call.rank_max or 0, (schedule and schedule.rank_max) or 0)
    return max(last, first + max(hard_pairs_of(call), 1))


@contextlib.contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Each module gets back a mode of its own: a frozen batch norm is in eval mode meanwhile."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextlib.contextmanager
def _counted(folder: Path, name: str) -> Iterator[None]:
    """The seconds inside are added to the account, also where they end early."""
    began = time.perf_counter()
    try:
        yield
    finally:
        kept = _read(folder)
        _write(folder, {**kept, name: kept[name] + time.perf_counter() - began})


def _account(folder: Path, number: int) -> dict[str, Any]:
    """What a mining found and took."""
    kept = _read(folder)
    return {"mining": number, **{name: kept[name] for name in _SHOWN}}


def _is_done(folder: Path) -> bool:
    return "plain_targets" in _read(folder)  # the last that is written


def _read(folder: Path) -> dict[str, Any]:
    file = folder / "account.json"
    return read_json(file) if file.exists() else {}


def _write(folder: Path, account: Mapping[str, Any]) -> None:
    replace_file(folder / "account.json", json.dumps(account, indent=1) + "\n")
