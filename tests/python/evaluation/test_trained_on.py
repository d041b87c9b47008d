"""A run that is measured on its own training data is told of."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import helip
from helip.evaluation.model_source import ModelSource
from helip.evaluation.table import tables
from helip.evaluation.trained_on import rows_trained_on, rows_words, warn_of_training_data
from helip.reporting.metrics import comparisons
from support.train_samples import Colours
from support.tune_samples import tiny

EVALUATE = {"bootstrap": 0, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    helip.train(
        model=tiny(), data=Colours(24), batch_size=8, steps=1, out=out, device="cpu",
        progress=False, control=True,
    )  # fmt: skip
    return out


def test_the_data_of_the_run_are_told_of_by_whatever_names_it(run):
    data = Colours(24)
    words = "was trained on all 24 rows that it is measured on; give data that were held out"
    (checkpoint,) = (run / "checkpoints").iterdir()
    for model in (str(run), run, checkpoint, ModelSource("ViT-B-32", str(checkpoint))):
        with pytest.warns(UserWarning, match=words):
            warn_of_training_data(model, data)
    with pytest.warns(UserWarning, match=words):
        helip.evaluate(run, data, **EVALUATE)
    with pytest.warns(UserWarning, match=words):
        helip.evaluate_all({"run": str(run)}, {"data": data}, **EVALUATE)


def test_other_data_and_other_models_are_not(run, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warn_of_training_data(run, Colours(23))
        warn_of_training_data(run, Colours(24, prefix="other"))
        warn_of_training_data(run, object())
        warn_of_training_data(tmp_path, Colours(24))
        warn_of_training_data("ViT-B-32", Colours(24))
        warn_of_training_data(tiny(), Colours(24))
        (tmp_path / "state.json").write_text("{")
        warn_of_training_data(tmp_path, Colours(24))


def test_nothing_is_known_of_a_model_without_a_place(run, monkeypatch):
    (checkpoint,) = (run / "checkpoints").iterdir()
    monkeypatch.chdir(checkpoint)
    assert rows_trained_on(".") == {"target_rows": 24, "rows": 24}
    assert rows_trained_on("") == rows_trained_on(tiny()) == {}


def test_tables_say_how_many_rows_each_run_was_trained_on(run, tmp_path):
    data = Colours(24)
    ids = np.full((24, 1), -1, np.int32)
    ids[:6, 0] = [1, 2, 3, 4, 5, 0]
    pairs = helip.HardPairs.from_arrays(ids, np.where(ids < 0, 0, 0.5))
    for name, short in (("keep", None), ("skip", "skip")):
        helip.train(
            model=tiny(), data=data, pairs=pairs, short=short, batch_size=4, steps=1,
            out=tmp_path / name, device="cpu", progress=False,
        )  # fmt: skip
    models = {"control": str(run), "tuned": str(tmp_path / "keep"), "less": str(tmp_path / "skip")}
    results = helip.evaluate_all(models, {"held": Colours(20, prefix="h")}, **EVALUATE)
    words = "Rows planned as targets: control 24 of 24, tuned 24 of 24, less 6 of 24."
    assert words in tables(results)[0].note
    assert comparisons(results)[0]["trained"] == words
    bare = helip.evaluate(tiny(), Colours(20, prefix="h"), **EVALUATE)
    assert "trained_on" not in bare and rows_words({"a": bare}) == ""
