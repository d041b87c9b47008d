"""Training checkpoints: directories of safetensors and JSON, published whole or not at all.

    <root>/step-000042/model.safetensors      the model's state dict
                       optimizer.safetensors  "parameter|state" tensors
                       streaming.safetensors  of a run that mines: what the miner remembers
                       NAME.safetensors       what a hook of that name keeps, such as averages
                       loss.safetensors       what a loss of one's own keeps
                       state.json             step, options, ...; size and SHA-256 of the rest
                       open_clip_config.json  where known, so that create_model opens the directory

state.json carries a digest of itself, so a flipped bit anywhere is found when it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helip.common.errors import CorruptError, Error, InvalidArgumentError, StorageError
from helip.common.files import (
    discard_directory,
    publish_directory,
    read_json,
    sha256_of,
    storage_errors,
    write_json,
)
from helip.models.pretrained import RunFacts
from helip.models.run_folder import CHECKPOINTS, list_checkpoints, within_run
from helip.models.weights import WEIGHTS_FILE, read_tensors, write_tensors

_FORMAT = "helip.checkpoint"
_VERSION = 2
_SUFFIX = ".safetensors"
_CONFIG = "open_clip_config.json"
STATE_FILE = "state.json"
_OWN_FILES = ("loss", "model", "optimizer", "streaming")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory; one that was read is whole."""

    path: Path
    step: int
    tensors: dict[str, dict[str, Tensor]]  # by their files: model, optimizer and what else is kept
    state: dict[str, Any]  # what the trainer put there


def write_checkpoint(
    checkpoint: Checkpoint, *, config: Mapping[str, Any] | None, keep: int
) -> None:
    """Publish it at its path, then delete all but the newest ``keep`` there.

    A whole checkpoint of the same step is left as it is. config: for ``open_clip_config.json``.
    """
    path = checkpoint.path
    if path.exists():
        try:
            _verify(path)
            return
        except Error:
            discard_directory(path)
    with publish_directory(path) as directory:
        for name, kept in checkpoint.tensors.items():
            write_tensors(kept, directory / f"{name}{_SUFFIX}")
        if config:
            write_json(directory / _CONFIG, config)
        files = {
            file.name: {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
            for file in sorted(directory.iterdir())
        }
        body = {
            "format": _FORMAT,
            "version": _VERSION,
            "step": checkpoint.step,
            "files": files,
            "state": checkpoint.state,
        }
        write_json(directory / STATE_FILE, sealed(body))
    for _, old in list_checkpoints(path.parent)[keep:]:
        discard_directory(old)


def check_hook_name(name: str) -> None:
    """Raise InvalidArgumentError unless a checkpoint can hold a file of that name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in _OWN_FILES:
        raise InvalidArgumentError(
            f"a hook is named {name!r}, must be lower-case letters, digits and underscores, and "
            f"none of {', '.join(_OWN_FILES)}: it names a file of the checkpoint"
        )


def newest_checkpoint(root: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and what is wrong with each newer one.

    (None, []) when there is none at all; CorruptError when there are some and all are damaged.
    """
    damage: list[str] = []
    for _, path in list_checkpoints(root):
        try:
            return read_checkpoint(path), damage
        except (CorruptError, StorageError) as error:
            damage.append(str(error))
    if damage:
        raise CorruptError(
            f"no checkpoint in {root} is whole; move it away to start anew. " + "; ".join(damage)
        )
    return None, []


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint; CorruptError names the file that is damaged."""
    body = _verify(path)
    tensors = {
        name.removesuffix(_SUFFIX): read_tensors(path / name)
        for name in body["files"]
        if name.endswith(_SUFFIX)
    }
    return Checkpoint(path, body["step"], tensors, body["state"])


def recorded_options(root: Path) -> dict[str, Any]:
    """The options that a run began with, as its newest checkpoint that can be read records them;
    none where there is none. Who resumes tells of damaged ones."""
    for _, path in list_checkpoints(root):
        with contextlib.suppress(CorruptError, StorageError, KeyError, TypeError):
            return dict(read_json(path / STATE_FILE)["state"]["options"])
    return {}


def facts_of(path: Path) -> RunFacts | None:
    """Of the run that wrote the model at ``path``; None where no run is known.

    path: the folder of a run, one of its checkpoints or a file of weights in it, or one of the
        models that a run writes beside them: best and wise-ft.

    Raises CorruptError for a state.json that lacks what a checkpoint has.
    """
    folder = within_run(path) if path.is_dir() else path.parent
    if (folder / STATE_FILE).is_file():
        average = path.name if path.is_file() and path.name != WEIGHTS_FILE else None
        return _read_facts(folder, _AVERAGE if average == "ema.safetensors" else None)
    found = list_checkpoints(folder.parent / CHECKPOINTS)
    if folder.name not in _BESIDE or not found:
        return None
    return _read_facts(found[0][1], _BESIDE[folder.name](folder))


def _read_facts(checkpoint: Path, weights: str | None) -> RunFacts:
    file = checkpoint / STATE_FILE
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


def random_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's global generators, JSON values."""
    version, words, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=True)
    kind, array, position, has_gauss, cached = legacy
    states: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": [kind, array.tolist(), int(position), int(has_gauss), float(cached)],
        "torch": _text_of(torch.get_rng_state()),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda:{index}"] = _text_of(state)
    return states


def seed_all(seed: int) -> None:
    """Seed the generators that `random_states` is of."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def restore_random_states(states: Mapping[str, Any]) -> None:
    """The inverse of `random_states`; devices that are absent here are passed over."""
    try:
        version, words, gauss = states["python"]
        random.setstate((version, tuple(words), gauss))
        kind, array, position, has_gauss, cached = states["numpy"]
        np.random.set_state((kind, np.array(array, dtype=np.uint32), position, has_gauss, cached))
        torch.set_rng_state(_bytes_of(states["torch"]))
        if torch.cuda.is_available():
            for index in range(torch.cuda.device_count()):
                if f"cuda:{index}" in states:
                    torch.cuda.set_rng_state(_bytes_of(states[f"cuda:{index}"]), index)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptError(f"the random states of the checkpoint are damaged: {error}") from error


def _text_of(state: Tensor) -> str:
    return bytes(state.numpy()).hex()


def _bytes_of(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)


def _verify(path: Path) -> dict[str, Any]:
    """The body of state.json, after every file has been compared with it."""
    body = read_sealed(path / STATE_FILE, _FORMAT, _VERSION)
    for name, expected in body["files"].items():
        part = path / name
        with storage_errors("read", part):
            size = part.stat().st_size
        if size != expected["bytes"]:
            raise CorruptError(f"{part} has {size} bytes, must have {expected['bytes']}")
        if sha256_of(part) != expected["sha256"]:
            raise CorruptError(f"{part} does not match its SHA-256")
    return body


def sealed(body: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with a digest of itself beside its values."""
    return {**body, "sha256": _digest(body)}


def read_sealed(file: Path, format: str, version: int) -> dict[str, Any]:
    """The body of what `sealed` gave; CorruptError where it is another format or damaged."""
    body = read_json(file)
    if body.get("format") != format or body.get("version") != version:
        raise CorruptError(
            f"{file} has format {body.get('format')!r} version {body.get('version')!r}, must be "
            f"{format!r} version {version}"
        )
    if body.pop("sha256", None) != _digest(body):
        raise CorruptError(f"{file} does not match its own digest")
    return body


def _digest(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
