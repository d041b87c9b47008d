"""helip's models in CLIP_benchmark."""

from __future__ import annotations

import json
import sys

import pytest
import torch

import helip
from helip.common.errors import UnsupportedError
from helip.integrations.clip_benchmark import as_clip, load_helip, main, register
from helip.models.bundle import ModelBundle
from helip.models.saving import save_model
from support.evaluate_samples import TINY, picture, png, tiny_model, write_benchmark


def same(a, b):
    one, two = a.state_dict(), b.state_dict()
    return all(torch.equal(one[name], two[name]) for name in one)


def test_a_loader_gives_model_transform_and_tokenizer(tmp_path):
    bundle = tiny_model(seed=4)
    saved = save_model(bundle, tmp_path / "saved")
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps(TINY))
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((saved / "model.safetensors").read_bytes())
    for name, pretrained in (
        (saved, ""),
        ("a label", saved),
        ("a label", saved / "model.safetensors"),
        (config, weights),
    ):
        model, transform, tokenizer = load_helip(str(name), str(pretrained), None, "cpu")
        assert same(model, bundle.model)
        assert not model.training
        assert transform(picture(0)).shape == (3, 16, 16)
        assert tokenizer(["a cat"]).shape == (1, 8)


def test_a_bundle_without_its_transform_is_refused():
    bundle = tiny_model()
    bare = ModelBundle(bundle.model, None, None, bundle.tokenizer, "bare")
    with pytest.raises(UnsupportedError, match="brings no eval_transform"):
        as_clip(bare)


def test_without_clip_benchmark_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "clip_benchmark", None)
    with pytest.raises(UnsupportedError, match="pip install clip_benchmark"):
        register()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_its_command_line_measures_a_saved_model(tmp_path, monkeypatch):
    pytest.importorskip("clip_benchmark")
    rows = [(png(picture(i)), f"one {i}\ntwo {i}") for i in range(30)]
    folder = write_benchmark(tmp_path / "data", rows, retrieval=True)
    saved = save_model(tiny_model(seed=4), tmp_path / "saved")
    monkeypatch.setattr(
        sys, "argv",
        ["clip_benchmark", "eval", "--model_type", "helip", "--model", "tiny",
         "--pretrained", str(saved / "model.safetensors"), "--dataset", "wds/any",
         "--dataset_root", str(folder), "--task", "zeroshot_retrieval", "--no_amp",
         "--recall_k", "5", "--num_workers", "0", "--output", str(tmp_path / "r.json")],
    )  # fmt: skip
    main()
    theirs = json.loads((tmp_path / "r.json").read_text())["metrics"]
    ours = helip.evaluate(saved, folder, bootstrap=0, device="cpu", progress=False)["retrieval"]
    found = ours["text_to_image"]["recall@5"]["value"]
    assert theirs["image_retrieval_recall@5"] == pytest.approx(found)
