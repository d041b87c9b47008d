"""What the start model of a run could do, held against what training made of it, as a guard says.

What measures and judges is given from outside: a run knows no tasks. Figures of the start lie in
``OUT/guard/start.json``, so that a resumed run compares with the same ones; the newest statement in
``OUT/guard/statement.json``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from helip.common.errors import CorruptError, Error, InvalidArgumentError, MismatchError
from helip.common.files import discard_directory, read_json, replace_file
from helip.common.processes import Processes
from helip.common.weights_digest import weights_digest
from helip.models.bundle import ModelBundle
from helip.models.interpolation import interpolated_weights
from helip.models.saving import save_model
from helip.models.weights import fit_state_dict
from helip.training.checkpoints import read_sealed, sealed
from helip.training.measuring.wise_ft import check_saved, tuned_model, weights_of
from helip.training.model_copy import ModelCopy
from helip.training.options import RunOptions

_FORMAT = "helip.guard"
_VERSION = 1
_STATED = ("verdict", "words", "tolerance", "sets", "step")
SHARES = tuple(tenths / 10 for tenths in range(9, 0, -1))  # of the tuned weights, largest first


class Guard(Protocol):
    """What a trainer asks of a guard; what it returns are JSON values."""

    def measure(self, bundle: ModelBundle) -> Mapping[str, Any]:
        """All that `compare` needs of a model in eval mode."""

    def compare(self, start: Mapping[str, Any], tuned: Mapping[str, Any]) -> Mapping[str, Any]:
        """``verdict``, "lost" where a loss is stated, ``words``, and what else belongs to it."""


class StartComparison:
    """Asks a guard on rank 0 and keeps account; all processes call its methods together.

    ``record``, plain values, is part of each checkpoint. Made before anything adapts the model.
    """

    def __init__(
        self, guard: Guard, bundle: ModelBundle, out: Path, run: RunOptions, processes: Processes
    ) -> None:
        if not all(callable(getattr(guard, name, None)) for name in ("measure", "compare")):
            raise InvalidArgumentError(
                f"guard is a {type(guard).__name__}, must have measure and compare; give "
                "helip.Guard(data)"
            )
        self._guard, self._bundle, self._processes = guard, bundle, processes
        self._folder, self._mixture = out / "guard", out / "guarded"
        self._mends = run.when_lost == "interpolate"
        self._start: dict[str, Tensor] | None = None
        self._given = ""
        self._figures: Any = None  # of the start
        if self._mends:
            check_saved(bundle, "when_lost='interpolate'")
        if processes.leads:
            self._given = weights_digest(bundle.model)
            self._start = weights_of(bundle) if self._mends else None

    def begin(
        self, copy: ModelCopy, record: dict[str, Any], step: int, *, resumed: bool
    ) -> dict[str, Any] | None:
        """Measure the start, or read what was measured of it; a line for the log where it did.

        copy: has the weights that the run was given.
        """
        if resumed and "start" not in record:
            raise MismatchError(
                f"cannot resume {self._folder.parent}: the run began without a guard, so nobody "
                "knows the figures of its start; leave guard out, or begin anew in another out"
            )
        outcome = self._processes.leader_does(lambda: self._figures_of_start(copy, record, resumed))
        outcome = self._processes.exchange(outcome)[0]
        if not resumed:
            record["start"] = outcome["given"]
        if "failure" in outcome:
            return self._failed(record, step, outcome["failure"])
        measured = {"step": step, "event": "guard", "message": "measured the start"}
        return measured if outcome["measured"] else None

    def look(
        self, copy: ModelCopy, step: int, weights: Mapping[str, Tensor], record: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Judge weights and note it in ``record``; a line for the log, None without a start."""
        outcome = self._processes.leader_does(lambda: self._statement(copy, weights))
        outcome = self._processes.exchange(outcome)[0]
        if outcome is None:
            return None
        for name in _STATED:
            record.pop(name, None)
        if "failure" in outcome:
            line = self._failed(record, step, outcome["failure"])
        else:
            stated = {**outcome["statement"], "step": step}
            record.update(stated)
            looks = record.setdefault("looks", [])
            looks.append({"step": step, "verdict": stated["verdict"]})
            short = {name: stated[name] for name in ("verdict", "words")}
            line = {"step": step, "event": "guard", **short}
        self._processes.leader_does(lambda: self._write("statement", record))
        return line

    def mend(self, checkpoint: Path, device: torch.device, record: dict[str, Any]) -> None:
        """Where a loss is stated and it is asked for, the mixture with the largest share of the
        tuned weights of which none is; noted in ``record``."""
        if not self._mends or record.get("verdict") != "lost":
            return
        outcome = self._processes.leader_does(lambda: self._interpolated(checkpoint, device))
        outcome = self._processes.exchange(outcome)[0]
        if "failure" in outcome:
            self._failed(record, record["step"], outcome["failure"])
        else:
            record["interpolated"] = outcome

    def _figures_of_start(
        self, copy: ModelCopy, record: Mapping[str, Any], resumed: bool
    ) -> dict[str, Any]:
        if resumed:
            if self._mends and record["start"] != self._given:
                raise MismatchError(
                    f"cannot resume {self._folder.parent}: when_lost='interpolate' mixes with the "
                    "start model, and the model given has other weights; give the start model "
                    "again, or when_lost='report'"
                )
            try:
                self._figures = self._read(record["start"])
                return {"measured": False}
            except Error as error:
                if record["start"] != self._given:
                    return {
                        "failure": f"{error}; the model given is not the start either, so nothing "
                        "can be compared with it"
                    }
        try:
            with copy.measured() as bundle:
                figures = dict(self._guard.measure(bundle))
            self._write("start", {"start": self._given, "sets": figures})
            self._figures = self._read(self._given)
        except Exception as error:
            if not resumed:  # nothing is lost yet, and without these figures nothing can be said
                raise Error(
                    f"the guard could not measure the start model: {_words(error)}; mend its data, "
                    "or drop guard="
                ) from error
            failure = f"the start was not measured: {_words(error)}"
            return {"given": self._given, "failure": failure}
        return {"given": self._given, "measured": True}

    def _statement(self, copy: ModelCopy, weights: Mapping[str, Tensor] | None) -> Any:
        if self._figures is None:
            return None
        try:
            with copy.measured(weights) as bundle:
                found = dict(self._guard.measure(bundle))
            statement = _plain(dict(self._guard.compare(self._figures, _plain(found))))
            return {"statement": {"verdict": statement["verdict"], "words": "", **statement}}
        except Exception as error:
            return {"failure": _words(error)}

    def _interpolated(self, checkpoint: Path, device: torch.device) -> dict[str, Any]:
        assert self._start is not None
        note = self._folder / "mixture.json"
        if note.exists() and self._mixture.exists():
            return {name: value for name, value in read_json(note).items() if name in _MENDED}
        if self._mixture.exists():  # killed before it was noted
            discard_directory(self._mixture)
        try:
            opened = tuned_model(checkpoint).model
            tuned = {name: value.clone() for name, value in opened.state_dict().items()}
            copy = ModelCopy(dataclasses.replace(self._bundle, model=opened), device)
        except Error as error:
            return {"failure": _words(error)}
        tried: list[dict[str, Any]] = []
        found: dict[str, Any] = {"share": 0.0, "verdict": "kept", "words": _NONE}
        for share in SHARES:
            outcome = self._statement(copy, interpolated_weights(self._start, tuned, share))
            if "failure" in outcome:
                return dict(outcome)
            statement = outcome["statement"]
            tried.append({"share": share, "verdict": statement["verdict"]})
            if statement["verdict"] != "lost":
                found = {"share": share, **statement}
                break
        mixed = interpolated_weights(self._start, tuned, found["share"])
        fit_state_dict(copy.bundle.model, mixed, "the mixture")
        save_model(copy.bundle, self._mixture)
        found |= {"path": str(self._mixture), "tried": tried}
        self._write("mixture", found)
        return found

    def _failed(self, record: dict[str, Any], step: int, message: str) -> dict[str, Any]:
        record.setdefault("failures", []).append({"step": step, "message": message})
        return {"step": step, "event": "guard_failed", "message": message}

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        body = {"format": _FORMAT, "version": _VERSION, **values}
        text = json.dumps(sealed(body), ensure_ascii=False, allow_nan=False)
        replace_file(self._folder / f"{name}.json", text + "\n")

    def _read(self, start: str) -> Any:
        path = self._folder / "start.json"
        body = read_sealed(path, _FORMAT, _VERSION)
        if body.get("start") != start:
            raise CorruptError(f"{path} is of another start model than the run's")
        return body["sets"]


_MENDED = (*_STATED[:4], "share", "path", "tried")
_NONE = (
    "Of every mixture down to a tenth of the tuned weights a loss is stated: what is written is "
    "the start model."
)


def _plain(values: Any) -> Any:
    """As JSON keeps them."""
    return json.loads(json.dumps(values, allow_nan=False))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
