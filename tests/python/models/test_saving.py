"""Export: each library opens what was written for it, and finds the same model."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image

import helip
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.models.bundle import bundle_of_transformers, create_model
from helip.models.lora import Lora, add_lora
from helip.models.slip import add_ssl_head
from support.transformers_samples import clip_model
from support.tune_samples import RESNET, captions, same, tiny, weights

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def test_open_clip_opens_a_slip_model_without_its_head(tmp_path):
    import open_clip

    bundle = tiny()
    expected = weights(bundle.model)
    add_ssl_head(bundle.model, hidden=8, features=4)
    helip.export(bundle, tmp_path / "out")
    theirs = open_clip.create_model(f"local-dir:{tmp_path / 'out'}")
    assert same(weights(theirs), expected)


def test_open_clip_opens_a_model_of_transformers(tmp_path):
    import open_clip

    bundle = bundle_of_transformers(clip_model())
    helip.export(bundle, tmp_path / "out", format="open_clip")
    theirs = open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval()
    images, texts = torch.randn(3, 3, 16, 16), captions(3)
    texts[:, 6], texts[:, 7] = 49407, 0
    with torch.no_grad():
        mine, its = bundle.model(images, texts), theirs(images, texts)
    torch.testing.assert_close(its[0], mine["image_features"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(its[1], mine["text_features"], rtol=1e-5, atol=1e-6)


def test_transformers_opens_a_model_of_open_clip_with_processor_and_tokenizer(tmp_path, picture):
    bundle = tiny()
    helip.export(bundle, tmp_path / "out", format="transformers")
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "out").eval()
    processor = transformers.CLIPProcessor.from_pretrained(tmp_path / "out")
    texts = ["a red square", "It's naïve, isn't it?"]
    inputs = processor(
        text=texts, images=[picture] * 2, return_tensors="pt", padding="max_length", truncation=True
    )
    with torch.no_grad():
        out = theirs(**inputs)
        torch.testing.assert_close(out.text_embeds, bundle.encode_text(texts), rtol=1e-5, atol=1e-6)
        # Two libraries round a resized pixel in their own ways.
        torch.testing.assert_close(
            out.image_embeds, bundle.encode_image([picture] * 2), rtol=0.0, atol=0.02
        )
    again = create_model(tmp_path / "out")
    assert torch.equal(again.tokenizer(texts), bundle.tokenizer(texts))


def test_what_cannot_be_exported_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="a ResNet"):
        helip.export(tiny(RESNET), tmp_path / "a", format="transformers")
    with pytest.raises(InvalidArgumentError, match="format is 'onnx'"):
        helip.export(tiny(), tmp_path / "b", format="onnx")
    adapted = tiny()
    pytest.importorskip("peft")
    add_lora(adapted.model, Lora(rank=2))
    with pytest.raises(InvalidArgumentError, match="merge it first"):
        helip.export(adapted, tmp_path / "c")
    assert not any(tmp_path.iterdir())


def test_weights_may_be_read_by_whom_the_umask_says(tmp_path):
    from helip.models.weights import write_tensors

    before = os.umask(0o022)
    try:
        write_tensors({"a": torch.zeros(3)}, tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o644
