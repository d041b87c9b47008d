"""Image encoders of timm: ``timm:NAME``, ``timm:NAME@FILE``, ``timm:DIRECTORY``."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le

from helip.common.errors import InvalidArgumentError
from helip.common.weights_digest import weights_digest
from helip.encoders.loading import (
    Loaded,
    check_keys,
    existing_path,
    import_extra,
    loading,
    ready,
    weights_path,
)
from helip.encoders.spec import EncoderSpec, close_names, read_options

_MEND = (
    "Weights come from the Hugging Face hub on first use: connect once, or download the file and "
    "give timm:NAME@/path/to/model.safetensors"
)


def load_image(spec: EncoderSpec, device: torch.device) -> Loaded:
    """A timm model without its classifier (``num_classes=0``), preprocessed as timm says.

    ``size`` sets another input side than the model's own (vision transformers interpolate their
    position embedding).
    """
    options = read_options(spec, size=Annotated[int, Ge(16), Le(2048)])
    timm = import_extra("timm")
    model = _create(timm, spec)
    size = options.get("size")
    if size is not None and hasattr(model, "set_input_size"):
        with loading(mend=f"This model does not take size={size}; leave the option out"):
            model.set_input_size(img_size=(size, size))  # type: ignore[operator]
    config = timm.data.resolve_model_data_config(model)
    if size is not None:
        config["input_size"] = (3, size, size)
    return Loaded(
        network=ready(model, device),
        weights=weights_digest(model),
        preprocess=timm.data.create_transform(**config, is_training=False),
    )


def _create(timm: Any, spec: EncoderSpec) -> torch.nn.Module:
    # A hub name has a prefix of its own; a bare name is never a path in the working directory.
    directory = existing_path(spec.name) if "/" in spec.name else None
    if directory is not None:
        with loading(mend="The directory needs a timm config.json and its weights"):
            return timm.create_model(f"local-dir:{directory}", pretrained=True, num_classes=0)
    architecture = spec.name.partition(".")[0]
    if not spec.name.startswith(("hf_hub:", "hf-hub:")) and not timm.is_model(architecture):
        raise InvalidArgumentError(
            f"timm has no model {architecture!r}{close_names(architecture, timm.list_models())}"
        )
    if spec.path is None:
        with loading(mend=_MEND):
            return timm.create_model(spec.name, pretrained=True, num_classes=0)
    weights = weights_path(spec)
    with loading(mend="The file must be a checkpoint of this architecture"):
        model = timm.create_model(spec.name, pretrained=False, num_classes=0)
        _load_weights(model, weights)
    return model


def _load_weights(model: torch.nn.Module, weights: str) -> None:
    from timm.models import load_checkpoint

    # Published checkpoints are in their authors' layout; each model's module knows how to read it.
    family = importlib.import_module(type(model).__module__)
    reader = getattr(family, "checkpoint_filter_fn", None)
    result = load_checkpoint(model, weights, strict=False, filter_fn=reader)
    if result is None:  # NumPy checkpoints are read, and checked, by the model itself
        return
    heads = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    unexpected = [key for key in result.unexpected_keys if not key.startswith(heads)]
    check_keys(result.missing_keys, [key for key in unexpected if key != "mask_token"])
