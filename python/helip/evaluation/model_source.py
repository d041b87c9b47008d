"""A model that is measured: where it comes from, and what tells it from another one.

Weights are told by a digest of the loaded tensors, preprocessing by what the transform and the
tokenizer make of a fixed picture and of fixed strings. Where a model lies in local files, a digest
of these spares loading it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helip.common.errors import InvalidArgumentError
from helip.common.files import sha256_of
from helip.common.weights_digest import weights_digest
from helip.models.bundle import create_model
from helip.models.run_folder import within_run
from helip.models.source import CONFIG_FILE
from helip.models.weights import find_weights

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


_DESCRIBING = (".json", ".txt", ".model")


def _within(name_or_path: str) -> Path:
    path = Path(name_or_path)
    return within_run(path) if path.is_dir() else path
