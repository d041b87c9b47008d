"""Sets are told by what they look like."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from helip.common.errors import InvalidArgumentError
from helip.data.opening import open_dataset
from helip.evaluation.evaluating import evaluate
from helip.evaluation.sets.opening import open_evaluation_set
from support.evaluate_samples import (
    COLOURS,
    ColourModel,
    picture,
    png,
    tiny_model,
    tokenizer,
    transform,
    write_benchmark,
    write_sugarcrepe,
)

ROWS = [(png(picture(i)), str(i % 2)) for i in range(6)]


def test_a_benchmark_brings_its_classes_and_takes_others_in_their_order(tmp_path):
    folder = write_benchmark(tmp_path / "b", ROWS, classes=["cat", "dog"], templates=["a {c}"])
    found = open_evaluation_set(folder)
    assert found.tasks == ("zero_shot",)
    assert found.classes == {"0": "cat", "1": "dog"}
    other = open_evaluation_set(folder, classes=["katze", "hund"], templates="ein {}")
    assert other.classes == {"0": "katze", "1": "hund"}
    assert other.templates == "ein {}"
    with pytest.raises(InvalidArgumentError, match="1 classes given for the 2"):
        open_evaluation_set(folder, classes=["katze"])


def test_compositional_sets_and_plain_data_are_told_apart(tmp_path):
    (tmp_path / "p").mkdir()
    picture(0).save(tmp_path / "p" / "x.png")
    sugar = write_sugarcrepe(tmp_path / "s", {"a": [("x.png", "one", "two")]})
    assert open_evaluation_set(sugar, pictures=tmp_path / "p").tasks == ("composition",)
    items = {"image_0": "x.png", "image_1": "x.png", "caption_0": "a", "caption_1": "b"}
    (tmp_path / "p" / "w.jsonl").write_text(json.dumps(items) + "\n")
    assert open_evaluation_set(tmp_path / "p" / "w.jsonl").tasks == ("composition",)
    (tmp_path / "p" / "d.jsonl").write_text(json.dumps({"image": "x.png", "caption": "a"}) + "\n")
    plain = open_evaluation_set(tmp_path / "p" / "d.jsonl")
    assert plain.tasks == ("retrieval",)
    assert len(plain.data) == 1
    with pytest.raises(InvalidArgumentError, match="is for compositional sets"):
        open_evaluation_set(tmp_path / "p" / "d.jsonl", pictures=tmp_path)


def test_what_evaluate_is_told_comes_before_what_the_set_brings(tmp_path):
    folder = write_benchmark(tmp_path / "b", ROWS, classes=["cat", "dog"], templates=["a {c}"])
    result = evaluate(
        tiny_model(), open_evaluation_set(folder), classes={"0": "x", "1": "y"}, templates="the {}",
        bootstrap=0, device="cpu", progress=False,
    )  # fmt: skip
    assert result["zero_shot"]["templates"] == ["the {}"]
    assert set(result["zero_shot"]["per_class"]) == {"0", "1"}


def test_options_of_opening_are_of_what_is_measured_and_not_of_the_training_rows(tmp_path):
    brought = {"classes": ["cat", "dog"], "templates": ["a {c}"]}
    for split in ("train", "test"):
        folder = write_benchmark(tmp_path / "b", ROWS, split=split, **brought)
    found = open_evaluation_set(folder, limit=4, subset=[1, 2, 3, 4, 5])
    assert found.data.counts()["left_out_limit"] == 1
    whole = open_evaluation_set(folder).data
    assert [found.data.label(row) for row in range(4)] == [whole.label(row + 1) for row in range(4)]
    assert len(open_dataset(found.train)) == len(ROWS)


def test_rows_that_are_left_out_keep_their_classes(tmp_path):
    lines = ["image,caption,label"]
    for name, colour in COLOURS.items():
        Image.new("RGB", (4, 4), colour).save(tmp_path / f"{name}.png")
        lines.append(f"{name}.png,a {name} thing,{name}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    options = {"tasks": ("zero_shot",), "transform": transform, "tokenizer": tokenizer}
    options |= {"bootstrap": 0, "device": "cpu", "progress": False}
    data = open_dataset(tmp_path / "table.csv", subset=[0, 1, 2])
    for chosen, left_out in ((data, 1), (open_dataset(data, limit=2), 2)):
        found = evaluate(ColourModel(), chosen, **options)["zero_shot"]
        assert found["classes"] == 4
        assert len(found["classes_without_samples"]) == left_out
        assert found["top1"]["n"] == 4 - left_out
    given = evaluate(ColourModel(), data, classes=["red", "green", "blue"], **options)
    assert given["zero_shot"]["classes"] == 3


def test_a_split_of_plain_data_is_opened_as_open_dataset_does(tmp_path):
    (tmp_path / "held").mkdir()
    picture(0).save(tmp_path / "held" / "x.png")
    assert len(open_evaluation_set(tmp_path, split="held").data) == 1
    with pytest.raises(InvalidArgumentError, match=r"split is 'dev', and .* has held"):
        open_evaluation_set(tmp_path, split="dev")
