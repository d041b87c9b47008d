"""The loss of a batch as training calls it: one of `LOSSES` by its name, or an object of one's own.

An object needs one call, that of `Loss`. `BatchLoss` gives it what its call takes of a batch, with
the rows of all processes where it does not gather them itself, and checks what comes back.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helip.common.collectives import gather_blocks, gather_pairs, gather_rows, row_counts
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.losses.equal import BOUNDS, embeddings_of, groups_of
from helip.losses.options import LOSSES, LossOptions, loss_name, original

_CALL = "loss(image_features, text_features, logit_scale, target, *, hard_rows, groups)"
_ALWAYS = ("hard_rows", "groups")
_ASKED = ("logit_bias", "embeddings", "rank_rows", "soft_labels")  # given where the call names them
#: Names of a line of metrics that a loss cannot give its own numbers.
_TAKEN = {
    "step", "epoch", "event", "lr", "grad_norm", "logit_scale", "temperature", "loss_factor",
    "failed", "distill", "ssl", "ssl_accuracy", "samples_per_second", "data_wait_seconds",
    "plain_targets",
}  # fmt: skip


class Loss(Protocol):
    """What training asks of a loss.

    An object, such as a module or a function. It may have

    - ``gather``: True where it gathers the rows of other processes itself and returns the share of
      its own. Others are given the rows of all processes, with gradients.
    - ``options``: plain values, or a group of options, that a resumed run compares. Without them
      it compares the fields of a dataclass, and what a functools.partial fixes.
    - ``state_dict()`` and ``load_state_dict()`` of tensors: part of checkpoints, those of rank 0.

    Nothing trains parameters of a loss; those of the model are trained.
    """

    def __call__(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor,
        target: Tensor,
        /,
        *,
        hard_rows: Tensor | None,
        groups: Tensor | None,
    ) -> Mapping[str, Any]:
        """Scalars by their names: ``loss`` is trained on, the others are written down. The names
        are the same in every step and on all processes.

        image_features, text_features: floating [b, d], as the model gives them; row i of both is
            one pair.
        logit_scale: one number, already exponentiated.
        target: int64 [b], the batch row of the target that each row serves; a target serves itself.
        hard_rows: int64 [b, m], the batch rows that are hard pairs of each row, -1 for none; None
            where ``target`` says it.
        groups: int64 [b, kinds]; rows with the same number in a column have equal captions or
            pictures, 0 is equal to nothing. None where nobody knows.

        A call that names them is also given ``logit_bias``, of a model that has one, else None;
        ``embeddings``, a dict of "caption" and "image" [b, d] with the rows of a store that the
        loader knows; ``soft_labels`` [b, b], of a loader that has them, else None; and
        ``rank_rows``, how many rows each process has, for one that gathers.
        """


def loss_of(loss: Loss | str, options: Any, *, gather: bool) -> Loss:
    """The loss itself, or the one that a name of `LOSSES` or a ``module:Class`` says.

    options: has the fields of `LossOptions`. A class is made with those that it takes and that are
    not at their defaults, so that it keeps its own, and with ``gather`` where it takes that.
    """
    if not isinstance(loss, str):
        return loss
    module, _, name = LOSSES.get(loss, loss).partition(":")
    try:
        found: Any = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except Exception as error:  # a module of somebody's own may raise whatever it likes
        raise InvalidArgumentError(
            f"loss is {loss!r}, which cannot be imported ({type(error).__name__}: {error}); name a "
            "class as module:Class, in a module that python finds, such as by PYTHONPATH"
        ) from error
    if not inspect.isclass(found):
        return cast(Loss, found)
    usual = LossOptions().as_dict()
    given = {
        name: value
        for name, value in LossOptions.of(options).as_dict().items()
        if value != usual[name]
    }
    given["gather"] = gather
    taken = inspect.signature(found).parameters
    try:
        made = found(**{name: value for name, value in given.items() if name in taken})
    except TypeError as error:
        raise InvalidArgumentError(
            f"loss is {loss!r}, which cannot be made without arguments ({error}); give them "
            "defaults, or name a function or an object in its place"
        ) from error
    return cast(Loss, made)


class BatchLoss:
    """Calls a loss with a batch and what the model made of it. Made once for a run.

    loss, options: as `loss_of` takes them. gather: there may be other processes, whose rows count.
    """

    def __init__(
        self,
        loss: Loss | str,
        options: Any,
        *,
        gather: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self._is_named = isinstance(loss, str) and loss in LOSSES
        self.loss = loss = loss_of(loss, options, gather=gather)
        self._names = _checked_names(loss)
        gathers = getattr(loss, "gather", False)
        if not isinstance(gathers, bool):
            raise InvalidArgumentError(
                f"gather of the loss {loss_name(loss)} is a {type(gathers).__name__}, must be True "
                "or False: whether it gathers the rows of other processes itself"
            )
        self._gathers = gather and not gathers
        if isinstance(loss, nn.Module):
            trained = [name for name, value in loss.named_parameters() if value.requires_grad]
            if trained:
                raise UnsupportedError(
                    f"loss is a {type(loss).__name__} with parameters ({', '.join(trained)}), "
                    "which nothing trains; make them buffers of it, or parameters of the model"
                )
            if device is not None:
                loss.to(device)
        self._identity = {} if self._is_named else _identity(loss)
        self.state_dict()  # refuses what no checkpoint could hold

    def __call__(
        self,
        encoded: Mapping[str, Tensor],  # image_features, text_features, logit_scale; logit_bias
        batch: Mapping[str, Tensor],  # what a loader says of the rows, on the device
        rank_rows: Sequence[int] | None = None,  # b of each process, saves asking for it
    ) -> dict[str, Tensor]:
        """What the loss returned; scalars."""
        given: dict[str, Any] = {
            "image_features": encoded["image_features"],
            "text_features": encoded["text_features"],
            "target": batch["target"],
            "hard_rows": batch.get("hard_rows"),
            "groups": groups_of(batch),
            "embeddings": embeddings_of(batch),
            "soft_labels": batch.get("soft_labels"),
        }
        if given["soft_labels"] is not None and "soft_labels" not in self._names:
            raise InvalidArgumentError(
                f"the loader has soft labels, and {loss_name(self.loss)} takes none; give its call "
                "a parameter soft_labels, or leave them out"
            )
        if self._gathers:
            given = _of_all_processes(given, rank_rows)
        bias = encoded.get("logit_bias")
        given |= {"logit_bias": bias, "rank_rows": rank_rows}
        out = self.loss(
            given["image_features"],
            given["text_features"],
            encoded["logit_scale"],
            given["target"],
            **{name: given[name] for name in self._names},
        )
        found = _checked_result(out, self.loss, given["image_features"])
        # A loss need not depend on them, but replicas wait for a gradient of every parameter.
        for number in (encoded["logit_scale"], bias):
            if number is not None:
                found["loss"] = found["loss"] + 0.0 * number.sum()
        return found

    def identity(self) -> dict[str, Any]:
        """What must be the same when a run is resumed, plain values; of a loss of `LOSSES` its
        options say it, which are the run's."""
        return self._identity

    def state_dict(self) -> dict[str, Tensor]:
        """The state of the loss; empty where it has none."""
        state: Any = getattr(self.loss, "state_dict", dict)()
        fits = isinstance(state, Mapping) and hasattr(self.loss, "state_dict") == hasattr(
            self.loss, "load_state_dict"
        )
        if not fits or not all(isinstance(value, Tensor) for value in state.values()):
            raise InvalidArgumentError(
                f"the state_dict of the loss {loss_name(self.loss)} must return a dict of tensors, "
                "which become part of a checkpoint, and load_state_dict take them; give it both, "
                "or neither where it keeps no state"
            )
        return dict(state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        loss: Any = self.loss
        try:
            loss.load_state_dict(dict(state))
        except Exception as error:  # a loss of somebody's own may raise whatever it likes
            raise MismatchError(
                f"{loss_name(loss)} does not take the state of the loss of the checkpoint "
                f"({type(error).__name__}: {error}); resume with the loss that the run began with, "
                "or begin anew in another out"
            ) from error


def _identity(loss: Any) -> dict[str, Any]:
    """What a checkpoint records of a loss, as JSON has it; InvalidArgumentError if it has none."""
    options = _options_of(loss)
    try:
        plain = json.loads(json.dumps(options, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"options of the loss {loss_name(loss)} are {options!r}, must be plain finite values "
            f"({error}): checkpoints record them"
        ) from error
    return {"loss": loss_name(loss), "loss_options": plain}


def _options_of(loss: Any) -> Any:
    """The ``options`` of a loss, or of the object of a method; else what a dataclass or a partial
    call was given."""
    loss = original(loss)
    if inspect.ismethod(loss):
        return _options_of(loss.__self__)
    if isinstance(loss, functools.partial):
        return {
            "args": [_plain(value) for value in loss.args],
            "keywords": {name: _plain(value) for name, value in loss.keywords.items()},
            "options": _options_of(loss.func),
        }
    if dataclasses.is_dataclass(loss) and not hasattr(loss, "options"):
        given = [field.name for field in dataclasses.fields(loss) if field.init]
        return {name: _plain(getattr(loss, name, None)) for name in given}
    options: Any = getattr(loss, "options", None)
    return options.plain() if hasattr(options, "plain") else options


def _plain(value: Any) -> Any:
    """``value`` where JSON holds it, else what it is called."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return loss_name(value)
    return value


def _checked_names(loss: Any) -> list[str]:
    """What the call of a loss is given by name; InvalidArgumentError where it does not fit."""
    expected = f"must be an object that is called as {_CALL}; see helip.losses.Loss"
    if inspect.isclass(loss):
        raise InvalidArgumentError(
            f"loss is the class {loss.__name__}, {expected}. Give {loss.__name__}(…)"
        )
    if not callable(loss):
        raise InvalidArgumentError(f"loss is a {type(loss).__name__}, {expected}")
    called = original(loss)
    if isinstance(called, nn.Module):
        called = called.forward
    elif not (inspect.isroutine(called) or isinstance(called, functools.partial)):
        called = called.__call__
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # not written in Python
        return list(_ALWAYS)
    parameters = signature.parameters
    named = [*_ALWAYS, *(name for name in _ASKED if name in parameters)]
    try:
        signature.bind(*[None] * 4, **dict.fromkeys(named))
    except TypeError as error:
        raise InvalidArgumentError(
            f"loss is {loss_name(loss)}, called as {signature} ({error}), {expected}"
        ) from None
    return named


def _checked_result(out: Any, loss: Any, features: Tensor) -> dict[str, Tensor]:
    """The scalars of a loss as tensors; InvalidArgumentError where it returned something else."""
    expected = f"{loss_name(loss)} must return a dict of scalars with 'loss'"
    if not isinstance(out, Mapping) or "loss" not in out:
        what = f"a dict of {list(out)}" if isinstance(out, Mapping) else type(out).__name__
        raise InvalidArgumentError(f"the loss returned {what}; {expected}")
    if taken := sorted(_TAKEN & set(out)):
        raise InvalidArgumentError(
            f"the loss returned {taken[0]!r}, which the metrics have already; name it otherwise"
        )
    found = {}
    for name, value in out.items():
        if not isinstance(name, str):
            raise InvalidArgumentError(f"the loss returned {name!r} as a name, must be a str")
        scalar = value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, Real)
        if not scalar:
            shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
            raise InvalidArgumentError(
                f"the loss returned a {type(value).__name__}{shape} as {name!r}; {expected}"
            )
        number = value if isinstance(value, Tensor) else float(value)
        found[name] = torch.as_tensor(number, device=features.device)
    if features.requires_grad and not found["loss"].requires_grad:
        raise InvalidArgumentError(
            f"'loss' of {loss_name(loss)} has no graph, so nothing can be trained by it; compute "
            "it of the features by torch, without detach or item"
        )
    return found


def _of_all_processes(given: Mapping[str, Any], rank_rows: Sequence[int] | None) -> dict[str, Any]:
    """The entries of `BatchLoss` with the rows of all processes; a collective."""
    everyone = gather_pairs(given["image_features"], given["text_features"], rank_rows)
    if everyone.processes == 1:
        return dict(given)
    device = everyone.image.device

    def rows_of_all(rows: Tensor) -> Tensor:
        return gather_rows(rows, everyone.counts)

    names = ("hard_rows", "groups", "embeddings", "soft_labels")
    hard, groups, embeddings, soft = (given[name] for name in names)
    if soft is not None:  # among the rows of one process
        soft = everyone.widened(soft)
    if hard is not None:
        most = max(row_counts(hard.shape[1], device))  # batches have as many columns as they need
        hard = F.pad(torch.where(hard < 0, hard, hard + everyone.first), (0, most - hard.shape[1]),
                     value=-1)  # fmt: skip
    return {
        "image_features": everyone.image,
        "text_features": everyone.text,
        "target": rows_of_all(given["target"][:, None] + everyone.first)[:, 0],
        "hard_rows": None if hard is None else rows_of_all(hard),
        "groups": None if groups is None else rows_of_all(groups),
        "soft_labels": None if soft is None else rows_of_all(soft),
        "embeddings": {kind: rows_of_all(embeddings[kind]) for kind in _known(embeddings, device)},
    }


def _known(embeddings: Mapping[str, Tensor], device: torch.device) -> list[str]:
    """The kinds of embeddings that all processes have; a collective."""
    own = torch.tensor([[kind in embeddings for kind in BOUNDS]], device=device)
    everywhere = gather_blocks(own.to(torch.int64)).amin(dim=0).tolist()
    return [kind for kind, there in zip(BOUNDS, everywhere, strict=True) if there]
