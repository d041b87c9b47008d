"""The training loop: steps, metrics, checkpoints, and resume that changes nothing."""

from __future__ import annotations

import json
import logging
import math
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from helip.common import progress
from helip.common.errors import (
    CancelledError,
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
)
from helip.models.bundle import create_model
from helip.models.run_folder import list_checkpoints
from helip.training.checkpoints import read_checkpoint
from helip.training.metrics import RunLog, read_metrics
from helip.training.recipe import Recipe
from helip.training.result import NonFiniteLossError
from helip.training.trainer import Trainer
from support.loop_samples import CONFIG, FakeLoader, bundle, trainer, weights

pytestmark = pytest.mark.usefixtures("one_thread")


def stop_after(step: int):
    calls = iter(range(1, 1000))
    return lambda: next(calls) == step


@pytest.fixture(scope="module")
def whole(tmp_path_factory, one_thread):
    """A run of two epochs that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    return out, trainer(out, keep=10, checkpoint_every=3).run()


def test_a_run_takes_every_batch_of_every_epoch(whole):
    out, result = whole
    rows = read_metrics(out / "metrics.jsonl")
    assert result.steps == 10
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert [row["epoch"] for row in rows] == [0] * 5 + [1] * 5
    assert result.loader_stats == {"batches": 5}
    assert result.metrics == rows[-1]


def test_the_result_has_what_was_had_of_the_cache_of_shards(whole, tmp_path):
    class Cached(FakeLoader):
        def stats(self):
            return {**super().stats(), "cache": {"hits": 3, "misses": 0}}

    assert trainer(tmp_path, loader=Cached(), steps=1).run().cache == {"hits": 3, "misses": 0}
    assert whole[1].cache == {}


def test_each_line_of_metrics_holds_the_numbers_of_a_step(whole):
    row = read_metrics(whole[0] / "metrics.jsonl")[4]
    losses = ["loss", "clip", "margin", "violated"]
    others = ["logit_scale", "lr", "grad_norm", "samples_per_second", "data_wait_seconds"]
    for name in losses + others:
        assert math.isfinite(row[name]), name
    assert row["loss"] == pytest.approx(row["clip"] + row["margin"], rel=1e-5)
    assert row["margin"] > 0
    assert 0 < row["violated"] < 1


def test_training_lowers_the_loss(whole):
    rows = read_metrics(whole[0] / "metrics.jsonl")
    assert rows[-1]["clip"] < rows[0]["clip"]


def test_the_learning_rate_warms_up_and_falls_to_zero_by_a_cosine(whole):
    rates = [row["lr"] for row in read_metrics(whole[0] / "metrics.jsonl")]
    assert rates[:3] == pytest.approx([5e-3, 1e-2, 1e-2])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(5e-3 * (1 + math.cos(math.pi * 7 / 8)))


def test_the_last_checkpoint_holds_the_trained_model_and_opens_by_its_path(whole):
    _, result = whole
    assert result.checkpoint.name == "step-000010"
    again = create_model(result.checkpoint)
    state = weights(result.model)
    assert all(torch.equal(value, state[name]) for name, value in weights(again).items())
    assert not result.model.model.training


@pytest.mark.parametrize("step", [1, 4, 5, 6, 9])
@pytest.mark.parametrize("every", [None, 5])
def test_an_interrupted_run_ends_with_the_same_bits(whole, tmp_path, step, every):
    with pytest.raises(CancelledError, match=f"stopped after step {step} of 10"):
        trainer(tmp_path, should_stop=stop_after(step), checkpoint_every=every).run()
    result = trainer(
        tmp_path, model=create_model("tiny", config=CONFIG, from_scratch=True, seed=99)
    ).run()
    assert result.resumed_from == step
    expected = weights(whole[1].model)
    assert all(torch.equal(value, expected[name]) for name, value in weights(result.model).items())
    ours, theirs = (
        read_checkpoint(path).tensors["optimizer"]
        for path in (result.checkpoint, whole[1].checkpoint)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 11))


def test_a_run_interrupted_twice_ends_with_the_same_bits(whole, tmp_path):
    for steps in (2, 5):
        with pytest.raises(CancelledError):
            trainer(tmp_path, should_stop=stop_after(steps)).run()
    result = trainer(tmp_path).run()
    assert result.resumed_from == 7
    expected = weights(whole[1].model)
    assert all(torch.equal(value, expected[name]) for name, value in weights(result.model).items())


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(int(sys.argv[3]))
from support.loop_samples import trainer
def kill_after_seven_steps(calls=iter(range(1, 100))):
    if next(calls) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
trainer(Path(sys.argv[1]), checkpoint_every=3, should_stop=kill_after_seven_steps).run()
"""


def test_a_killed_run_goes_on_from_its_last_checkpoint(whole, tmp_path):
    here = str(Path(__file__).parents[2])
    # Sums depend on the number of threads, so both sessions must have the same.
    arguments = [str(tmp_path), here, str(torch.get_num_threads())]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert done.returncode == -signal.SIGKILL
    # A line is written when the next step is on its way.
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")][-1] == 6
    (tmp_path / "checkpoints" / ".tmp-step-000009-1-ab").mkdir()
    result = trainer(tmp_path, checkpoint_every=3).run()
    assert result.resumed_from == 6
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == list(range(1, 11))
    assert not list((tmp_path / "checkpoints").glob(".*"))
    expected = weights(whole[1].model)
    assert all(torch.equal(value, expected[name]) for name, value in weights(result.model).items())


def test_a_finished_run_returns_at_once(whole, tmp_path):
    first = trainer(tmp_path, steps=2).run()
    again = trainer(tmp_path, steps=2, loader=FakeLoader(nan_at=(0, 0))).run()
    assert again.resumed_from == again.steps == 2
    assert again.checkpoint == first.checkpoint
    assert again.metrics == first.metrics
    assert torch.equal(again.model.model.logit_scale, first.model.model.logit_scale)


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    trainer(tmp_path, checkpoint_every=2, keep=3).run()
    assert [step for step, _ in list_checkpoints(tmp_path / "checkpoints")] == [10, 8, 6]


@pytest.mark.parametrize(("every", "steps"), [(2, None), (None, 3)])
def test_the_room_that_a_run_takes_is_told_first(tmp_path, caplog, monkeypatch, every, steps):
    monkeypatch.setattr(progress, "_MUCH", 0)
    with caplog.at_level(logging.INFO):
        trainer(tmp_path, checkpoint_every=every, steps=steps, keep=3).run()
    tensors = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    (told,) = (r.args[0] for r in caplog.records if "writes about" in r.getMessage())
    size, unit = re.fullmatch(rf"train: writes about (.*) (.B) to {tmp_path}", told).groups()
    assert float(size) * {"K": 1e3, "M": 1e6}[unit[0]] == pytest.approx(tensors, rel=0.1)


def test_checkpoints_hold_nothing_but_safetensors_and_json(whole):
    files = {file.name for file in whole[1].checkpoint.iterdir()}
    assert files == {
        "model.safetensors",
        "optimizer.safetensors",
        "open_clip_config.json",
        "state.json",
    }


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_with_a_warning(whole, tmp_path):
    with pytest.raises(CancelledError):
        trainer(tmp_path, checkpoint_every=2, should_stop=stop_after(4)).run()
    file = tmp_path / "checkpoints" / "step-000004" / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    file.write_bytes(raw)
    result = trainer(tmp_path, checkpoint_every=2).run()
    assert result.resumed_from == 2
    warnings = [r for r in read_metrics(tmp_path / "metrics.jsonl") if r.get("event") == "warning"]
    assert len(warnings) == 1
    assert "step-000004/model.safetensors" in warnings[0]["message"]
    expected = weights(whole[1].model)
    assert all(torch.equal(value, expected[name]) for name, value in weights(result.model).items())


def test_when_every_checkpoint_is_damaged_nothing_is_restarted_in_silence(tmp_path):
    trainer(tmp_path, steps=1).run()
    (tmp_path / "checkpoints" / "step-000001" / "state.json").write_text("{")
    with pytest.raises(CorruptError, match=r"no checkpoint in .* is whole.*step-000001"):
        trainer(tmp_path, steps=1).run()


def test_a_flipped_bit_anywhere_in_the_state_is_found(tmp_path):
    path = trainer(tmp_path, steps=1).run().checkpoint
    raw = (path / "state.json").read_bytes()
    for place in range(0, len(raw), max(len(raw) // 40, 1)):
        damaged = bytearray(raw)
        damaged[place] ^= 2
        (path / "state.json").write_bytes(damaged)
        if raw[place : place + 1].isspace():
            continue  # between values, a space may become a quotation mark: found or harmless
        with pytest.raises(CorruptError):
            read_checkpoint(path)


def test_resume_with_changed_options_is_refused_and_names_them(tmp_path):
    trainer(tmp_path, steps=1, identity={"data": "abc"}).run()
    changed = Recipe(lr=2e-2, warmup=2, seed=5, gamma=0.5)
    with pytest.raises(MismatchError) as caught:
        trainer(tmp_path, steps=2, recipe=changed, identity={"data": "xyz"}).run()
    message = str(caught.value)
    for part in ("data was 'abc', is 'xyz'", "gamma was 1.0, is 0.5", "lr was 0.01", "steps was 1"):
        assert part in message
    assert "margin" not in message


def test_without_resume_an_old_run_is_never_overwritten(tmp_path):
    trainer(tmp_path, steps=1).run()
    with pytest.raises(InvalidArgumentError, match="holds checkpoints up to step 1"):
        trainer(tmp_path, steps=1, resume=False).run()


def test_a_nan_loss_stops_with_step_rows_and_last_good_checkpoint(tmp_path):
    model = bundle()
    run = trainer(tmp_path, model=model, loader=FakeLoader(nan_at=(1, 2)))
    with pytest.raises(NonFiniteLossError, match=r"step 8: loss nan.*step-000005") as caught:
        run.run()
    assert caught.value.step == 8
    assert caught.value.checkpoint == tmp_path / "checkpoints" / "step-000005"
    last = read_metrics(tmp_path / "metrics.jsonl")[-1]
    assert last["event"] == "non_finite"
    assert last["loss"] is None
    assert last["rows"] == caught.value.rows
    assert len(last["rows"]) == 8
    assert all(torch.isfinite(value).all() for value in weights(model).values())


def with_scale(scale):
    model = bundle()
    with torch.no_grad():
        model.model.logit_scale.fill_(math.log(scale))
    return model


class Raise:
    """After each step it notes the logit scale, and puts it far above what it may be."""

    def __init__(self):
        self.seen = []

    def after_step(self, model, step):
        self.seen.append(model.logit_scale.exp().item())
        with torch.no_grad():
            model.logit_scale.fill_(9.0)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize(("start", "bound"), [(50.0, 100.0), (117.3, 117.3)])
def test_the_logit_scale_never_exceeds_one_hundred_or_its_start(tmp_path, start, bound):
    first, then = Raise(), Raise()
    options = {"checkpoint_every": 2, "should_stop": stop_after(2)}
    with pytest.raises(CancelledError):
        trainer(tmp_path, model=with_scale(start), hooks={"raise": first}, **options).run()
    # A resumed run is given another model, whose weights are replaced.
    trainer(tmp_path, hooks={"raise": then}).run()
    assert first.seen[1:] + then.seen == pytest.approx([bound] * 9, rel=1e-6)


def test_a_start_above_one_hundred_is_not_cut_at_the_first_step(tmp_path):
    model = with_scale(117.3)
    trainer(tmp_path, model=model, steps=1).run()
    assert model.model.logit_scale.exp().item() == pytest.approx(117.3, rel=0.02)


@pytest.mark.parametrize("scale", [0.5, 300.0])
def test_a_frozen_logit_scale_is_left_alone(tmp_path, scale):
    model = with_scale(scale)
    model.model.logit_scale.requires_grad_(False)
    before = model.model.logit_scale.clone()
    trainer(tmp_path, model=model, steps=1).run()
    assert torch.equal(model.model.logit_scale, before)


def test_norms_biases_and_logit_scale_get_no_weight_decay(tmp_path):
    run = trainer(tmp_path)
    decayed, spared = run.optimizer.param_groups
    names = {id(p): name for name, p in run.model.named_parameters()}
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    spared_names = {names[id(p)] for p in spared["params"]}
    assert {"logit_scale", "ln_final.weight", "visual.ln_post.bias"} <= spared_names
    assert all(p.dim() >= 2 for p in decayed["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_the_gradient_is_clipped_to_its_bound(tmp_path):
    class Norm:
        def after_step(self, model, step):
            return {
                "clipped": math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
            }

        def state_dict(self):
            return {}

    recipe = Recipe(lr=1e-2, grad_clip=1e-3)
    result = trainer(tmp_path, steps=1, recipe=recipe, hooks={"norm": Norm()}).run()
    assert result.metrics["grad_norm"] > 1e-2
    assert result.metrics["clipped"] == pytest.approx(1e-3, rel=1e-3)
    assert all(p.grad is None for p in result.model.model.parameters())  # memory for others


def test_bfloat16_autocast_trains_with_float32_weights(tmp_path):
    result = trainer(tmp_path, recipe=Recipe(lr=1e-2, precision="bfloat16")).run()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[-1]["clip"] < rows[0]["clip"]
    assert {p.dtype for p in result.model.model.parameters()} == {torch.float32}


def test_the_callers_random_generators_are_left_as_they_were(tmp_path):
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    expected = (random.random(), np.random.rand(), torch.rand(1))
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    trainer(tmp_path, steps=2).run()
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


def test_steps_beyond_one_epoch_begin_another(tmp_path):
    result = trainer(tmp_path, steps=7, epochs=1).run()
    assert result.steps == 7
    assert result.metrics["epoch"] == 1


def test_two_runs_cannot_share_an_out(tmp_path):
    def second() -> bool:
        with pytest.raises(StorageError, match="in use by another job"):
            trainer(tmp_path, steps=2).run()
        return False

    trainer(tmp_path, steps=2, should_stop=second).run()


def test_captions_that_fill_the_context_are_counted(tmp_path):
    class Tokenizer:
        eot_token_id = 7

    model, loader = bundle(), FakeLoader()
    model.tokenizer = Tokenizer()
    loader.texts[:, -1] = 1
    loader.texts[:9, -1] = 7
    assert trainer(tmp_path, model=model, loader=loader).run().captions_at_context_limit == 18


def test_a_loader_without_transform_or_batches_is_refused(tmp_path):
    class Lists(FakeLoader):
        def _batches(self):
            yield {**next(super()._batches()), "text": ["a"] * 8}

    class Empty(FakeLoader):
        def _batches(self):
            yield from ()

    with pytest.raises(InvalidArgumentError, match=r"batch\['text'\] is a list.*a tokenizer"):
        trainer(tmp_path / "a", loader=Lists()).run()
    with pytest.raises(InvalidArgumentError, match="0 batches in epoch 0"):
        trainer(tmp_path / "b", loader=Empty()).run()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0, must be at least 1"),
        ({"keep": 0}, "keep is 0"),
        ({"log_to": ["comet"]}, "log_to is 'comet', must be one of 'tensorboard'"),
        ({"recipe": Recipe(precision="float16")}, "'float16' on cpu"),
    ],
)
def test_options_of_the_loop_are_checked_before_it_runs(tmp_path, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        trainer(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_class_with_the_hook_of_older_versions_is_refused(tmp_path):
    class Older(Trainer):
        def compute_loss(self, batch):
            return {}

    with pytest.raises(InvalidArgumentError, match=r"Older has compute_loss, .* override losses"):
        Older(bundle(), FakeLoader(), out=tmp_path)


def test_low_precision_weights_are_refused(tmp_path):
    model = create_model("tiny", config=CONFIG, from_scratch=True, precision="bfloat16")
    with pytest.raises(InvalidArgumentError, match="must be float32 for training"):
        trainer(tmp_path, model=model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr is 0.0, must be above 0"),
        ({"min_lr": 1.0}, "min_lr is 1.0, must be at most lr = 1e-05"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"betas": (0.9, 1.0)}, "betas is"),
        ({"warmup": 1.5}, "warmup is 1.5, must be a share"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"grad_clip": 0.0}, "grad_clip is 0.0"),
        ({"gamma": -1.0}, "gamma is -1.0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_recipe_is_checked_when_it_is_made(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        Recipe(**options)


def test_metrics_are_valid_json_whatever_the_numbers(tmp_path):
    log, path = RunLog(tmp_path), tmp_path / "metrics.jsonl"
    log.write(step=1, loss=math.nan, rates=[math.inf, 1.0])
    log.close()
    with path.open("a") as file:
        file.write('{"step": 2, "lo')
    assert json.loads(path.read_text().splitlines()[0])["loss"] is None
    assert read_metrics(path) == [{"step": 1, "loss": None, "rates": [None, 1.0]}]
