"""A model that is measured: where it comes from, what tells it from another one, and what its run
was trained on.

Weights are told by a digest of the loaded tensors, preprocessing by what the transform and the
tokenizer make of a fixed picture and of fixed strings. Where a model lies in local files, a digest
of these spares loading it.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helip.common.errors import CorruptError, Error, InvalidArgumentError, StorageError
from helip.common.files import read_json, sha256_of
from helip.common.weights_digest import weights_digest
from helip.loading.account import target_rows_of
from helip.models.bundle import create_model
from helip.models.run_folder import TRAINED_ROWS, within_run
from helip.models.source import CONFIG_FILE
from helip.models.weights import find_weights
from helip.store.data_identity import count_kept_rows, fingerprint_differences

_TOLD = 2  # keys and captions: what two fingerprints must both know
_DEPTH = 3  # RUN/checkpoints/step-000042/model.safetensors
_DESCRIBING = (".json", ".txt", ".model")
_STRINGS = ["A photo of a cat, 1 of 23.", "über-long " * 200]


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: what ``create_model`` takes."""

    name_or_path: str
    checkpoint: str | None = None

    def files_digest(self) -> str | None:
        """A digest of weights, configuration and tokenizer; None where these are not local files.

        It depends on contents, not on places or times.
        """
        model = _within(self.name_or_path)
        place = model if self.checkpoint is None else _within(self.checkpoint)
        if not place.exists() or any(place.glob("*.index.json")):
            return None
        weights = find_weights(place) if place.is_dir() else place
        if weights is None or weights.suffix == ".json":
            return None
        if model.is_dir():
            described = sorted(file for file in model.iterdir() if file.suffix in _DESCRIBING)
        else:  # weights with their configuration beside them, or a configuration, or a name
            file = model.parent / CONFIG_FILE if model == weights else model
            described = [file] if file.is_file() else []
        digest = hashlib.sha256(b"" if described else os.fsencode(self.name_or_path))
        for file in (*described, weights):
            name = "weights" if file == weights else file.name
            digest.update(f"{name}\0{sha256_of(file)}\0".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def load(self) -> Any:
        """The model, by ``create_model``."""
        return create_model(self.name_or_path, checkpoint=self.checkpoint)


class GivenModel:
    """A model by its source, loaded when that is needed, or a bundle that is there."""

    def __init__(self, given: Any) -> None:
        if isinstance(given, (str, os.PathLike)):
            given = ModelSource(os.fspath(given))
        self.source = given if isinstance(given, ModelSource) else None
        self._bundle = None if self.source is not None else given

    @property
    def bundle(self) -> Any:
        if self._bundle is None:
            assert self.source is not None
            self._bundle = self.source.load()
        return self._bundle

    @cached_property
    def files(self) -> str | None:
        return None if self.source is None else self.source.files_digest()

    @cached_property
    def weights(self) -> str | None:
        return digest_of_weights(getattr(self.bundle, "model", self.bundle))

    @cached_property
    def preprocessing(self) -> str | None:
        """A digest of what its transform and its tokenizer do; None where that cannot be told."""
        random = np.random.default_rng(0)
        try:
            from PIL import Image

            pixels = random.integers(0, 256, (61, 47, 3), dtype=np.uint8)
            made = {
                "image": self.bundle.eval_transform(Image.fromarray(pixels)),
                "tokens": self.bundle.tokenizer(_STRINGS),
            }
            return weights_digest(made)
        except (AttributeError, TypeError, ValueError, RuntimeError):  # none, or not of tensors
            return None

    def identity(self, weights: str | None) -> dict[str, Any]:
        """What a result is kept with; ``weights`` is the digest of those that were measured."""
        source = self.source
        return {
            "name_or_path": None if source is None else source.name_or_path,
            "checkpoint": None if source is None else source.checkpoint,
            "files": self.files,
            "weights": weights,
            "preprocessing": self.preprocessing,
        }

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """In what it differs from the model of an identity; it is loaded where files do."""
        if self.files is not None and self.files == before.get("files"):
            return []
        found = []
        for name, now in (("weights", self.weights), ("preprocessing", self.preprocessing)):
            if now is None:
                found.append(f"{name} (without a digest)")
            elif before.get(name) != now:
                found.append(f"{name} ({str(before.get(name))[:12]}, now {now[:12]})")
        return found


def digest_of_weights(model: torch.nn.Module) -> str | None:
    """`weights_digest`, or None where some have no bytes, as those of quantised modules."""
    try:
        return weights_digest(model)
    except InvalidArgumentError:
        return None


def _within(name_or_path: str) -> Path:
    path = Path(name_or_path)
    return within_run(path) if path.is_dir() else path


def warn_of_training_data(model: Any, data: Any) -> None:
    """Warn where rows of ``data`` are among those that ``model`` was trained on.

    ``model`` is a `ModelSource`, or the path of a run or of anything in its folder; of other models
    nothing is known. Rows are known by `keep_rows` of the run.
    """
    place = _place_of(model)
    trained = _state_of_run(place).get("options", {}).get("data")
    trained, here = str(trained or ""), str(getattr(data, "fingerprint", ""))
    known = all(
        part not in ("", "0")
        for text in (trained, here)
        for part in (text.split("-") + [""] * _TOLD)[:_TOLD]
    )
    if known and not fingerprint_differences(trained, here):
        words = f"was trained on all {len(data):,} rows that it is measured on"
    elif count := _trained_rows(place, data):
        words = f"was trained on at least {count:,} of the {len(data):,} rows of these data"
    else:
        return
    warnings.warn(f"{place} {words}; give data that were held out", stacklevel=4)


def _trained_rows(place: str, data: Any) -> int:
    """Rows of ``data`` that the run is known to have been trained on, in whose folder it is."""
    if not place or not Path(place).exists() or not hasattr(data, "row_digests"):
        return 0
    path = Path(place).resolve()
    for folder in (path, *path.parents[:_DEPTH]):
        file = folder / TRAINED_ROWS
        if file.is_file():
            try:
                return count_kept_rows(file, data)
            except (Error, OSError, ValueError) as error:
                warnings.warn(f"{file} cannot be read ({error})", stacklevel=5)
                return 0
    return 0


def rows_trained_on(model: Any) -> dict[str, int]:
    """``target_rows`` of the ``rows`` of its data, of the run that ``model`` is of, as
    `warn_of_training_data` takes it; empty where that is not known."""
    found = _state_of_run(_place_of(model)).get("rows")
    return target_rows_of(found) if isinstance(found, dict) else {}


def rows_words(results: Mapping[str, Mapping[str, Any]]) -> str:
    """How many rows each of these runs planned as targets; empty where no result knows."""
    known = {name: rows for name, result in results.items() if (rows := result.get("trained_on"))}
    said = [f"{name} {n['target_rows']:,} of {n['rows']:,}" for name, n in known.items()]
    return f"Rows planned as targets: {', '.join(said)}." if said else ""


def _place_of(model: Any) -> str:
    """Where a model comes from; "" where that is not known."""
    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model)
    return (model.checkpoint or model.name_or_path) if isinstance(model, ModelSource) else ""


def _state_of_run(place: str) -> dict[str, Any]:
    """What the newest checkpoint of a run, or a checkpoint, says of it; empty for anything else."""
    if not place:
        return {}
    try:
        path = within_run(Path(place)) if Path(place).is_dir() else Path(place)
        found = read_json(path / "state.json")["state"]
    except (CorruptError, StorageError, OSError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
