"""A loaded network with what an engine is tried on, and the encoder that it becomes."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

import torch

from helip.common.devices import choose_device
from helip.common.errors import Error, InvalidArgumentError
from helip.encoders.engines.engine import Engine, Inputs
from helip.encoders.loaded import Loaded
from helip.encoders.network_encoder import NetworkImageEncoder, NetworkTextEncoder, blank
from helip.encoders.spec import FAMILIES, parse_spec
from helip.encoders.weights import files_stamp

Side = Literal["image", "text"]

# side → its families
_FAMILIES = {
    "image": ("timm", "torchvision", "hf", "open_clip", "packaged"),
    "text": ("hf", "st", "open_clip", "packaged"),
}
_CAPTIONS = ("two dogs", "a red house near the sea", "a woman rides her bicycle to an old market")


@dataclass(frozen=True)
class Source:
    """A network that can be computed, and inputs to try it with."""

    spec: str
    side: Side
    loaded: Loaded
    files: str
    """Stamp of the local files that it was loaded from, as they were before; see weights.py."""
    device: torch.device

    def example(self) -> Inputs:
        """Two samples, that an export is traced with."""
        return self._inputs(2)

    def trial(self) -> Inputs:
        """Three others, that an exported graph is compared on."""
        return self._inputs(3)

    def _inputs(self, count: int) -> Inputs:
        if self.side == "text":
            assert self.loaded.tokenize is not None, "only such networks are exported"
            captions = list(_CAPTIONS[:2] if count == 2 else reversed(_CAPTIONS))
            return tuple(self.loaded.tokenize(captions).values())
        assert self.loaded.preprocess is not None
        shape = blank(self.loaded.preprocess).shape
        noise = torch.Generator().manual_seed(count)
        return (torch.randn(count, *shape, generator=noise),)


def load_source(spec: str, side: Side, device: str | torch.device = "cpu") -> Source:
    """Load the network that ``spec`` names.

    Raises InvalidArgumentError (spec or option), StorageError (weights that are not there or a hub
    out of reach), UnsupportedError (a package that is not installed).
    """
    parsed = parse_spec(spec)
    place = choose_device(device)
    if parsed.family not in _FAMILIES[side]:
        raise InvalidArgumentError(
            f"{spec!r} is no {side} encoder: {side} encoders come from {', '.join(_FAMILIES[side])}"
        )
    stamp = files_stamp(spec)  # before, so that a later change is seen
    module = importlib.import_module(f"helip.encoders.families.{FAMILIES[parsed.family]}")
    try:
        loaded = getattr(module, f"load_{side}")(parsed, place)
    except Error as error:
        error.args = (f"encoder {spec!r}: {error}",)
        raise
    return Source(spec, side, loaded, stamp, place)


def encoder_of(source: Source, engine: Engine, **facts: Any) -> Any:
    """The NetworkImageEncoder or NetworkTextEncoder that computes ``source`` by ``engine``.

    ``facts``: what a store's metadata says of the engine besides its name and precision.
    """
    common: dict[str, Any] = {
        "spec": source.spec,
        "weights": source.loaded.weights,
        "files": source.files,
        "computed": {"engine": engine.name, "precision": engine.precision, **facts},
    }
    if source.side == "text":
        return NetworkTextEncoder(engine, source.loaded.tokenize, **common)
    assert source.loaded.preprocess is not None
    return NetworkImageEncoder(engine, source.loaded.preprocess, **common)
