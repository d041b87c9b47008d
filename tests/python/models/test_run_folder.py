"""The folder of a training run in place of its newest checkpoint."""

from __future__ import annotations

import shutil

import pytest

from helip.common.errors import StorageError
from helip.models.bundle import create_model
from helip.models.run_folder import list_checkpoints, within_run
from helip.models.saving import save_model
from support.tune_samples import same, tiny, weights


@pytest.fixture
def run(tmp_path):
    for step in (2, 10):
        checkpoint = tmp_path / "run" / "checkpoints" / f"step-{step:06d}"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        save_model(tiny(seed=step), checkpoint)
    (tmp_path / "run" / "checkpoints" / ".tmp-step-000012").mkdir()
    return tmp_path / "run"


def test_a_run_is_opened_as_its_newest_checkpoint(run):
    for folder in (run, run / "checkpoints"):
        assert same(weights(create_model(folder).model), weights(tiny(seed=10).model))


def test_a_run_gives_the_weights_of_a_named_architecture(run):
    bundle = tiny(seed=1, checkpoint=run)
    assert same(weights(bundle.model), weights(tiny(seed=10).model))


def test_checkpoints_are_listed_by_step_and_the_newest_first(run):
    (run / "checkpoints" / "step-1000000").mkdir()
    assert [step for step, _ in list_checkpoints(run / "checkpoints")] == [1000000, 10, 2]


def test_other_folders_stay_as_they_are(tmp_path):
    assert within_run(tmp_path) == tmp_path
    assert within_run(tmp_path / "absent") == tmp_path / "absent"


def test_a_run_without_a_checkpoint_is_refused(run):
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    with pytest.raises(StorageError, match="holds no checkpoint yet"):
        create_model(run)
