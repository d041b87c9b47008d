"""Image encoders of torchvision: ``torchvision:NAME``, ``torchvision:NAME@FILE``."""

from __future__ import annotations

import torch

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.weights_digest import weights_digest
from helip.encoders.loading import (
    Loaded,
    check_keys,
    import_extra,
    load_state_dict,
    loading,
    ready,
    weights_path,
)
from helip.encoders.spec import EncoderSpec, close_names, read_options

_HEADS = ("fc", "classifier", "heads", "head")
# What these two builders set themselves when they are asked for pretrained weights.
_PRETRAINED = {"transform_input": True, "aux_logits": True, "init_weights": False}
_PRETRAINED_ARGUMENTS = {"googlenet": _PRETRAINED, "inception_v3": _PRETRAINED}


def load_image(spec: EncoderSpec, device: torch.device) -> Loaded:
    """A torchvision classification model whose last linear layer is replaced by the identity.

    ``weights`` names an entry of the model's weights enum (default: DEFAULT); it also says how
    pictures are preprocessed.
    """
    options = read_options(spec, weights=str)
    torchvision = import_extra("torchvision")
    known = torchvision.models.list_models(module=torchvision.models)
    if spec.name not in known:
        near = close_names(spec.name, known)
        raise InvalidArgumentError(f"torchvision has no image model {spec.name!r}{near}")
    entries = torchvision.models.get_model_weights(spec.name)
    entry = options.get("weights", "DEFAULT")
    if entry not in entries.__members__:
        known = ", ".join(entries.__members__)
        raise InvalidArgumentError(f"it has weights={entry}: it must be one of {known}")
    weights = entries[entry]
    arguments = _PRETRAINED_ARGUMENTS.get(spec.name, {})
    model = torchvision.models.get_model(spec.name, weights=None, **arguments)
    head = _remove_head(model)
    if spec.path is not None:
        file = weights_path(spec)
        with loading(mend="The file must be a state dict of this architecture"):
            state = load_state_dict(file)
    else:
        mend = f"Connect once, or download {weights.url} and give torchvision:{spec.name}@/its/path"
        with loading(mend=mend):
            state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    state = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
    with loading(mend="The file must be a state dict of this architecture"):
        result = model.load_state_dict(state, strict=False)
    check_keys(result.missing_keys, result.unexpected_keys)
    return Loaded(
        network=ready(model, device),
        weights=weights_digest(model),
        preprocess=weights.transforms(),
    )


def _remove_head(model: torch.nn.Module) -> str:
    """Replace the last linear layer under the classifier by the identity; return its name.

    Only that layer: what stands before it (pooling, flattening, a norm) makes the pooled features.
    """
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.split(".")[0] in _HEADS
    ]
    if not linear:
        raise UnsupportedError(
            "no linear classifier was found to take off; choose a model that ends in one, such as "
            "torchvision:resnet50"
        )
    name = linear[-1]
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, torch.nn.Identity())
    return name
