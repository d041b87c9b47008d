"""Models: made by name, configuration, directory and checkpoint; saved and opened again."""

from __future__ import annotations

import json
import logging
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from helip.common.errors import (
    CorruptError,
    Error,
    InvalidArgumentError,
    MismatchError,
    StorageError,
)
from helip.models.bundle import create_model
from helip.models.saving import save_model
from helip.models.weights import write_tensors
from support.hub_server import hub_for_tests

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def tiny(**options):
    options.setdefault("from_scratch", "checkpoint" not in options)
    return create_model("tiny", config=CONFIG, **options)


def same_weights(a, b) -> bool:
    first, second = a.model.state_dict(), b.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(scope="module")
def bundle():
    return tiny(seed=7)


@pytest.fixture
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_bundle_turns_pictures_and_captions_into_unit_features(bundle, picture):
    with torch.no_grad():
        image = bundle.encode_image([picture, picture])
        text = bundle.encode_text(["a red square", "a cat"])
    assert image.shape == text.shape == (2, 16)
    torch.testing.assert_close(image.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(text.norm(dim=1), torch.ones(2))
    assert bundle.train_transform(picture).shape == bundle.eval_transform(picture).shape
    assert bundle.context_length == 8


def test_a_seed_repeats_the_random_start_and_leaves_the_callers_generator_alone():
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first = tiny(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(first, tiny(seed=1))
    assert not same_weights(first, tiny(seed=2))


def test_making_a_model_prints_nothing_and_leaves_logging_alone(capfd):
    root = logging.getLogger()
    before = (list(root.handlers), list(root.filters), root.level)
    tiny()
    assert (list(root.handlers), list(root.filters), root.level) == before
    assert capfd.readouterr() == ("", "")


def test_a_custom_configuration_is_not_registered_with_open_clip():
    import open_clip

    known = open_clip.list_models()
    tiny()
    assert open_clip.list_models() == known


def test_a_configuration_file_is_taken_in_either_form(tmp_path, bundle):
    bare, whole = tmp_path / "bare.json", tmp_path / "whole.json"
    bare.write_text(json.dumps(CONFIG))
    whole.write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0, 0, 0]}}))
    assert same_weights(create_model(bare, from_scratch=True, seed=7), bundle)
    assert same_weights(create_model("any", config=whole, from_scratch=True, seed=7), bundle)
    assert create_model(whole, from_scratch=True).config["preprocess_cfg"]["mean"] == [0, 0, 0]
    assert create_model(bare, from_scratch=True).name == "bare"


def test_a_saved_model_opens_again_as_it_was(tmp_path, bundle, picture):
    save_model(bundle, tmp_path / "saved")
    again = create_model(tmp_path / "saved")
    assert same_weights(again, bundle)
    assert again.name == "tiny"
    assert again.config == bundle.config
    assert torch.equal(again.eval_transform(picture), bundle.eval_transform(picture))
    assert torch.equal(again.tokenizer(["a cat"]), bundle.tokenizer(["a cat"]))


def test_a_saved_model_opens_in_open_clip(tmp_path, bundle):
    import open_clip

    save_model(bundle, tmp_path / "saved")
    model = open_clip.create_model(f"local-dir:{tmp_path / 'saved'}")
    theirs = model.state_dict()
    assert all(torch.equal(theirs[k], v) for k, v in bundle.model.state_dict().items())


def test_saving_never_overwrites(tmp_path, bundle):
    (tmp_path / "saved").mkdir()
    with pytest.raises(InvalidArgumentError, match="exists already"):
        save_model(bundle, tmp_path / "saved")
    assert not any(tmp_path.glob(".tmp-*"))


def test_an_architecture_of_open_clip_is_made_by_name():
    assert create_model("RN50", from_scratch=True).config["model_cfg"]["embed_dim"] == 1024


def test_a_model_without_weights_is_refused_unless_a_random_start_is_meant(tmp_path, bundle):
    tags = r"RN50 has no weights.*pretrained tag \(openai, .*from_scratch=True"
    with pytest.raises(InvalidArgumentError, match=tags):
        create_model("RN50")
    with pytest.raises(InvalidArgumentError, match="tiny has no weights; give checkpoint="):
        create_model("tiny", config=CONFIG)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    with pytest.raises(InvalidArgumentError, match=f"{tmp_path} has no weights"):
        create_model(tmp_path)
    assert same_weights(create_model(tmp_path, from_scratch=True, seed=7), bundle)


def test_a_random_start_of_a_model_that_has_weights_is_refused(tmp_path, bundle):
    save_model(bundle, tmp_path / "saved")
    with pytest.raises(
        InvalidArgumentError, match=r"from_scratch is True, and .*model\.safetensors"
    ):
        create_model(tmp_path / "saved", from_scratch=True)
    with pytest.raises(InvalidArgumentError, match="from_scratch is True, and openai gives"):
        create_model("RN50", checkpoint="openai", from_scratch=True)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
@pytest.mark.parametrize("wrap", [False, True])
def test_a_pt_checkpoint_is_loaded_bare_or_wrapped(tmp_path, bundle, prefix, wrap):
    state = {prefix + k: v for k, v in bundle.model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3} if wrap else state, tmp_path / "c.pt")
    assert same_weights(tiny(checkpoint=tmp_path / "c.pt"), bundle)


def test_a_safetensors_checkpoint_is_loaded_in_half_precision_too(tmp_path, bundle):
    half = {k: v.half() for k, v in bundle.model.state_dict().items()}
    write_tensors(half, tmp_path / "c.safetensors")
    loaded = tiny(checkpoint=tmp_path / "c.safetensors").model
    assert loaded.text_projection.dtype == torch.float32
    assert torch.equal(loaded.text_projection, half["text_projection"].float())


def test_position_embeddings_of_another_size_are_interpolated(tmp_path, bundle):
    write_tensors(bundle.model.state_dict(), tmp_path / "c.safetensors")
    config = {
        **CONFIG,
        "vision_cfg": {**CONFIG["vision_cfg"], "image_size": 32},
        "text_cfg": {**CONFIG["text_cfg"], "context_length": 12},
    }
    model = create_model("large", config=config, checkpoint=tmp_path / "c.safetensors").model
    assert model.visual.positional_embedding.shape[0] == 17
    assert model.positional_embedding.shape[0] == 12


def test_weights_that_do_not_fit_are_refused_with_the_keys(tmp_path, bundle):
    state = dict(bundle.model.state_dict())
    del state["text_projection"]
    state["head.weight"] = torch.zeros(2)
    state["ln_final.bias"] = torch.zeros(3)
    write_tensors(state, tmp_path / "c.safetensors")
    with pytest.raises(MismatchError) as caught:
        tiny(checkpoint=tmp_path / "c.safetensors")
    message = str(caught.value)
    assert "1 missing (text_projection)" in message
    assert "1 unexpected (head.weight)" in message
    assert "1 of another shape (ln_final.bias (3,) for (16,))" in message


def test_many_odd_keys_are_counted_and_the_first_few_named(tmp_path):
    write_tensors({f"w{i}": torch.zeros(1) for i in range(9)}, tmp_path / "c.safetensors")
    with pytest.raises(MismatchError, match=r"9 unexpected \(w0, w1, w2, w3, w4, …\)"):
        tiny(checkpoint=tmp_path / "c.safetensors")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_a_pickle_is_refused_and_never_run(tmp_path):
    torch.save({"state_dict": {}, "extra": Bomb()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Bomb()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(CorruptError, match="never unpickled"):
            tiny(checkpoint=tmp_path / name)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_truncated_checkpoint_is_refused(tmp_path, bundle, suffix):
    whole = tmp_path / f"whole.{suffix}"
    if suffix == "pt":
        torch.save(bundle.model.state_dict(), whole)
    else:
        write_tensors(bundle.model.state_dict(), whole)
    raw = whole.read_bytes()
    for length in (0, 4, 100, len(raw) // 2, len(raw) - 1):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(raw[:length])
        with pytest.raises(Error):
            tiny(checkpoint=cut)


def test_an_unknown_architecture_is_refused_with_close_names():
    with pytest.raises(InvalidArgumentError, match=r"'ViT-B-23'.*did you mean .*ViT-B-32"):
        create_model("ViT-B-23")


def test_the_name_of_a_repository_is_told_what_goes_before_it():
    with pytest.raises(InvalidArgumentError, match=r"mean hf:openai/clip-vit-base-patch32 \("):
        create_model("openai/clip-vit-base-patch32")


@pytest.mark.parametrize(
    ("name", "options", "mend"),
    [
        ("ViT-B-32", {"checkpoint": "openai"}, "give checkpoint=FILE"),
        ("hf:me/absent", {}, "give the folder of a model that is here"),
        ("hf-hub:me/absent", {}, "give the folder of a model that is here"),
        ("roberta-ViT-B-32", {"from_scratch": True}, "give the folder of a model that is here"),
    ],
)
def test_weights_that_cannot_be_downloaded_are_one_line_with_the_mend(
    monkeypatch, tmp_path, name, options, mend
):
    with hub_for_tests(monkeypatch, tmp_path):
        monkeypatch.setattr("helip.common.hub.client._why_unreachable", lambda _: "no network")
        with pytest.raises(StorageError, match=f"downloaded: no network, .*{mend}$"):
            create_model(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("nowhere/model.safetensors", {}, StorageError, "does not exist"),
        ("ViT-B-32", {"checkpoint": "absent.pt"}, StorageError, "'absent.pt' does not exist"),
        ("x", {"config": "absent.json"}, StorageError, "absent.json does not exist"),
        ("x", {"config": {"embed_dim": 4}}, InvalidArgumentError, "lacks vision_cfg, text_cfg"),
        ("ViT-B-32", {"precision": "int4"}, InvalidArgumentError, "precision is 'int4'"),
    ],
)
def test_what_is_absent_or_unknown_is_named(name, options, error, message):
    with pytest.raises(error, match=message):
        create_model(name, **options)


def test_a_configuration_that_open_clip_cannot_build_is_refused():
    config = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "colour": "red"}}
    with pytest.raises(InvalidArgumentError, match="colour"):
        create_model("odd", config=config, from_scratch=True)


def test_weights_without_a_configuration_beside_them_are_refused(tmp_path, bundle):
    write_tensors(bundle.model.state_dict(), tmp_path / "c.safetensors")
    with pytest.raises(StorageError, match=r"no open_clip_config\.json beside it"):
        create_model(tmp_path / "c.safetensors")


def test_low_precision_weights_still_encode(picture):
    half = tiny(precision="bfloat16", seed=7)
    with torch.no_grad():
        features = half.encode_image([picture]).float()
    full = tiny(seed=7)
    with torch.no_grad():
        torch.testing.assert_close(features, full.encode_image([picture]), rtol=0.1, atol=0.05)


def test_a_bundle_is_printed_in_one_line(bundle) -> None:
    count = sum(p.numel() for p in bundle.model.parameters())
    assert repr(bundle) == f"ModelBundle({bundle.name!r}, {count:,} parameters in float32)"
