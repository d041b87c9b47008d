"""Compositional sets on disk: formats, pictures, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.evaluation.evaluating import evaluate
from helip.evaluation.sets.composition import open_composition
from helip.evaluation.sets.opening import open_evaluation_set
from support.evaluate_samples import (
    COLOURS,
    ColourModel,
    picture,
    tiny_model,
    tokenizer,
    transform,
    write_sugarcrepe,
)


def colours(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (4, 4), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def sugarcrepe(tmp_path):
    colours(tmp_path / "pictures")
    return write_sugarcrepe(
        tmp_path / "data",
        {
            "swap_obj": [("red.png", "a red one", "a blue one"), ("blue.png", "blue", "red")],
            "add_att": [("green.png", "white", "green"), ("red.png", "red again", "green")],
        },
    )


def write_winoground(path, items):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


WINOGROUND = [
    {"id": 0, "image_0": "red", "image_1": "blue", "caption_0": "red", "caption_1": "blue",
     "tag": "Adjective", "collapsed_tag": "Object"},
    {"id": 1, "image_0": "green", "image_1": "white", "caption_0": "white", "caption_1": "green",
     "tag": "Noun", "collapsed_tag": "Relation"},
]  # fmt: skip


def run(data, **options):
    return evaluate(
        ColourModel(), data, transform=transform, tokenizer=tokenizer, bootstrap=20,
        progress=False, device="cpu", **options,
    )  # fmt: skip


def test_sugarcrepe_files_are_categories(sugarcrepe, tmp_path):
    data = open_composition(sugarcrepe, pictures=tmp_path / "pictures")
    assert data.format == "sugarcrepe"
    assert [item.key for item in data.items] == [
        "add_att/0",
        "add_att/1",
        "swap_obj/0",
        "swap_obj/1",
    ]
    assert len(data.pictures) == 3
    result = run(data, keep_ranks=True)
    scores = result["composition"]
    assert scores["text_score"]["value"] == 0.75
    assert scores["categories"]["add_att"]["text_score"]["value"] == 0.5
    assert scores["categories"]["swap_obj"]["text_score"]["value"] == 1.0
    assert result["data"] == {"fingerprint": data.fingerprint, "rows": 4}
    assert json.loads(json.dumps(result)) == result


def test_a_single_file_and_a_list_of_items_are_accepted(sugarcrepe, tmp_path):
    one = open_composition(sugarcrepe / "swap_obj.json", pictures=tmp_path / "pictures")
    assert len(one) == 2
    items = list(json.loads((sugarcrepe / "swap_obj.json").read_text()).values())
    (tmp_path / "list.json").write_text(json.dumps(items))
    again = open_composition(tmp_path / "list.json", pictures=tmp_path / "pictures")
    assert [i.captions for i in again.items] == [i.captions for i in one.items]


PLUS = {
    "swap_obj": [
        ("red.png", "a red one", "red it is", "a blue one"),
        ("blue.png", "blue", "green", "red"),
    ],
    "replace_att": [("green.png", "green", "white", "red"), ("red.png", "red", "green", "blue")],
}


def test_sugarcrepe_plus_plus_has_two_right_captions_and_a_text_only_score(tmp_path):
    folder = colours(tmp_path / "images").parent
    data = open_composition(write_sugarcrepe(folder, PLUS))
    assert data.format == "sugarcrepe++"
    assert data.items[2].captions == ("a red one", "red it is", "a blue one")
    result = run(folder, keep_ranks=True)
    scores = result["composition"]
    cosine = {
        (a, b): np.dot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y))
        for a, x in COLOURS.items()
        for b, y in COLOURS.items()
    }
    expected = []
    for file, *said in (item for name in sorted(PLUS) for item in PLUS[name]):
        one, two, wrong = (next(c for c in COLOURS if c in caption) for caption in said)
        shown = file.split(".")[0]
        image = min(cosine[shown, one], cosine[shown, two]) > cosine[shown, wrong]
        text = cosine[one, two] > max(cosine[one, wrong], cosine[two, wrong])
        expected.append([int(image), int(text)])
    assert scores["per_query"]["right"] == np.array(expected).T.tolist()
    assert scores["text_score"]["value"] == 0.5
    assert scores["text_only_score"]["value"] == 0.25
    assert scores["categories"]["swap_obj"]["text_only_score"]["value"] == 0.5
    assert scores["text_only_mean_per_category"]["value"] == 0.25
    assert json.loads(json.dumps(result)) == result


def test_a_list_without_a_second_caption_where_others_have_one_is_refused(tmp_path):
    colours(tmp_path / "images")
    items = [
        {"filename": "red.png", "caption": "red", "caption2": "red", "negative_caption": "blue"},
        {"filename": "red.png", "caption": "red", "negative_caption": "blue"},
    ]
    (tmp_path / "swap_obj.json").write_text(json.dumps(items))
    with pytest.raises(
        InvalidArgumentError, match=r"item 1 has no text 'caption2'.*SugarCrepe\+\+"
    ):
        open_composition(tmp_path)


def test_winoground_finds_pictures_by_their_stems(tmp_path):
    colours(tmp_path / "images")
    write_winoground(tmp_path / "examples.jsonl", WINOGROUND)
    data = open_composition(tmp_path)
    assert data.format == "winoground"
    assert [item.category for item in data.items] == ["Object", "Relation"]
    scores = run(data)["composition"]
    assert scores["text_score"]["value"] == 0.5
    assert scores["image_score"]["value"] == 0.5
    assert scores["group_score"]["value"] == 0.5
    assert scores["format"] == "winoground"


def test_scores_of_a_real_model_equal_its_own_similarities(tmp_path):
    (tmp_path / "images").mkdir()
    for row in range(6):
        picture(row).save(tmp_path / "images" / f"{row}.png")
    items = [
        {"image_0": f"{2 * i}.png", "image_1": f"{2 * i + 1}.png", "caption_0": f"a {i} b",
         "caption_1": f"b {i} a"}
        for i in range(3)
    ]  # fmt: skip
    path = write_winoground(tmp_path / "any.jsonl", items)
    bundle = tiny_model(seed=3)
    result = evaluate(bundle, path, bootstrap=0, device="cpu", progress=False, keep_ranks=True)
    right = []
    with torch.no_grad():
        for i in range(3):
            images = bundle.encode_image([picture(2 * i), picture(2 * i + 1)]).double()
            texts = bundle.encode_text([f"a {i} b", f"b {i} a"]).double()
            s = (images @ texts.T).numpy()
            text = s[0, 0] > s[0, 1] and s[1, 1] > s[1, 0]
            image = s[0, 0] > s[1, 0] and s[1, 1] > s[0, 1]
            right.append([int(text), int(image), int(text and image)])
    assert result["composition"]["per_query"]["right"] == np.array(right).T.tolist()


def test_items_without_their_pictures_are_skipped_and_counted(sugarcrepe, tmp_path):
    (tmp_path / "pictures" / "red.png").unlink()
    result = run(open_composition(sugarcrepe, pictures=tmp_path / "pictures"))
    assert result["composition"]["items"] == 2
    assert result["composition"]["skipped_items"] == 2
    assert result["skipped"]["reasons"] == {"missing_image": 1}
    with pytest.raises(InvalidArgumentError, match="none of the"):
        run(open_composition(sugarcrepe, pictures=tmp_path / "data"))


def test_a_picture_outside_of_its_folder_is_not_read(tmp_path):
    colours(tmp_path / "images")
    picture(0).save(tmp_path / "secret.png")
    write_sugarcrepe(
        tmp_path, {"a": [("../secret.png", "red", "blue"), ("red.png", "red", "blue")]}
    )
    result = run(open_composition(tmp_path))
    assert result["skipped"]["reasons"] == {"outside_root": 1}


def test_a_set_has_composition_alone(sugarcrepe, tmp_path):
    data = open_composition(sugarcrepe, pictures=tmp_path / "pictures")
    with pytest.raises(InvalidArgumentError, match="'composition' alone"):
        run(data, tasks=("retrieval",))


@pytest.mark.parametrize(
    ("name", "text", "error", "words"),
    [
        ("a.json", "{", CorruptError, "a.json is not valid JSON"),
        ("a.json", "3", InvalidArgumentError, "holds a int"),
        ("a.json", "{}", InvalidArgumentError, "0 items"),
        (
            "a.json",
            '{"7": {"filename": "x.png"}}',
            InvalidArgumentError,
            "item 7 has no text 'capt",
        ),
        ("a.jsonl", '\n{"image_0": "x"}', InvalidArgumentError, "line 2 has no text 'image_1'"),
        ("a.jsonl", "[1", CorruptError, "line 1 is not valid JSON"),
        ("a.txt", "", InvalidArgumentError, "no compositional set"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path, name, text, error, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=words):
        open_composition(tmp_path / name)


def test_a_folder_without_captions_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"neither .json files"):
        open_composition(tmp_path)
    write_sugarcrepe(tmp_path, {"a": [("x.png", "red", "blue")]})
    with pytest.raises(InvalidArgumentError, match="is no folder"):
        open_composition(tmp_path, pictures=tmp_path / "absent")


# ARO and COLA


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def aro_item(**changed):
    plain = {
        "image_id": "1", "image_path": "halves.png", "relation_name": "on",
        "true_caption": "a red one", "false_caption": "a blue one",
        "bbox_x": 0, "bbox_y": 0, "bbox_w": 4, "bbox_h": 4,
    }  # fmt: skip
    return plain | changed


def test_aro_asks_about_a_part_of_the_picture(tmp_path):
    halves = Image.new("RGB", (8, 4), COLOURS["red"])
    halves.paste(COLOURS["blue"], (4, 0, 8, 4))
    colours(tmp_path / "images")
    halves.save(tmp_path / "images" / "halves.png")
    right = {"true_caption": "a blue one", "false_caption": "a red one", "bbox_x": 4}
    wrong = {"true_caption": "a blue one", "false_caption": "a red one", "relation_name": "near"}
    attributes = aro_item(attributes=["red", "round"])
    del attributes["relation_name"]
    items = [aro_item(), aro_item(**right), aro_item(**wrong), attributes]
    path = write_json(tmp_path / "visual_genome_relation.json", items)
    data = open_composition(path)
    assert data.format == "aro"
    assert [item.category for item in data.items] == ["on", "on", "near", "red_round"]
    scores = run(path)["composition"]
    assert scores["text_score"]["value"] == 0.75
    assert scores["mean_per_category"]["value"] == pytest.approx(2 / 3)


def test_an_aro_box_of_no_size_is_refused(tmp_path):
    colours(tmp_path / "images")
    path = write_json(tmp_path / "vg.json", [aro_item(bbox_w=0)])
    with pytest.raises(InvalidArgumentError, match=r"item 0 has the box .0, 0, 0, 4."):
        open_composition(path)


def test_cola_has_two_pictures_by_their_urls(tmp_path):
    colours(tmp_path / "images")
    url = "https://example.org/data/"
    items = [
        [f"{url}red.png", "a red one", f"{url}blue.png", "a blue one"],
        [f"{url}green.png", "white", f"{url}white.png", "green"],
    ]
    path = write_json(tmp_path / "COLA_multiobjects_matching_benchmark.json", items)
    scores = run(path)["composition"]
    assert scores["format"] == "cola"
    assert scores["image_score"]["value"] == 0.5 and scores["group_score"]["value"] == 0.5


@pytest.mark.parametrize("item", [["one", "two"], ["x.png", " ", "y.png", "b"], {"a": "b"}])
def test_a_cola_item_that_is_not_two_pairs_is_refused(tmp_path, item):
    colours(tmp_path / "images")
    path = write_json(tmp_path / "cola.json", [["x.png", "a", "y.png", "b"], item])
    with pytest.raises(InvalidArgumentError, match=r"1 must be .picture, caption, picture, capt"):
        open_composition(path)


def test_files_of_two_formats_in_one_folder_are_refused(tmp_path):
    colours(tmp_path / "images")
    write_json(tmp_path / "a.json", [aro_item()])
    write_json(tmp_path / "b.json", [["x.png", "a", "y.png", "b"]])
    with pytest.raises(InvalidArgumentError, match=r"several formats \(aro, cola\)"):
        open_composition(tmp_path)


@pytest.mark.parametrize("given", [{"classes": ["a"]}, {"templates": "{}"}, {"train": "there"}])
def test_options_of_classification_are_refused_for_compositional_sets(sugarcrepe, given):
    with pytest.raises(InvalidArgumentError, match=f"{next(iter(given))} cannot be given"):
        open_evaluation_set(sugarcrepe, **given)
    with pytest.raises(InvalidArgumentError, match=f"{next(iter(given))} cannot be given"):
        run(open_composition(sugarcrepe, pictures=sugarcrepe.parent / "pictures"), **given)


@pytest.mark.parametrize("given", [{"split": "val"}, {"limit": 1}, {"caption_column": "x"}])
def test_options_of_opening_are_refused_for_compositional_sets(sugarcrepe, given):
    with pytest.raises(InvalidArgumentError, match="does not apply to a compositional set"):
        open_evaluation_set(sugarcrepe, **given)
