"""Pictures that the data know to stand at several rows: with each way to measure a model."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from helip.cli.wording import shell_words
from helip.common.errors import InvalidArgumentError
from helip.data.opening import open_dataset
from helip.diagnosis.diagnosing import diagnose
from helip.evaluation.evaluating import Validation, evaluate
from helip.evaluation.sets.evaluation_set import EvaluationSet
from helip.evaluation.statistics.forgetting import Guard
from helip.evaluation.suite import evaluate_all
from helip.evaluation.tasks.queries import labels_of
from helip.evaluation.tasks.retrieval import DIRECTIONS
from helip.models.bundle import ModelBundle
from helip.pairs.hard_pairs import HardPairs
from support.evaluate_samples import transform

PICTURES, CAPTIONS = 9, 3


def features(n, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


class Looked(torch.nn.Module):
    """Features of a picture, told by its grey, and of a caption, told by its number."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.register_buffer("image", torch.from_numpy(features(PICTURES)).float())
        text = features(PICTURES).repeat(CAPTIONS, axis=0)
        text = text + noise * features(PICTURES * CAPTIONS, seed=1)
        self.register_buffer("text", torch.from_numpy(text).float())

    def encode_image(self, pixels):
        return self.image[(pixels.mean(dim=(1, 2, 3)) * 255 / 20).round().long()]

    def encode_text(self, tokens):
        return self.text[tokens[:, 0]]


def looked(noise=0.0):
    def numbers(strings):
        words = [string.split()[-1] for string in strings]
        return torch.tensor([[int(word) if word.isdigit() else 0] for word in words])

    return ModelBundle(Looked(noise), None, transform, numbers, "looked")


def write_captioned(folder):
    """Each picture with three captions, one a row of the table."""
    rows = []
    for number in range(PICTURES):
        Image.new("RGB", (4, 4), (20 * number,) * 3).save(folder / f"{number}.png")
        rows += [f"{number}.png,caption {number * CAPTIONS + each}" for each in range(CAPTIONS)]
    (folder / "t.csv").write_text("\n".join(["image,caption", *rows]) + "\n")
    return folder / "t.csv"


def recalls_at_1(noise):
    """Both directions in float64, one query at a time."""
    model = Looked(noise)
    image, text = (side.double().numpy() for side in (model.image, model.text))
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (image, text)]
    cosines = unit[0] @ unit[1].T
    right = np.arange(PICTURES)[:, None] == np.arange(PICTURES * CAPTIONS) // CAPTIONS
    found = []
    for scores, mine in ((cosines, right), (cosines.T, right.T)):
        first = [max(row[own]) > max(row[~own]) for row, own in zip(scores, mine, strict=True)]
        found.append(sum(first) / len(first))
    return found


def _evaluate(data, model):
    return evaluate(model, data, device="cpu", bootstrap=0, progress=False)


def _validation(data, model):
    found = Validation(data, device="cpu")(model)
    return {"retrieval": {way: {"recall@1": {"value": found[f"retrieval.{way}.recall@1"]}}
                          for way in DIRECTIONS}}  # fmt: skip


def _guard(data, model):
    return Guard({"set": data}, device="cpu", bootstrap=20).measure(model)["set"]


def _evaluate_all(data, model):
    options = {"bootstrap": 0, "device": "cpu", "progress": False}
    return evaluate_all({"m": model}, {"set": data}, **options)["set"]["m"]


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("key_column", [None, "row"])
@pytest.mark.parametrize("entry", [_evaluate, _validation, _guard, _evaluate_all])
def test_rows_of_a_table_that_name_one_picture_are_one_picture(tmp_path, entry, key_column, noise):
    data = open_dataset(write_captioned(tmp_path), key_column=key_column)
    assert len(data) == (PICTURES if key_column is None else PICTURES * CAPTIONS)
    found = entry(data, looked(noise))["retrieval"]
    recalls = [found[way]["recall@1"]["value"] for way in DIRECTIONS]
    assert recalls == pytest.approx(recalls_at_1(noise))
    assert recalls == [1.0, 1.0] if noise == 0.0 else max(recalls) < 1.0


@pytest.mark.parametrize("key_column", [None, "row"])
def test_a_diagnosis_takes_rows_of_one_picture_for_equal(tmp_path, key_column):
    data = open_dataset(write_captioned(tmp_path), key_column=key_column)
    rows = len(data)
    ids = (np.arange(rows)[:, None] + np.arange(1, rows)) % rows
    scores = np.linspace(0.9, 0.1, rows - 1, dtype=np.float32)[None].repeat(rows, axis=0)
    pairs = HardPairs.from_arrays(ids.astype(np.int32), scores, options={"method": "exact"})
    found = diagnose(pairs, data, looked(), batch_size=rows, device="cpu", progress=False).model
    assert (found.features.between.value, found.features.within.value) == (1.0, 1.0)


def test_groups_that_are_given_come_before_those_that_the_data_know(tmp_path):
    data = open_dataset(write_captioned(tmp_path), key_column="row")
    each_by_itself = evaluate(
        looked(), data, groups=range(len(data)), device="cpu", bootstrap=0, progress=False
    )
    assert each_by_itself["retrieval"]["image_to_text"]["recall@1"] == {
        "value": 0.0, "low": None, "high": None, "n": len(data),
    }  # fmt: skip


def test_a_picture_with_two_labels_is_refused_with_a_mend_for_python_and_the_shell():
    label_of = ["cat", "dog", "fox"].__getitem__
    mend = r"labels 'cat' and 'dog'.*drop rows by {}, or in Python give groups=range\(3\) to"
    with pytest.raises(InvalidArgumentError, match=mend.format("subset=")) as caught:
        labels_of(None, label_of, np.array([0, 0, 1]))
    assert re.search(
        mend.format("--subset"), shell_words(str(caught.value), {"subset": "--subset"}, ())
    )
    assert labels_of(None, label_of, np.arange(3)) == ["cat", "dog", "fox"]


def test_results_of_other_groups_are_measured_again(tmp_path):
    path = write_captioned(tmp_path)
    sets = [EvaluationSet(data=open_dataset(path, key_column="row"), groups=groups)
            for groups in (range(PICTURES * CAPTIONS), None, None)]  # fmt: skip
    said = []
    for one in sets:
        evaluate_all({"m": looked()}, {"set": one}, out=tmp_path / "out", skip_existing=True,
                     say=said.append, bootstrap=0, device="cpu", progress=False)  # fmt: skip
    again = [line for line in said if "measured again" in line]
    assert len(again) == 1 and "other options" in again[0]
