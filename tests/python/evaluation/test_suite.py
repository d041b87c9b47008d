"""Many models on many sets: files, what is skipped, what is measured again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from open_clip import SimpleTokenizer
from open_clip.transform import image_transform

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.common.weights_digest import weights_digest
from helip.evaluation import model_source
from helip.evaluation import suite as evaluate_suite
from helip.evaluation.evaluating import evaluate
from helip.evaluation.suite import evaluate_all, read_results
from helip.models.bundle import create_model
from helip.models.saving import save_model
from support.evaluate_samples import COLOURS, picture, png, tiny_model, write_benchmark

OPTIONS = {"bootstrap": 20, "device": "cpu", "progress": False}


@pytest.fixture
def models(tmp_path):
    return {
        name: str(save_model(tiny_model(seed), tmp_path / "models" / name))
        for seed, name in enumerate(("start", "control"))
    }


@pytest.fixture
def sets(tmp_path):
    labelled = [(png(picture(i, list(COLOURS.values())[i % 4])), str(i % 4)) for i in range(12)]
    captioned = [(png(picture(i)), f"one {i}\ntwo {i}") for i in range(8)]
    return {
        "colours": write_benchmark(tmp_path / "a", labelled, classes=list(COLOURS)),
        "captions": write_benchmark(tmp_path / "b", captioned, retrieval=True),
    }


def direct_digest(path):
    return weights_digest(create_model(path).model)


@pytest.fixture
def measured(monkeypatch):
    """(model, tasks) of every call of evaluate."""
    calls = []

    def counted(model, data, *, tasks, **options):
        calls.append((model.name, list(tasks)))
        return evaluate(model, data, tasks=tasks, **options)

    monkeypatch.setattr(evaluate_suite, "evaluate", counted)
    return calls


def test_every_task_of_every_model_and_set_has_its_file(models, sets, tmp_path):
    results = evaluate_all(models, sets, out=tmp_path / "out", **OPTIONS)
    files = sorted(str(f.relative_to(tmp_path / "out")) for f in (tmp_path / "out").rglob("*.json"))
    assert files == [
        "captions/control.retrieval.json",
        "captions/start.retrieval.json",
        "colours/control.zero_shot.json",
        "colours/start.zero_shot.json",
    ]
    value = json.loads((tmp_path / "out" / files[3]).read_text())
    assert (value["data"], value["model"], value["task"]) == ("colours", "start", "zero_shot")
    assert value["made_of"]["model"]["weights"] == direct_digest(models["start"])
    assert value["result"]["weights"] == direct_digest(models["start"])
    direct = evaluate(models["start"], sets["colours"], keep_ranks=True, **OPTIONS)
    assert results["colours"]["start"] == direct
    assert value["result"] == direct
    again = read_results(tmp_path / "out")
    assert again["captions"]["control"] == results["captions"]["control"]


def test_tasks_of_one_set_are_measured_together_and_joined(models, sets, tmp_path, measured):
    train = sets["colours"]
    write_benchmark(
        train, [(png(picture(i + 50)), str(i % 4)) for i in range(12)], split="train", shards=1
    )
    tasks = ("zero_shot", "linear_probe")
    results = evaluate_all(
        {"start": models["start"]}, {"colours": train}, out=tmp_path / "out", tasks=tasks, **OPTIONS
    )
    assert measured == [("tiny", list(tasks))]
    assert set(tasks) <= set(results["colours"]["start"])
    read = read_results(tmp_path / "out")["colours"]["start"]
    assert read["options"]["tasks"] == list(tasks)
    assert read["linear_probe"] == results["colours"]["start"]["linear_probe"]


def test_what_is_there_is_skipped_and_no_model_is_loaded_for_it(
    models, sets, tmp_path, measured, monkeypatch
):
    first = evaluate_all(models, sets, out=tmp_path / "out", **OPTIONS)
    assert len(measured) == 4
    (tmp_path / "out" / "captions" / "start.retrieval.json").unlink()
    loaded = []
    monkeypatch.setattr(
        model_source, "create_model",
        lambda path, checkpoint: loaded.append(path) or tiny_model(0),
    )  # fmt: skip
    second = evaluate_all(models, sets, out=tmp_path / "out", skip_existing=True, **OPTIONS)
    assert second == first
    assert loaded == [models["start"]]
    assert len(measured) == 5


def test_what_has_changed_is_measured_again_and_said(models, sets, tmp_path, measured):
    said = []
    old = direct_digest(models["control"])
    evaluate_all(models, sets, out=tmp_path / "out", **OPTIONS)
    weights = next((tmp_path / "models" / "control").glob("*.safetensors"))
    other = save_model(tiny_model(9), tmp_path / "models" / "other")
    weights.write_bytes(next(other.glob("*.safetensors")).read_bytes())
    evaluate_all(models, sets, out=tmp_path / "out", skip_existing=True, say=said.append, **OPTIONS)
    assert len(measured) == 6
    again = [line for line in said if "measured again" in line]
    assert len(again) == 2
    for line in again:
        new = direct_digest(models["control"])
        assert f"other weights ({old[:12]}, now {new[:12]}); measured again" in line
    evaluate_all(
        models, sets, out=tmp_path / "out", skip_existing=True, say=said.append,
        **OPTIONS | {"bootstrap": 10},
    )  # fmt: skip
    assert len(measured) == 10
    assert sum("other options; measured again" in line for line in said) == 4
    evaluate_all(models, sets, out=tmp_path / "out", skip_existing=True,
                 **OPTIONS | {"bootstrap": 10, "batch_size": 3})  # fmt: skip
    assert len(measured) == 10  # the size of a batch changes no figure


def test_out_can_be_left_out(sets):
    given = {"captions": sets["captions"]}
    assert evaluate_all({"a": tiny_model()}, given, **OPTIONS)["captions"]["a"]["retrieval"]


def test_a_bundle_is_told_by_its_weights_and_preprocessing(sets, measured, tmp_path):
    def go(bundle):
        said = []
        evaluate_all(
            {"a": bundle}, {"captions": sets["captions"]}, out=tmp_path / "out",
            skip_existing=True, say=said.append, **OPTIONS,
        )  # fmt: skip
        return [line for line in said if "measured again" in line]

    assert go(tiny_model(0)) == go(tiny_model(0)) == []
    assert len(measured) == 1
    assert "other weights" in go(tiny_model(1))[0]
    other = tiny_model(1)
    other.eval_transform = image_transform(16, is_train=False, mean=(0.5,) * 3)
    assert "other preprocessing" in go(other)[0]
    assert go(other) == []
    other.tokenizer = SimpleTokenizer(context_length=8, clean="canonicalize")
    assert "other preprocessing" in go(other)[0]
    assert len(measured) == 4
    mine = tiny_model(1)
    mine.eval_transform = lambda image: torch.rand(3, 16, 16)  # by chance: never the same
    assert "other preprocessing" in go(mine)[0]
    assert "other preprocessing" in go(mine)[0]


def test_a_saved_model_that_was_moved_is_not_measured_again(models, sets, measured, tmp_path):
    options = {"out": tmp_path / "out", "skip_existing": True} | OPTIONS
    first = evaluate_all({"a": models["start"]}, sets, **options)
    shutil.move(models["start"], tmp_path / "elsewhere")
    assert evaluate_all({"a": str(tmp_path / "elsewhere")}, sets, **options) == first
    # Another file of the same tensors: it is loaded, and found to be the same.
    weights = tmp_path / "elsewhere" / "model.safetensors"
    torch.save(create_model(str(tmp_path / "elsewhere")).model.state_dict(), tmp_path / "w.pt")
    weights.unlink()
    shutil.move(tmp_path / "w.pt", weights.with_suffix(".pt"))
    assert evaluate_all({"a": str(tmp_path / "elsewhere")}, sets, **options) == first
    assert len(measured) == 2


def test_another_preprocessing_of_a_saved_model_is_noticed(models, sets, measured, tmp_path):
    options = {"out": tmp_path / "out", "skip_existing": True} | OPTIONS
    evaluate_all({"a": models["start"]}, {"c": sets["captions"]}, **options)
    file = Path(models["start"]) / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["preprocess_cfg"]["mean"] = [0.5, 0.5, 0.5]
    file.write_text(json.dumps(config))
    said = []
    evaluate_all({"a": models["start"]}, {"c": sets["captions"]}, say=said.append, **options)
    assert len(measured) == 2
    assert "other preprocessing" in said[0]


def test_an_interrupted_set_goes_on_with_the_tasks_that_are_missing(
    models, sets, measured, tmp_path
):
    train = sets["colours"]
    rows = [(png(picture(i + 50)), str(i % 4)) for i in range(12)]
    write_benchmark(train, rows, split="train", shards=1)
    options = {"tasks": ("zero_shot", "linear_probe"), "skip_existing": True} | OPTIONS
    given = {"start": models["start"]}, {"colours": train}
    whole = evaluate_all(*given, out=tmp_path / "whole", **options)
    fewer = {"tasks": ("zero_shot",), "regularisation": 1.0}  # of the other task alone
    evaluate_all(*given, out=tmp_path / "out", **options | fewer)
    assert evaluate_all(*given, out=tmp_path / "out", **options) == whole
    assert measured[-1] == ("tiny", ["linear_probe"])


@pytest.mark.parametrize(
    ("models", "sets", "options", "words"),
    [
        ({}, {"a": "x"}, {}, "no model is given"),
        ({"a": "x"}, {}, {}, "no data set is given"),
        ({"a b": "x", "a:b": "y"}, {"a": "x"}, {}, "'a b' and 'a:b' would be written"),
        ({"a": "x"}, {"a": "x"}, {"skip_existing": True}, "skip_existing needs out"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_loaded(models, sets, options, words):
    with pytest.raises(InvalidArgumentError, match=words):
        evaluate_all(models, sets, **options)


def test_a_folder_without_results_and_a_damaged_one_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="holds no results"):
        read_results(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "m.retrieval.json").write_text(
        json.dumps({"format": "helip.evaluation", "version": 9})
    )
    with pytest.raises(CorruptError, match=r"version 1 .it says 9"):
        read_results(tmp_path)
