"""Encoders of timm on small checkpoints made here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.encoders.registry import image_encoder
from support.encoder_samples import close, offline, picture, pictures  # noqa: F401 (fixture)


def save_timm(path: Path, name: str = "test_vit", **options) -> torch.nn.Module:
    import timm
    from safetensors.torch import save_model

    torch.manual_seed(3)
    model = timm.create_model(name, pretrained=False, **options).eval()
    save_model(model, str(path))
    return model


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_resnet"])
def test_timm_rows_are_the_pooled_features_before_the_classifier(name, tmp_path):
    model = save_timm(tmp_path / "w.safetensors", name, num_classes=7)
    encoder = image_encoder(f"timm:{name}@{tmp_path}/w.safetensors")
    images = pictures(encoder)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(images), pre_logits=True)
    assert encoder.dim == expected.shape[1] != 7
    close(encoder.encode(images), expected, 1e-4)


def test_timm_pictures_are_prepared_as_its_config_says(tmp_path):
    import timm

    model = save_timm(tmp_path / "w.safetensors")
    encoder = image_encoder(f"timm:test_vit@{tmp_path}/w.safetensors")
    config = timm.data.resolve_model_data_config(model)
    expected = timm.data.create_transform(**config, is_training=False)(picture())
    assert torch.equal(encoder.preprocess(picture()), expected)


def test_timm_takes_another_input_size(tmp_path):
    save_timm(tmp_path / "w.safetensors")
    encoder = image_encoder(f"timm:test_vit@{tmp_path}/w.safetensors?size=64")
    assert encoder.preprocess(picture()).shape == (3, 64, 64)
    assert encoder.encode(pictures(encoder)).shape == (3, encoder.dim)


def test_timm_loads_a_local_directory(tmp_path):
    import timm

    model = save_timm(tmp_path / "w.safetensors")
    timm.models.save_for_hf(model, tmp_path / "hub")
    encoder = image_encoder(f"timm:{tmp_path}/hub")
    beside = image_encoder(f"timm:test_vit@{tmp_path}/w.safetensors")
    images = pictures(beside)
    close(encoder.encode(images), beside.encode(images))


def test_weights_of_another_timm_architecture_are_refused(tmp_path):
    save_timm(tmp_path / "w.safetensors", "test_resnet")
    with pytest.raises(InvalidArgumentError, match="another architecture"):
        image_encoder(f"timm:test_vit@{tmp_path}/w.safetensors")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"this is no checkpoint")
    with pytest.raises(InvalidArgumentError, match="could not be loaded"):
        image_encoder(f"timm:test_vit@{tmp_path}/w.pt")
