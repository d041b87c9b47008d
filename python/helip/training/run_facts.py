"""What a training run on disk says of itself: for the card of its model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError
from helip.common.files import read_json
from helip.models.pretrained import RunFacts
from helip.models.run_folder import CHECKPOINTS, list_checkpoints, within_run
from helip.models.weights import WEIGHTS_FILE

_STATE = "state.json"


def facts_of(path: Path) -> RunFacts | None:
    """Of the run that wrote the model at ``path``; None where no run is known.

    path: the folder of a run, one of its checkpoints or a file of weights in it, or one of the
        models that a run writes beside them: best and wise-ft.

    Raises CorruptError for a state.json that lacks what a checkpoint has.
    """
    folder = within_run(path) if path.is_dir() else path.parent
    if (folder / _STATE).is_file():
        average = path.name if path.is_file() and path.name != WEIGHTS_FILE else None
        return _read(folder, _AVERAGE if average == "ema.safetensors" else None)
    found = list_checkpoints(folder.parent / CHECKPOINTS)
    if folder.name not in _BESIDE or not found:
        return None
    return _read(found[0][1], _BESIDE[folder.name](folder))


def _read(checkpoint: Path, weights: str | None) -> RunFacts:
    file = checkpoint / _STATE
    body = read_json(file)
    try:
        state = body["state"]
        at: Mapping[str, Any] = state["progress"]
        return RunFacts(
            options=state["options"],
            steps=int(body["step"]),
            seconds=float(at["seconds"]),
            captions_at_limit=int(at["captions_at_context_limit"]),
            validation=at["validation"],
            guard=at["guard"],
            **({} if weights is None else {"weights": weights}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"{file} lacks a part of a checkpoint's state: {error}") from error


_AVERAGE = "the average (ema) of those after each step"


def _best(folder: Path) -> str:
    note = read_json(folder / "best.json")
    return f"those after step {note.get('step')}, the best by `{note.get('figure')}`"


def _mixture(folder: Path) -> str:
    return "a mixture of those of the start and those of the last step (WiSE-FT)"


_BESIDE = {"best": _best, "wise-ft": _mixture}
