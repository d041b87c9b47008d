"""Where a model comes from, what tells it from another one, and what it was trained on."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import helip
from helip.common.weights_digest import weights_digest
from helip.data.captions import caption_digests
from helip.evaluation.model_source import (
    GivenModel,
    ModelSource,
    digest_of_weights,
    rows_trained_on,
    rows_words,
    warn_of_training_data,
)
from helip.evaluation.table import tables
from helip.models.bundle import create_model
from helip.models.saving import save_model
from helip.reporting.metrics import comparisons
from helip.store.data_identity import count_kept_rows, keep_rows
from support.evaluate_samples import TINY, tiny_model
from support.train_samples import Colours
from support.tune_samples import tiny


@pytest.fixture
def saved(tmp_path):
    return [str(save_model(tiny_model(seed), tmp_path / f"m{seed}")) for seed in (0, 1)]


def test_a_digest_of_files_is_of_their_contents(saved, tmp_path):
    start, control = saved
    one = ModelSource(start).files_digest()
    assert one == ModelSource(shutil.copytree(start, tmp_path / "copy")).files_digest()
    # The two have one configuration.
    assert ModelSource(start, control).files_digest() == ModelSource(control).files_digest() != one
    file = tmp_path / "copy" / "open_clip_config.json"
    file.write_text(file.read_text() + " ")
    assert ModelSource(str(tmp_path / "copy")).files_digest() != one
    assert ModelSource(f"{start}/model.safetensors").files_digest() == one


def test_a_configuration_or_an_architecture_counts_beside_its_weights(saved, tmp_path):
    weights = f"{saved[0]}/model.safetensors"
    configs = [tmp_path / "a.json", tmp_path / "b.json"]
    for width, config in enumerate(configs):
        config.write_text(json.dumps(TINY | {"name": f"n{width}"}))
    names = [*map(str, configs), "ViT-B-32", "ViT-B-16"]
    digests = [ModelSource(name, weights).files_digest() for name in names]
    assert len({*digests, None}) == 5


@pytest.mark.parametrize(
    "source",
    [
        ModelSource("ViT-B-32"),
        ModelSource("ViT-B-32", "openai"),
        ModelSource("hf-hub:someone/something"),
    ],
)
def test_a_model_that_is_no_local_file_has_no_digest_of_files(source):
    assert source.files_digest() is None


def test_a_model_in_several_files_of_weights_has_no_digest_of_files(saved):
    (Path(saved[0]) / "model.safetensors.index.json").write_text("{}")
    assert ModelSource(saved[0]).files_digest() is None


def test_a_source_and_its_bundle_have_one_identity_but_for_the_files(saved):
    given, bundle = GivenModel(saved[0]), GivenModel(tiny_model(0))
    assert given.weights == bundle.weights == weights_digest(create_model(saved[0]).model)
    assert given.preprocessing == bundle.preprocessing is not None
    before = given.identity(given.weights)
    assert bundle.differences(before) == []
    assert GivenModel(saved[1]).differences(before)[0].startswith("weights (")


def test_a_model_without_digests_differs_from_everything():
    class Odd(torch.nn.Module):
        def get_extra_state(self):
            return {"packed": 1}

        def set_extra_state(self, state):
            pass

    odd = GivenModel(Odd())
    assert digest_of_weights(Odd()) is odd.weights is odd.preprocessing is None
    assert odd.differences(odd.identity(None)) == [
        "weights (without a digest)",
        "preprocessing (without a digest)",
    ]


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


def table_of(folder, rows, *, prefix="", caption="caption {}"):
    """A CSV of pictures of unlike sizes; ``prefix`` of their paths."""
    folder.mkdir(exist_ok=True)
    lines = ["image,caption"]
    for row in rows:
        Image.fromarray(np.full((8, 8 + 4 * row, 3), row, np.uint8)).save(folder / f"{row}.bmp")
        lines.append(f"{prefix}{row}.bmp,{caption.format(row)}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return folder / "data.csv"


def test_rows_that_were_trained_on_are_counted_in_other_data(tmp_path):
    """By two of key, size of the picture and caption, where these tell rows apart."""
    data = table_of(tmp_path / "trained", range(12), caption="a {}")
    helip.train(
        model=tiny(), data=data, batch_size=4, steps=1, out=tmp_path / "run", device="cpu",
        progress=False, control=True,
    )  # fmt: skip
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    others = {
        "part": (range(6, 20), {"caption": "a {}"}, 6),
        "other captions": (range(10, 20), {}, 2),
        "other keys": (range(20), {"caption": "a {}", "prefix": f"{tmp_path}/other keys/"}, 12),
        "other rows": (range(12, 20), {"caption": "a {}"}, 0),
    }
    for name, (rows, options, count) in others.items():
        given = helip.open_dataset(table_of(tmp_path / name, rows, **options))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_of_training_data(checkpoint / "model.safetensors", given)
        told = [f"trained on at least {count} of the {len(rows)} rows"] if count else []
        assert [w in str(c.message) for w, c in zip(told, caught, strict=True)] == [True] * len(
            told
        )
    (tmp_path / "run" / "trained_rows.npy").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"trained_rows\.npy cannot be read"):
        warn_of_training_data(tmp_path / "run", given)


def test_rows_of_few_captions_and_one_size_are_not_taken_for_those_of_other_data(tmp_path):
    """Numbers as keys, names of classes as captions and pictures of one size tell nothing."""

    class Classes(Colours):
        def caption(self, index):
            return f"class {index % 3}"

        def row_digests(self, rows):
            captions = caption_digests((self.caption(row),) for row in rows.tolist())
            return np.full(len(rows), 192, np.uint64), captions

    file = tmp_path / "rows.npy"
    keep_rows(file, Classes(300))
    assert count_kept_rows(file, Classes(200)) == 0
    keep_rows(file, Colours(300))
    assert count_kept_rows(file, Colours(200)) == 200
    assert count_kept_rows(file, Colours(200, prefix="other")) == 0


def test_other_data_and_other_models_are_not(run, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warn_of_training_data(run, Colours(23, prefix="other"))
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
