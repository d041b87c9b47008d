"""CLIP models of transformers as trainable models: features, tokens, locks, training, saving."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from helip.common.errors import MismatchError, UnsupportedError
from helip.models.bundle import bundle_of_transformers, create_model
from helip.models.hugging_face import TransformersClip, clip_tokenizer, is_transformers_clip
from helip.models.saving import save_model
from support.transformers_samples import clip_model
from support.tune_samples import captions, same, weights

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8))


def test_features_are_those_of_transformers(picture):
    model = clip_model()
    bundle = bundle_of_transformers(model)
    tokens = bundle.tokenizer(["a red square", "a cat"])
    images = torch.stack([bundle.eval_transform(picture)] * 2)
    with torch.no_grad():
        theirs = model(input_ids=tokens, pixel_values=images)
        out = bundle.model(images, tokens)
        torch.testing.assert_close(out["image_features"], theirs.image_embeds)
        torch.testing.assert_close(out["text_features"], theirs.text_embeds)
        torch.testing.assert_close(bundle.encode_image([picture] * 2), theirs.image_embeds)
    assert bundle.context_length == 8
    assert bundle.train_transform(picture).shape == (3, 16, 16)


def test_only_a_clip_model_is_taken():
    assert is_transformers_clip(clip_model())
    assert not is_transformers_clip(torch.nn.Linear(1, 1))
    with pytest.raises(UnsupportedError, match=r"must be a transformers\.CLIPModel"):
        TransformersClip(torch.nn.Linear(1, 1))


def test_a_vocabulary_of_its_own_needs_its_tokenizer():
    with pytest.raises(UnsupportedError, match=r"brings no tokenizer.*600"):
        bundle_of_transformers(clip_model(vocab_size=600, eos_token_id=2, bos_token_id=0))


def test_a_saved_model_is_a_directory_of_transformers_and_opens_here(tmp_path, picture):
    model = clip_model()
    bundle = bundle_of_transformers(model)
    save_model(bundle, tmp_path / "saved")
    theirs, report = transformers.CLIPModel.from_pretrained(
        tmp_path / "saved", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert same(weights(theirs), weights(model))
    assert not list((tmp_path / "saved").glob("*.bin"))
    for again in (create_model(tmp_path / "saved"), create_model(f"hf:{tmp_path / 'saved'}")):
        assert same(weights(again.model.model), weights(model))
        assert torch.equal(again.eval_transform(picture), bundle.eval_transform(picture))
        texts = ["a red square", "a cat"]
        assert torch.equal(again.tokenizer(texts), bundle.tokenizer(texts))


def test_weights_that_lack_keys_are_refused(tmp_path):
    model = clip_model()
    save_model(bundle_of_transformers(model), tmp_path / "saved")
    from helip.models.weights import read_tensors, write_tensors

    file = tmp_path / "saved" / "model.safetensors"
    state = read_tensors(file)
    del state["visual_projection.weight"]
    write_tensors(state, file)
    with pytest.raises(MismatchError, match=r"1 missing \(model\.visual_projection\.weight\)"):
        create_model(tmp_path / "saved")


def test_towers_are_locked_from_the_embeddings_on():
    model = TransformersClip(clip_model())
    model.lock_image_tower(unlocked_groups=2)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    image = {n for n in trained if "vision_model" in n or "visual_projection" in n}
    assert {n.split(".layers.")[1][0] for n in image if ".layers." in n} == {"1"}
    assert "model.visual_projection.weight" in image
    assert "model.vision_model.post_layernorm.weight" in image
    assert "model.vision_model.pre_layrnorm.weight" not in image
    assert any("text_model" in n for n in trained)
    model.lock_text_tower()
    assert not any("text" in n for n, p in model.named_parameters() if p.requires_grad)


def test_a_self_supervised_head_fits_and_is_kept(tmp_path):
    from helip.models.slip import add_ssl_head

    bundle = bundle_of_transformers(clip_model())
    add_ssl_head(bundle.model, hidden=12, features=4)
    bundle.config["ssl_head"] = {"hidden": 12, "features": 4}
    bundle.model.eval()
    images = torch.randn(2, 3, 16, 16)
    out = bundle.model(images, captions(2), torch.stack([images, images]))
    assert out["ssl_first"].shape == (2, 4)
    save_model(bundle, tmp_path / "saved")
    assert same(weights(create_model(tmp_path / "saved").model), weights(bundle.model))


def test_another_model_of_transformers_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UnsupportedError, match="holds a 'bert' model"):
        create_model(tmp_path)


def test_weights_in_several_files_are_loaded_by_transformers(tmp_path):
    model = clip_model()
    model.save_pretrained(tmp_path / "saved", max_shard_size="200KB")
    assert (tmp_path / "saved" / "model.safetensors.index.json").is_file()
    assert same(weights(create_model(tmp_path / "saved").model.model), weights(model))


def test_saving_and_opening_prints_nothing(tmp_path, capfd):
    save_model(bundle_of_transformers(clip_model()), tmp_path / "saved")
    create_model(tmp_path / "saved")
    assert capfd.readouterr() == ("", "")


def test_tokenizers_of_clip_share_its_vocabulary_and_are_those_of_open_clip():
    first, second = clip_tokenizer(6), clip_tokenizer(9)
    other = clip_tokenizer(6, clean="whitespace")
    assert first.encoder is second.encoder and first.cache is not second.cache
    texts = ["A  red square", "two cats"]
    for tokenizer, options in (
        (first, {"context_length": 6}),
        (second, {"context_length": 9}),
        (other, {"context_length": 6, "clean": "whitespace"}),
    ):
        own = open_clip.SimpleTokenizer(**options)
        assert torch.equal(tokenizer(texts), own(texts))
