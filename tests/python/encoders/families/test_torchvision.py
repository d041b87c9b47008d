"""Encoders of torchvision on weights made here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.encoders.registry import image_encoder
from support.encoder_samples import close, offline, pictures  # noqa: F401 (fixture)


def save_torchvision(path: Path, name: str) -> torch.nn.Module:
    import torchvision

    torch.manual_seed(4)
    model = torchvision.models.get_model(name, weights=None).eval()
    torch.save(model.state_dict(), path)
    return model


@pytest.mark.parametrize(
    ("name", "head"), [("resnet18", "fc"), ("mobilenet_v3_small", "classifier.3")]
)
def test_torchvision_rows_are_what_the_classifier_would_get(name, head, tmp_path):
    model = save_torchvision(tmp_path / "w.pth", name)
    encoder = image_encoder(f"torchvision:{name}@{tmp_path}/w.pth")
    inputs = []
    model.get_submodule(head).register_forward_hook(lambda _m, args, _o: inputs.append(args[0]))
    images = pictures(encoder, 2)
    with torch.no_grad():
        model(images)
    assert encoder.dim == inputs[0].shape[1]
    close(encoder.encode(images), inputs[0], 1e-4)


def test_torchvision_weights_of_a_deeper_model_are_refused(tmp_path):
    save_torchvision(tmp_path / "w.pth", "resnet34")
    with pytest.raises(InvalidArgumentError, match="no place for"):
        image_encoder(f"torchvision:resnet18@{tmp_path}/w.pth")
