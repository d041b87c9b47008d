"""push_to_hub of what lies in a folder: runs, saved models and tables, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, StorageError
from helip.models import pretrained
from helip.models.saving import save_model
from support.hub_server import hub_for_tests
from support.train_samples import CONFIG, Colours, table
from support.tune_samples import tiny

QUIET = {"progress": False}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_for_tests(monkeypatch, tmp_path / "cache") as server:
        yield server


@pytest.fixture(scope="module")
def run(tmp_path_factory, one_thread):
    out, data = tmp_path_factory.mktemp("runs") / "run", Colours()
    helip.train(
        model=CONFIG, from_scratch=True, data=data, pairs=table(data), out=out, steps=1,
        batch_size=8, **QUIET,
    )  # fmt: skip
    return out


def test_a_run_goes_with_a_card_and_without_its_optimizer(hub, run):
    helip.push_to_hub(run, "me/run", layout="open_clip", license="mit", **QUIET)
    files = hub.repos["models/me/run"].files()
    assert set(files) == {"README.md", "open_clip_config.json", "open_clip_model.safetensors"}
    card = files["README.md"].decode()
    assert "1 optimizer steps" in card and "license: mit" in card
    assert str(run.parent) not in card


def test_a_model_that_no_run_made_says_so(hub, tmp_path):
    save_model(tiny(), tmp_path / "model")
    helip.push_to_hub(tmp_path / "model", "me/model", layout="open_clip", **QUIET)
    card = hub.repos["models/me/model"].files()["README.md"].decode()
    assert "How the model was trained is not known" in card


def test_a_saved_folder_goes_as_it_is_with_its_edited_card(hub, tmp_path):
    folder = tmp_path / "saved"
    tiny().save_pretrained(folder, layout="open_clip")
    (folder / "README.md").write_text("---\nlicense: mit\n---\nMine.\n")
    (folder / "notes.md").write_text("not for others")
    helip.push_to_hub(folder, "me/model", **QUIET)
    files = hub.repos["models/me/model"].files()
    here = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "notes.md"}
    assert files == here
    with pytest.raises(InvalidArgumentError, match=r"license is 'mit'.*has a card already"):
        helip.push_to_hub(folder, "me/model", license="mit", **QUIET)


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "tokenizer_config.json", "README.md"]
)
def test_a_saved_folder_that_names_the_machine_is_refused(hub, tmp_path, name):
    folder = tmp_path / "saved"
    tiny().save_pretrained(folder, layout="transformers")
    (folder / name).write_text(json.dumps({"from": str(Path.home() / "acme")}))
    with pytest.raises(InvalidArgumentError, match=rf"{name} names .*, a path of this machine"):
        helip.push_to_hub(folder, "me/model", **QUIET)
    assert not hub.requests


def test_a_table_goes_to_a_data_set(hub, tmp_path):
    pairs = table(Colours())
    pairs.save(tmp_path / "pairs")
    helip.push_to_hub(tmp_path / "pairs", "me/pairs", parquet=True, **QUIET)
    files = hub.repos["datasets/me/pairs"].files()
    assert {"README.md", "manifest.json", "pairs.parquet"} < set(files)
    again = helip.HardPairs.from_pretrained("me/pairs", **QUIET)
    assert np.array_equal(again.ids, pairs.ids)
    again.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "README.md").write_text("Mine.\n")
    helip.push_to_hub(tmp_path / "saved", "me/pairs", **QUIET)
    files = hub.repos["datasets/me/pairs"].files()
    assert files["README.md"] == b"Mine.\n" and "pairs.parquet" not in files


def test_an_edited_table_that_names_the_machine_goes_without_that(hub, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    ids, options = np.array([[1], [0]]), {"from": str(tmp_path / "there")}
    bare = helip.HardPairs.from_arrays(ids, np.ones((2, 1)), options=options)
    bare.save(tmp_path / "pairs")
    bare.to_parquet(tmp_path / "pairs" / "pairs.parquet")
    (tmp_path / "pairs" / "README.md").write_text("Mine.\n")
    helip.push_to_hub(tmp_path / "pairs", "me/pairs", **QUIET)
    files = hub.repos["datasets/me/pairs"].files()
    assert files["README.md"] == b"Mine.\n"
    (tmp_path / "pushed.parquet").write_bytes(files["pairs.parquet"])
    assert parquet.read_table(tmp_path / "pushed.parquet").num_rows == 2
    for name, contents in files.items():
        assert str(tmp_path).encode() not in contents, name
    (tmp_path / "pairs" / "README.md").write_text(f"Of {Path.home()}.\n")
    with pytest.raises(InvalidArgumentError, match=r"README\.md names .*, a path of this machine"):
        helip.push_to_hub(tmp_path / "pairs", "me/pairs", **QUIET)


def test_what_does_not_fit_the_folder_is_refused(hub, tmp_path):
    table(Colours()).save(tmp_path / "pairs")
    with pytest.raises(InvalidArgumentError, match=r"layout is 'both', and .* is a table"):
        helip.push_to_hub(tmp_path / "pairs", "me/x", layout="both", **QUIET)
    save_model(tiny(), tmp_path / "model")
    with pytest.raises(InvalidArgumentError, match=r"parquet is True, and .* is no table"):
        helip.push_to_hub(tmp_path / "model", "me/x", parquet=True, **QUIET)
    with pytest.raises(StorageError, match=r"there is no .*absent' to upload"):
        helip.push_to_hub(tmp_path / "absent", "me/x", **QUIET)
    assert not hub.requests


def test_a_card_alone_makes_no_folder_one_that_goes_as_it_is(hub, tmp_path):
    save_model(tiny(), tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("Mine.\n")
    helip.push_to_hub(tmp_path / "model", "me/model", layout="open_clip", **QUIET)
    files = hub.repos["models/me/model"].files()
    assert set(files) == {"README.md", "open_clip_config.json", "open_clip_model.safetensors"}


@pytest.mark.parametrize("weights", [None, "pytorch_model.bin", "model-00001-of-00002.safetensors"])
def test_weights_of_the_repository_stay_where_a_folder_has_none(hub, tmp_path, weights):
    tiny().push_to_hub("me/model", layout="transformers", **QUIET)
    before = dict(hub.repos["models/me/model"].files())
    folder = tmp_path / "saved"
    tiny().save_pretrained(folder, layout="transformers")
    (folder / "model.safetensors").unlink()
    if weights is not None:
        (folder / weights).write_bytes(b"none of a model")
    assert not pretrained.is_saved(folder)
    with pytest.raises(helip.Error):
        helip.push_to_hub(folder, "me/model", **QUIET)
    assert hub.repos["models/me/model"].files() == before
