"""helip train: how it is stopped, and where it goes on."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from helip.data.opening import open_dataset
from helip.models.bundle import create_model
from helip.models.run_folder import list_checkpoints
from helip.models.saving import save_model
from helip.pairs.hard_pairs import HardPairs
from helip.training.checkpoints import newest_checkpoint
from helip.training.fine_tuning import train
from helip.training.named_recipes import FROM_SCRATCH, recipe_named, recipes
from helip.training.step import OptimizerStep
from helip.verdicts.verdicts import Verdicts
from support.data_samples import write_shard
from support.train_samples import CONFIG
from support.tune_samples import same, tiny, weights

pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path) -> tuple[object, ...]:
    write_shard(tmp_path / "0.tar", range(16))
    save_model(tiny(), tmp_path / "model")
    options = ("--control", "--steps", 6, "--batch-size", 4, "--workers", 0, "--quiet")
    return ("train", tmp_path / "0.tar", "--model", tmp_path / "model", *options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_a_checkpoint_and_goes_on_from_it(
    run: Run, call: tuple[object, ...], tmp_path: Path, monkeypatch, number
) -> None:
    plain = OptimizerStep.__call__

    def stopped(self, step, *rest, **named):
        if step == 2:
            os.kill(os.getpid(), number)
        return plain(self, step, *rest, **named)

    assert run(*call, "--out", tmp_path / "whole")[0] == 0
    monkeypatch.setattr(OptimizerStep, "__call__", stopped)
    code, _, err = run(*call, "--out", tmp_path / "run")
    assert code == 130
    assert "stops after this step and keeps a checkpoint" in err
    kept = tmp_path / "run" / "checkpoints" / "step-000003"
    assert f"stopped after step 3 of 6; the same call goes on from {kept}" in err
    monkeypatch.undo()
    code, out, err = run(*call, "--out", tmp_path / "run")
    assert (code, f"goes on from {kept}" in err) == (0, True), out + err
    ends = [list_checkpoints(tmp_path / name / "checkpoints")[0] for name in ("run", "whole")]
    assert [step for step, _ in ends] == [6, 6]
    first, second = (weights(tiny(checkpoint=path).model) for _, path in ends)
    assert same(first, second)


def test_the_shell_distils_from_a_copy_or_a_store(
    run: Run, call: tuple[object, ...], tmp_path
) -> None:
    code, out, err = run(*call, "--out", tmp_path / "run", "--distill", 2, "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["distill"] > 0
    assert (tmp_path / "run" / "curves.png").exists() == bool(find_spec("matplotlib"))
    code, _, err = run(*call, "--out", tmp_path / "other", "--teacher", tmp_path / "nothing")
    assert code != 0
    assert "nothing" in err


def test_the_guard_says_what_became_of_other_data(
    run: Run, call: tuple[object, ...], tmp_path
) -> None:
    write_shard(tmp_path / "1.tar", range(20, 32))
    options = ("--guard", f"general={tmp_path / '1.tar'}")
    code, out, err = run(*call, "--out", tmp_path / "run", *options, "--json")
    assert code == 0, err
    said = json.loads(out)["guard"]
    assert list(said["sets"]) == ["general"] and said["verdict"] in ("kept", "undecided", "lost")
    code, out, err = run(*call, "--out", tmp_path / "run", *options)
    assert code == 0, err
    assert "general, I→T R@1:" in out
    twice = ("--guard", f"general={tmp_path / '0.tar'}")
    code, _, err = run(*call, "--out", tmp_path / "other", *options, *twice)
    assert (code, "--guard 'general' is given twice" in err) == (2, True), err


def test_a_plan_says_what_a_run_would_take_and_writes_nothing(
    run: Run, call: tuple[object, ...], tmp_path
) -> None:
    code, out, err = run(*call, "--out", tmp_path / "run", "--plan")
    assert code == 0, err
    assert "steps        6, 4 an epoch" in out
    code, out, err = run(*call, "--out", tmp_path / "run", "--plan", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["rows"] == 24 and plan["memory"]["peak"] > 0
    assert not (tmp_path / "run").exists()


def test_verdicts_are_obeyed_and_what_is_left_out_is_said(
    run: Run, call: tuple[object, ...], tmp_path
) -> None:
    data = open_dataset(tmp_path / "0.tar")
    ids = (np.arange(16)[:, None] + np.arange(1, 4)).astype(np.int32) % 16
    table = HardPairs.from_arrays(
        ids, np.full((16, 3), 0.5, np.float32), data_fingerprint=data.fingerprint
    )
    table.save(tmp_path / "pairs")
    with Verdicts.open(tmp_path / "verdicts", pairs=table) as verdicts:
        verdicts.add(2, 4, "near duplicate", person="Ada")
        verdicts.add(9, None, "mismatch", person="Ada")
    words = [word for word in call if word != "--control"]
    given = (*words, "--pairs", tmp_path / "pairs", "--verdicts", tmp_path / "verdicts")
    code, out, err = run(*given, "--out", tmp_path / "run")
    assert code == 0, err
    assert "left out by verdicts: pairs 1, rows 1" in err
    assert "7 hard pairs of 5 targets" in out  # 2 -> 4, and 9 with its three in either direction
    code, _, err = run(*words, "--verdicts", tmp_path / "absent", "--out", tmp_path / "other")
    assert (code, "there is no file of verdicts" in err) == (1, True), err
    assert not (tmp_path / "other").exists()


def test_the_model_mines_its_own_pools_and_says_what_that_took(
    run: Run, call: tuple[object, ...], tmp_path
) -> None:
    given = [word for word in call if word != "--control"]
    given += ["--pools", "own", "--pools-every", 1]
    code, out, err = run(*given, "--out", tmp_path / "run", "--plan")
    assert code == 0, err
    assert "the model encodes all data 2 times and mines them; that time comes on top" in out
    given.remove("--quiet")
    code, out, err = run(*given, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    assert [each["mining"] for each in json.loads(out)["pools"]] == [0, 1]
    code, out, err = run(*given, "--out", tmp_path / "run")  # which is done already
    assert code == 0, err
    assert re.search(r"communities, and beside it .+ of encoding and .+ of mining; ", err), err
    assert "no --pairs" not in err
    assert HardPairs.open(tmp_path / "run" / "pools" / "1" / "pairs").k == 100
    code, _, err = run(*given, "--out", tmp_path / "other", "--stream", 9)
    assert (code, "no --pairs and no --stream" in err) == (2, True), err
    assert not (tmp_path / "other").exists()


def test_a_model_without_weights_is_one_line(run: Run, call: tuple[object, ...], tmp_path) -> None:
    words = ["ViT-B-32" if word == tmp_path / "model" else word for word in call]
    code, _, err = run(*words, "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith("helip: ViT-B-32 has no weights; give --checkpoint a file")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_there_is_told_before_anything_is_opened(run: Run, tmp_path) -> None:
    words = ("--model", tmp_path / "model", "--out", tmp_path / "run", "--loss", "no_module:Loss")
    code, _, err = run("train", tmp_path / "data", *words)
    assert code == 2 and "loss is 'no_module:Loss', which cannot be imported" in err


def test_a_named_recipe_reaches_the_run(run: Run, call: tuple[object, ...], tmp_path) -> None:
    named = (*call, "--out", tmp_path / "run", "--recipe", "no-forgetting", "--lr", "2e-5")
    code, out, err = run(*named)
    assert code == 0, out + err
    assert (tmp_path / "run" / "wise-ft").exists()
    checkpoint, _ = newest_checkpoint(tmp_path / "run" / "checkpoints")
    options = checkpoint.state["options"]
    assert (options["recipe"], options["wise_ft"], options["lr"]) == ("no-forgetting 3", 0.5, 2e-5)


def test_a_model_is_trained_from_scratch_with_a_curriculum_and_goes_on(
    run: Run, tmp_path: Path, monkeypatch
) -> None:
    write_shard(tmp_path / "0.tar", range(16))
    (tmp_path / "small.json").write_text(json.dumps(CONFIG))
    ids = (np.arange(16)[:, None] + np.arange(1, 4)).astype(np.int32) % 16
    scores = np.tile(np.array([0.9, 0.8, 0.7], dtype=np.float32), (16, 1))
    HardPairs.from_arrays(ids, scores).save(tmp_path / "pairs")
    call = (
        "train", tmp_path / "0.tar", "--model", tmp_path / "small.json", "--from-scratch",
        "--pairs", tmp_path / "pairs", "--epochs", 4, "--batch-size", 8, "--workers", 0,
        "--seed", 3, "--quiet",
    )  # fmt: skip
    code, out, err = run(*call, "--out", tmp_path / "whole")
    assert code == 0, out + err
    assert re.search(r"8 steps in .*, communities; ", out + err)
    checkpoint, _ = newest_checkpoint(tmp_path / "whole" / "checkpoints")
    options = checkpoint.state["options"]
    assert options["recipe"] == recipe_named(FROM_SCRATCH).label
    assert (options["lr"], options["fraction"]) == (5e-4, 0.0)
    assert options["schedule"]["epochs"] == 2.0

    plain = OptimizerStep.__call__

    def stopped(self, step, *rest, **named):
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, step, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(OptimizerStep, "__call__", stopped)
        assert run(*call, "--out", tmp_path / "run")[0] == 130
    code, out, err = run(*call, "--out", tmp_path / "run", "--json")
    assert code == 0, out + err
    assert json.loads(out)["strategy"] == "communities"
    ends = [list_checkpoints(tmp_path / name / "checkpoints")[0][1] for name in ("run", "whole")]
    first, second = (create_model(path).model.state_dict() for path in ends)
    assert same(first, second)
    # The run of the same options in Python.
    model = tmp_path / "small.json"
    own = train(
        model=model, from_scratch=True, data=tmp_path / "0.tar", pairs=tmp_path / "pairs", epochs=4,
        batch_size=8, workers=0, seed=3, out=tmp_path / "python", progress=False,
    )  # fmt: skip
    kept, _ = newest_checkpoint(tmp_path / "python" / "checkpoints")
    assert kept.state["options"] == options
    assert same(first, own.model.model.state_dict())

    words = [word for word in call if word != "--from-scratch"]
    code, out, err = run(*words, "--out", tmp_path / "other", "--plan")
    assert (code, "has no weights" in err) == (2, True), err
    code, out, err = run(*call, "--out", tmp_path / "other", "--print-config", "--lr", "1e-3")
    assert code == 0
    assert "recipe: from-scratch" in out and "lr: 0.001" in out and "weight_decay: 0.2" in out


def test_hard_pairs_a_target_of_a_file_are_drawn(
    run: Run, call: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "options.yaml").write_text("hard_per_target: 3\n")
    words = [word for word in call if word != "--control"]
    given = (*words, "--out", tmp_path / "run", "--pairs", tmp_path / "pairs")
    ids = (np.arange(16)[:, None] + np.arange(1, 4)).astype(np.int32) % 16
    HardPairs.from_arrays(ids, np.full((16, 3), 0.5, dtype=np.float32)).save(tmp_path / "pairs")
    code, out, err = run(*given, "--config", tmp_path / "options.yaml", "--json")
    assert code == 0, out + err
    assert json.loads(out)["strategy"] == "uniform"
    assert json.loads(out)["loader"]["hard_pairs"] > json.loads(out)["loader"]["targets"]


def test_recipes_are_listed_with_reasons_and_sources(run: Run) -> None:
    code, out, _ = run("recipes")
    assert code == 0
    for recipe in recipes():
        assert f"{recipe.label}: {recipe.purpose}" in out
        for setting in (*recipe.settings, *recipe.mining):
            assert f"{setting.option} = {setting.value}" in out
            assert f"{setting.why} [{setting.origin}]" in out
    code, out, _ = run("recipes", "lora", "--json")
    assert [recipe["name"] for recipe in json.loads(out)] == ["lora"]
    code, _, err = run("recipes", "lorra")
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("command", ["train", "eval", "embed", "mine"])
def test_a_gpu_that_is_not_there_is_one_line(
    run: Run, call: tuple[object, ...], tmp_path, store: Path, command: str, monkeypatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = {
        "train": [*call, "--out", tmp_path / "run"],
        "eval": ["eval", tmp_path / "0.tar", "--model", tmp_path / "model"],
        "embed": ["embed", tmp_path / "0.tar", "--out", tmp_path / "new", "--preset", "packaged"],
        "mine": ["mine", store, "--out", tmp_path / "p"],
    }
    code, _, err = run(*words[command], "--device", "cuda")
    assert code == 1
    assert err.strip().splitlines()[-1].startswith("helip: --device is 'cuda', but torch finds no")
