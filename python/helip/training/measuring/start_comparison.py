"""What the start model of a run could do, held against what training made of it, as a guard says.

What measures and judges is given from outside: a run knows no tasks. Figures of the start lie in
``OUT/guard/start.json``, so that a resumed run compares with the same ones; the newest statement in
``OUT/guard/statement.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from helip.common.errors import CorruptError, Error, InvalidArgumentError, MismatchError
from helip.common.files import replace_file
from helip.common.processes import Processes
from helip.common.weights_digest import weights_digest
from helip.models.bundle import ModelBundle
from helip.training.checkpoints import read_sealed, sealed
from helip.training.tuning import ModelCopy

_FORMAT = "helip.guard"
_VERSION = 1
_STATED = ("verdict", "words", "tolerance", "sets", "step")


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

    def __init__(self, guard: Guard, bundle: ModelBundle, out: Path, processes: Processes) -> None:
        if not all(callable(getattr(guard, name, None)) for name in ("measure", "compare")):
            raise InvalidArgumentError(
                f"guard is a {type(guard).__name__}, must have measure and compare; give "
                "helip.Guard(data)"
            )
        self._guard, self._folder, self._processes = guard, out / "guard", processes
        self._given = weights_digest(bundle.model) if processes.leads else ""
        self._figures: Any = None  # of the start

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

    def _figures_of_start(
        self, copy: ModelCopy, record: Mapping[str, Any], resumed: bool
    ) -> dict[str, Any]:
        if resumed:
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

    def _statement(self, copy: ModelCopy, weights: Mapping[str, Tensor]) -> Any:
        if self._figures is None:
            return None
        try:
            with copy.measured(weights) as bundle:
                found = dict(self._guard.measure(bundle))
            statement = _plain(dict(self._guard.compare(self._figures, _plain(found))))
            return {"statement": {"verdict": statement["verdict"], "words": "", **statement}}
        except Exception as error:
            return {"failure": _words(error)}

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


def _plain(values: Any) -> Any:
    """As JSON keeps them."""
    return json.loads(json.dumps(values, allow_nan=False))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
