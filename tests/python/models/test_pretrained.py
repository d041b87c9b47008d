"""save_pretrained, from_pretrained, push_to_hub of a model: who opens it, what its card says."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import torch

from helip.common.errors import InvalidArgumentError, StorageError, UnsupportedError
from helip.models import ModelBundle
from helip.models.bundle import bundle_of_transformers, create_model
from helip.models.slip import add_ssl_head
from support.hub_server import hub_for_tests
from support.transformers_samples import clip_model
from support.tune_samples import RESNET, captions, pictures, same, tiny, weights

open_clip = pytest.importorskip("open_clip")
transformers = pytest.importorskip("transformers")

BOTH = {
    "README.md", "config.json", "merges.txt", "model.safetensors", "open_clip_config.json",
    "open_clip_model.safetensors", "preprocessor_config.json", "tokenizer_config.json",
    "vocab.json",
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_for_tests(monkeypatch, tmp_path / "cache") as server:
        yield server


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def card_of(folder):
    return huggingface_hub.ModelCard.load(folder / "README.md")


def test_open_clip_transformers_and_helip_open_one_folder(tmp_path):
    bundle, folder = tiny(), tmp_path / "saved"
    bundle.save_pretrained(folder)
    assert names(folder) == BOTH
    theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    assert same(weights(theirs), weights(bundle.model))
    assert same(weights(ModelBundle.from_pretrained(folder).model), weights(bundle.model))
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    images, texts = pictures(bundle, 3), captions(3)
    texts[:, 6], texts[:, 7] = 49407, 0
    with torch.no_grad():
        out = model(input_ids=texts, pixel_values=images)
        torch.testing.assert_close(out.image_embeds, bundle.encode_image(images))
        torch.testing.assert_close(out.text_embeds, bundle.encode_text(texts))


def test_a_push_comes_back_as_the_same_bytes(hub, tmp_path):
    bundle = tiny()
    bundle.push_to_hub("me/clip", progress=False, license="mit")
    pushed = hub.repos["models/me/clip"].files()
    assert set(pushed) == BOTH
    again = ModelBundle.from_pretrained("me/clip", progress=False)
    assert same(weights(again.model), weights(bundle.model))
    asked = [request for request in hub.requests if request.startswith("GET") and "safe" in request]
    assert [request.rpartition("/")[2] for request in asked] == ["open_clip_model.safetensors"]
    again.save_pretrained(tmp_path / "again")
    saved = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert {n for n in BOTH if saved.get(n) != pushed[n]} == {"README.md"}


def test_open_clip_and_transformers_download_what_was_pushed(hub, tmp_path):
    bundle = tiny()
    bundle.push_to_hub("me/clip", progress=False)
    theirs = open_clip.create_model("hf-hub:me/clip", cache_dir=str(tmp_path / "theirs"))
    assert same(weights(theirs), weights(bundle.model))
    model = transformers.CLIPModel.from_pretrained("me/clip")
    assert torch.equal(model.visual_projection.weight, bundle.model.visual.proj.T)


def test_what_one_library_has_not_is_left_out_and_told(tmp_path):
    folder = tmp_path / "resnet"
    tiny(RESNET).save_pretrained(folder)
    assert names(folder) == {"README.md", "open_clip_config.json", "open_clip_model.safetensors"}
    text = card_of(folder).text
    assert "transformers does not open it: " in text and "a ResNet" in text
    assert "CLIPModel.from_pretrained" not in text
    with pytest.raises(UnsupportedError, match="a ResNet"):
        tiny(RESNET).save_pretrained(tmp_path / "both", layout="both")
    assert names(tmp_path) == {"resnet"}


def test_one_layout_takes_the_place_of_the_other(hub):
    bundle, image = tiny(), pictures(tiny())
    for layout, other in (("open_clip", "config.json"), ("transformers", "open_clip_config.json")):
        bundle.push_to_hub("me/clip", progress=False, layout=layout)
        files = set(hub.repos["models/me/clip"].files())
        assert files < BOTH and other not in files
        again = ModelBundle.from_pretrained("me/clip", progress=False)
        with torch.no_grad():
            torch.testing.assert_close(again.encode_image(image), bundle.encode_image(image))


def test_a_model_of_transformers_is_opened_by_open_clip_too(tmp_path):
    bundle = bundle_of_transformers(clip_model())
    bundle.save_pretrained(tmp_path / "saved")
    theirs = open_clip.create_model(f"local-dir:{tmp_path / 'saved'}").eval()
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        mine = bundle.encode_image(images)
        torch.testing.assert_close(theirs.encode_image(images, normalize=True), mine)


def test_the_head_of_slip_stays_at_home(tmp_path):
    bundle = tiny()
    expected = weights(bundle.model)
    add_ssl_head(bundle.model, hidden=8, features=4)
    bundle.save_pretrained(tmp_path / "saved")
    assert same(weights(create_model(tmp_path / "saved").model), expected)


def test_a_card_says_what_is_known_and_invents_nothing(tmp_path):
    tiny().save_pretrained(tmp_path / "bare", layout="open_clip")
    card = card_of(tmp_path / "bare")
    assert card.data.license is None and card.data.library_name == "open_clip"
    assert "How the model was trained is not known" in card.text
    assert "Not measured" in card.text and "None was given" in card.text
    told = {"license": "cc-by-4.0", "data": "Icons.", "base_model": "me/b"}
    told["results"] = "| a | /mnt/acme/run |"
    tiny().save_pretrained(tmp_path / "told", layout="open_clip", **told)
    card = card_of(tmp_path / "told")
    assert (card.data.license, card.data.base_model) == ("cc-by-4.0", "me/b")
    assert "Icons." in card.text and "| a | run |" in card.text and "Not measured" not in card.text


def test_nothing_names_the_machine(tmp_path):
    folder = tmp_path / "of-ada"
    helip_saved = tmp_path / "first"
    tiny().save_pretrained(helip_saved, layout="transformers")
    bundle = create_model(helip_saved)
    bundle.name = str(tmp_path / "start")
    noted = ("cache_dir", "special_tokens_map_file", "tokenizer_file")
    bundle.tokenizer.tokenizer.init_kwargs.update(dict.fromkeys(noted, str(tmp_path / "x")))
    bundle.save_pretrained(folder)
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
    assert "is_local" not in (folder / "tokenizer_config.json").read_text()


def test_words_that_name_the_machine_are_not_pushed(hub):
    with pytest.raises(InvalidArgumentError, match=r"README\.md names .*take it out of data"):
        tiny().push_to_hub(
            "me/clip", layout="open_clip", data=f"Of {Path.home()}/icons.", progress=False
        )
    assert not hub.requests


def test_the_card_of_a_repository_can_be_kept(hub):
    bundle, options = tiny(), {"progress": False, "layout": "open_clip"}
    bundle.push_to_hub("me/clip", **options)
    hub.repos["models/me/clip"].files()["README.md"] = b"mine"
    bundle.push_to_hub("me/clip", card=False, **options)
    assert hub.repos["models/me/clip"].files()["README.md"] == b"mine"


def test_what_cannot_be_saved_is_refused(tmp_path):
    bundle = tiny()
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidArgumentError, match="exists already"):
        bundle.save_pretrained(tmp_path / "there")
    with pytest.raises(InvalidArgumentError, match="layout is 'onnx'"):
        bundle.save_pretrained(tmp_path / "x", layout="onnx")
    bundle.config = {}
    with pytest.raises(InvalidArgumentError, match="no configuration to save"):
        bundle.save_pretrained(tmp_path / "x")
    with pytest.raises(StorageError, match="there is no folder"):
        ModelBundle.from_pretrained(tmp_path / "absent")
