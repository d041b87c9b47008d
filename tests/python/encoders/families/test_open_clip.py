"""Both towers of a small open_clip model made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.encoders.registry import image_encoder, text_encoder
from support.encoder_samples import CAPTIONS, close, offline, pictures  # noqa: F401 (fixture)

CLIP_CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def save_clip(directory: Path, *, safetensors: bool = False):
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(5)
    model = open_clip.CLIP(**CLIP_CONFIG).eval()
    (directory / "tiny.json").write_text(json.dumps(CLIP_CONFIG))
    if safetensors:
        save_file(dict(model.state_dict()), directory / "w.safetensors")
    else:
        torch.save({"state_dict": model.state_dict()}, directory / "w.pt")
    return model


@pytest.mark.parametrize("file", ["w.pt", "w.safetensors"])
def test_both_towers_of_an_open_clip_config_with_weights_give_their_features(file, tmp_path):
    import open_clip

    model = save_clip(tmp_path, safetensors=file.endswith("safetensors"))
    known = open_clip.list_models()
    spec = f"open_clip:{tmp_path}/tiny.json@{tmp_path}/{file}"
    image, text = image_encoder(spec), text_encoder(spec)
    images = pictures(image)
    tokens = open_clip.SimpleTokenizer(context_length=12)(CAPTIONS)
    assert images.shape == (3, 3, 32, 32)
    assert image.dim == text.dim == 12
    with torch.no_grad():
        close(image.encode(images), model.encode_image(images))
        close(text.encode(CAPTIONS), model.encode_text(tokens))
    assert open_clip.list_models() == known


def test_an_open_clip_directory_loads_and_one_without_weights_does_not(tmp_path):
    model = save_clip(tmp_path, safetensors=True)
    directory = tmp_path / "hub"
    directory.mkdir()
    config = {"model_cfg": CLIP_CONFIG, "preprocess_cfg": {}}
    (directory / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidArgumentError, match="could not be loaded"):
        image_encoder(f"open_clip:{directory}")
    (tmp_path / "w.safetensors").rename(directory / "open_clip_model.safetensors")
    encoder = image_encoder(f"open_clip:{directory}")
    images = pictures(encoder)
    with torch.no_grad():
        close(encoder.encode(images), model.encode_image(images))


def test_an_open_clip_config_without_weights_is_refused(tmp_path):
    save_clip(tmp_path)
    with pytest.raises(InvalidArgumentError, match="no weights"):
        image_encoder(f"open_clip:{tmp_path}/tiny.json")
