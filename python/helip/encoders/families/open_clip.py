"""Either tower of an open_clip model: ``open_clip:MODEL/PRETRAINED``, ``open_clip:MODEL@FILE``.

MODEL is an architecture of open_clip, a JSON file with a model config, ``hf-hub:ORG/REPO``, or a
directory with open_clip_config.json and weights (then nothing follows it).
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch

from helip.common.errors import InvalidArgumentError
from helip.common.weights_digest import weights_digest
from helip.encoders.loading import Loaded, Network, existing_path, loading, ready, weights_path
from helip.encoders.spec import EncoderSpec, close_names, read_options

_MEND = (
    "Weights by tag come from a hub on first use: connect once, or download them and give "
    "open_clip:MODEL@/path/to/weights"
)


def load_image(spec: EncoderSpec, device: torch.device) -> Loaded:
    """The image tower: features before normalisation, pictures as the model's config says."""
    with _located(spec) as (name, weights):
        model = _create(name, weights)
    config = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    preprocess = open_clip.transform.image_transform_v2(config, is_train=False)
    _drop(model, "transformer", "token_embedding", "text", "text_decoder")
    network = Network(ready(model, device), lambda m, images: m.encode_image(images))
    return Loaded(network=network, weights=weights_digest(model), preprocess=preprocess)


def load_text(spec: EncoderSpec, device: torch.device) -> Loaded:
    """The text tower: the features before normalisation."""
    with _located(spec) as (name, weights):
        model = _create(name, weights)
        with loading(mend=_MEND):
            tokenizer = open_clip.get_tokenizer(name)
    _drop(model, "visual", "text_decoder")
    model = ready(model, device)

    return Loaded(
        network=Network(model, lambda m, tokens: m.encode_text(tokens)),
        weights=weights_digest(model),
        tokenize=lambda texts: {"tokens": tokenizer(texts)},
    )


def _create(name: str, weights: str | None) -> Any:
    with loading(mend=_MEND):
        # require_pretrained: without it a directory that has no weights gives a random model.
        return open_clip.create_model(name, weights, require_pretrained=True)


def _drop(model: Any, *modules: str) -> None:
    """Free the tower that will not be asked."""
    for name in modules:
        if hasattr(model, name):
            delattr(model, name)


@contextlib.contextmanager
def _located(spec: EncoderSpec) -> Iterator[tuple[str, str | None]]:
    """The name of the model and its weights, as open_clip takes them within the block."""
    read_options(spec)
    architecture, weights = spec.name, None
    if spec.path is not None:
        weights = weights_path(spec)
    elif not (architecture.startswith(("hf-hub:", "/", ".", "~")) or Path(architecture).exists()):
        architecture, _, weights = architecture.partition("/")
    # A bare name is that of an architecture.
    may_be_a_path = "/" in architecture or architecture.endswith(".json") or spec.path
    path = existing_path(architecture) if may_be_a_path else None
    if path is not None and path.is_file():
        with _config_directory(path, weights) as directory:
            yield f"local-dir:{directory}", None
    elif path is not None:
        yield f"local-dir:{path}", None
    elif architecture.startswith("hf-hub:"):
        yield architecture, None
    else:
        yield architecture, _known_weights(architecture, weights)


def _known_weights(architecture: str, weights: str | None) -> str:
    """The tag or the file of the weights of an architecture of open_clip."""
    known = open_clip.list_models()
    if architecture not in known:
        raise InvalidArgumentError(
            f"open_clip has no model {architecture!r}{close_names(architecture, known)}; a config "
            "of your own is open_clip:/path/config.json@/path/weights"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not weights:
        raise InvalidArgumentError(
            f"it names no weights: give open_clip:{architecture}/TAG with TAG one of "
            f"{', '.join(tags) or '(none published)'}, or open_clip:{architecture}@/file"
        )
    if weights in tags:
        return weights
    file = existing_path(weights)
    if file is None:
        raise InvalidArgumentError(
            f"{architecture} has no pretrained tag of that name and there is no such file; tags: "
            f"{', '.join(tags) or 'none'}"
        )
    return str(file)


@contextlib.contextmanager
def _config_directory(config: Path, weights: str | None) -> Iterator[Path]:
    """A model config of one's own with its weights, as a directory that open_clip reads.

    open_clip would have to register the config globally under its file name; a passing directory
    leaves no trace.
    """
    if weights is None:
        raise InvalidArgumentError(
            f"it names a config but no weights: give open_clip:{config}@/path/to/weights"
        )
    with loading(mend="The file must be a JSON model config as open_clip has them"):
        content = json.loads(config.read_text(encoding="utf-8"))
        if "model_cfg" not in content:
            content = {"model_cfg": content, "preprocess_cfg": {}}
    safe = weights.endswith(".safetensors")
    file = "open_clip_model.safetensors" if safe else "open_clip_pytorch_model.bin"
    with tempfile.TemporaryDirectory(prefix="helip-open-clip-") as name:
        directory = Path(name)
        (directory / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
        (directory / file).symlink_to(Path(weights).resolve())
        yield directory
