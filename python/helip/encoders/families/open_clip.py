"""Either tower of an open_clip model: ``open_clip:MODEL/PRETRAINED``, ``open_clip:MODEL@FILE``.

MODEL is an architecture of open_clip, a JSON file with a model config, ``hf-hub:ORG/REPO``, or a
directory with open_clip_config.json and weights (then nothing follows it).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from helip.common.errors import InvalidArgumentError
from helip.encoders.loading import existing_path, loading, weights_path
from helip.encoders.spec import EncoderSpec, close_names, read_options
from helip.encoders.torch_encoder import TorchImageEncoder, TorchTextEncoder

_MEND = (
    "Weights by tag come from a hub on first use: connect once, or download them and give "
    "open_clip:MODEL@/path/to/weights"
)


def load_image(
    spec: EncoderSpec, *, device: str | torch.device = "cpu", dtype: str = "float32"
) -> TorchImageEncoder:
    """The image tower: features before normalisation, pictures as the model's config says."""
    read_options(spec)
    model, _ = _load(spec, tokenizer=False)
    from open_clip.transform import PreprocessCfg, image_transform_v2

    preprocess = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    _drop(model, "transformer", "token_embedding", "text", "text_decoder")
    return TorchImageEncoder(
        _ImageTower(model), preprocess, spec=spec.text, device=device, dtype=dtype
    )


def load_text(
    spec: EncoderSpec, *, device: str | torch.device = "cpu", dtype: str = "float32"
) -> TorchTextEncoder:
    """The text tower: the features before normalisation."""
    read_options(spec)
    model, tokenizer = _load(spec, tokenizer=True)
    _drop(model, "visual", "text_decoder")
    place = torch.device(device)
    model = model.float().eval().to(place)

    def embed(texts: list[str]) -> torch.Tensor:
        return model.encode_text(tokenizer(texts).to(place))

    return TorchTextEncoder(embed, spec=spec.text, device=device, dtype=dtype)


class _ImageTower(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.encode_image(images)


def _drop(model: Any, *parts: str) -> None:
    """Free the tower that will not be asked."""
    for part in parts:
        if hasattr(model, part):
            delattr(model, part)


def _load(spec: EncoderSpec, *, tokenizer: bool) -> tuple[Any, Any]:
    import open_clip

    architecture, weights = _split(spec)
    path = existing_path(spec, architecture) if "/" in architecture or spec.path else None
    if path is None and architecture.endswith(".json"):
        path = existing_path(spec, f"./{architecture}")
    if path is not None and path.is_file():
        return _from_config(open_clip, spec, path, weights, tokenizer)
    if path is not None and path.is_dir():
        return _create(open_clip, spec, f"local-dir:{path}", None, tokenizer)
    if architecture.startswith("hf-hub:"):
        return _create(open_clip, spec, architecture, None, tokenizer)
    known = open_clip.list_models()
    if architecture not in known:
        raise InvalidArgumentError(
            f"encoder {spec.text!r}: open_clip has no model {architecture!r}"
            f"{close_names(architecture, known)}; a config of your own is "
            "open_clip:/path/config.json@/path/weights"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if weights is None:
        raise InvalidArgumentError(
            f"encoder {spec.text!r} names no weights: give open_clip:{architecture}/TAG with TAG "
            f"one of {', '.join(tags) or '(none published)'}, or open_clip:{architecture}@/file"
        )
    if weights not in tags:
        weights = str(existing_path(spec, weights) or "")
        if not weights:
            raise InvalidArgumentError(
                f"encoder {spec.text!r}: {architecture} has no pretrained tag of that name and "
                f"there is no such file; tags: {', '.join(tags) or 'none'}"
            )
    return _create(open_clip, spec, architecture, weights, tokenizer)


def _split(spec: EncoderSpec) -> tuple[str, str | None]:
    """(model, weights): weights stand after '@', or after the first '/' of a model's name."""
    name = spec.name
    if spec.path is not None:
        return name, weights_path(spec)
    if name.startswith(("hf-hub:", "/", ".", "~")) or Path(name).exists():
        return name, None
    architecture, slash, weights = name.partition("/")
    return architecture, weights if slash else None


def _create(
    open_clip: Any, spec: EncoderSpec, name: str, weights: str | None, tokenizer: bool
) -> tuple[Any, Any]:
    with loading(spec, mend=_MEND):
        # require_pretrained: without it a directory that has no weights gives a random model.
        model = open_clip.create_model(name, weights, require_pretrained=True)
        return model, open_clip.get_tokenizer(name) if tokenizer else None


def _from_config(
    open_clip: Any, spec: EncoderSpec, config: Path, weights: str | None, tokenizer: bool
) -> tuple[Any, Any]:
    """A model config of one's own with its weights.

    open_clip would have to register the config globally under its file name; a passing directory
    of the kind that it also reads leaves no trace.
    """
    if weights is None:
        raise InvalidArgumentError(
            f"encoder {spec.text!r} names a config but no weights: give "
            f"open_clip:{config}@/path/to/weights"
        )
    with loading(spec, mend="The file must be a JSON model config as open_clip has them"):
        content = json.loads(config.read_text(encoding="utf-8"))
        if "model_cfg" not in content:
            content = {"model_cfg": content, "preprocess_cfg": {}}
    suffix = ".safetensors" if weights.endswith(".safetensors") else ".bin"
    with tempfile.TemporaryDirectory(prefix="helip-open-clip-") as name:
        directory = Path(name)
        (directory / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
        stem = "open_clip_model" if suffix == ".safetensors" else "open_clip_pytorch_model"
        (directory / f"{stem}{suffix}").symlink_to(Path(weights).resolve())
        return _create(open_clip, spec, f"local-dir:{directory}", None, tokenizer)
