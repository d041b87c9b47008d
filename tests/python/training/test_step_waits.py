"""A step waits for no device, and what is not finite reaches no weight, though it is known late."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import pytest
import torch

from helip.common.processes import Processes
from helip.training.metrics import read_metrics
from helip.training.network import Network
from helip.training.optimizing.optimizer import make_optimizer, step_unless
from helip.training.recipe import Recipe
from helip.training.result import NonFiniteLossError
from helip.training.step import OptimizerStep
from helip.training.trainer import Trainer
from support.loop_samples import RECIPE, FakeLoader, bundle, trainer, weights
from support.process_group import run
from support.tune_samples import same

pytestmark = pytest.mark.usefixtures("one_thread")

# What brings a value of a tensor to the host, and so waits for the device that makes it.
WAITS = ("item", "tolist", "cpu", "nonzero", "__bool__", "__int__", "__float__", "__index__")


@contextlib.contextmanager
def no_waits():
    def refused(self, *_, **__):
        raise AssertionError("the host waits for the device")

    with pytest.MonkeyPatch.context() as patch:
        for name in WAITS:
            patch.setattr(torch.Tensor, name, refused)
        yield


class Unwaiting(Trainer):
    """Its steps, all between a batch and the end of its line of metrics, must not wait; but for the
    first one of several processes, which tell each other the names of their losses."""

    _told = False

    def _train_on(self, *arguments):
        alone = self.processes.count == 1
        with no_waits() if alone or self._told else contextlib.nullcontext():
            super()._train_on(*arguments)
        self._told = True


def unwaiting(out: Path, **options) -> None:
    options = {"recipe": RECIPE, "device": "cpu", "progress": False, "epochs": 1, **options}
    Unwaiting(bundle(), FakeLoader(), out=out, **options).run()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate": 2},
        {"log_every": 3},
        {"recipe": Recipe(lr=1e-3, precision="bfloat16", ema=0.5)},
        {"recipe": Recipe(lr=1e-3, optimizer="lion")},
    ],
    ids=["plain", "accumulate", "log_every", "bfloat16 and ema", "lion"],
)
def test_no_step_waits_for_the_device(tmp_path, options):
    unwaiting(tmp_path, **options)
    steps = [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert steps == ([3, 5] if "log_every" in options else [1, 2, 3, 4, 5])


def two_unwaiting(rank: int, folder: Path) -> None:
    for accumulate in (1, 2):
        unwaiting(folder / str(accumulate), accumulate=accumulate)


@pytest.mark.slow
def test_no_step_of_two_processes_waits_for_the_device(tmp_path):
    run(two_unwaiting, tmp_path, tmp_path)


def test_a_wait_is_found(tmp_path):
    class Waits(Unwaiting):
        def losses(self, encoded, batch):
            assert encoded["image_features"].sum().item()
            return super().losses(encoded, batch)

    with pytest.raises(AssertionError, match="the host waits"):
        Waits(bundle(), FakeLoader(), out=tmp_path, device="cpu", progress=False).run()


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
@pytest.mark.parametrize("log_every", [1, 4])
def test_the_weights_stay_those_before_a_nan_that_is_known_a_step_late(
    tmp_path, optimizer, log_every
):
    recipe = Recipe(lr=1e-2, warmup=2, seed=5, optimizer=optimizer)
    before, after = bundle(), bundle()
    trainer(tmp_path / "before", model=before, recipe=recipe, steps=2, epochs=1).run()
    loader = FakeLoader(nan_at=(0, 2))
    steps = []

    class Count:
        def after_step(self, model, step):
            steps.append(step)

        state_dict = load_state_dict = lambda self, *_: {}

    late = trainer(
        tmp_path / "nan", model=after, recipe=recipe, loader=loader,
        log_every=log_every, hooks={"count": Count()},
    )  # fmt: skip
    # The rate of a step depends on how many there are in all.
    late._optimizer_step.total_steps = 2
    with pytest.raises(NonFiniteLossError, match="step 3: loss nan") as caught:
        late.run()
    assert caught.value.step == 3
    assert steps == [1, 2, 3, 4]
    assert same(weights(before), weights(after))
    rows = read_metrics(tmp_path / "nan" / "metrics.jsonl")
    assert [row["step"] for row in rows] == ([1, 2, 3] if log_every == 1 else [3])
    assert not list((tmp_path / "nan" / "checkpoints").iterdir())


@pytest.mark.parametrize("name", ["adamw", "adam", "lion", "muon"])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("exactly", [False, True])
def test_a_step_that_the_device_leaves_out_changes_no_weight(name, skip, exactly):
    model = torch.nn.Linear(4, 3)
    optimizer = make_optimizer(model, Recipe(lr=1e-2, optimizer=name))
    start = {key: value.clone() for key, value in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, math.nan if skip else 0.1)
    step_unless(torch.tensor(skip), optimizer, exactly=exactly)
    assert same(start, model.state_dict()) == skip


def half_step(loss_of, optimizer: str = "adamw"):
    """Steps under float16 on the CPU, whose loss is ``loss_of(weight, step)``; and the weight."""
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    cpu, alone = torch.device("cpu"), Processes()
    recipe = Recipe(lr=1e-2, precision="float16", warmup=0, optimizer=optimizer)
    step = OptimizerStep(recipe, Network(model, cpu, alone), alone, cpu, 1000, 1)
    nothing = dict.fromkeys(("clip", "margin", "violated", "logit_scale"), torch.ones(()))

    def take(number: int):
        losses = lambda *_: {**nothing, "loss": loss_of(model.weight, number)}  # noqa: E731
        return step(number, {}, encode=lambda batch: batch, losses=losses).read()

    return take, model.weight


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_an_infinite_gradient_under_float16_leaves_its_step_out_and_lowers_the_factor(optimizer):
    # Gradients of 2 and more than float32 holds at a factor of 65,536.
    take, weight = half_step(lambda w, n: (w * (1e36 if n == 1 else 2.0)).sum(), optimizer)
    row, failed = take(0)
    assert row["loss_factor"] == 65536.0 and not failed and weight.item() < 1
    before = weight.item()
    row, failed = take(1)
    assert row["loss_factor"] == 32768.0 and not failed
    assert not math.isfinite(row["grad_norm"]) and weight.item() == before
    _, failed = take(2)
    assert not failed and weight.item() < before


def test_a_gradient_that_stays_nan_under_float16_fails_when_the_factor_is_to_blame_no_more():
    take, weight = half_step(lambda w, n: root(w))
    failures = [take(number)[1] for number in range(18)]
    assert failures == [False] * 16 + [True] * 2  # at a factor of 2 ** (16 - 16) = 1
    assert weight.item() == 1.0


def root(weight):
    """A finite value whose gradient is NaN: sqrt(0), whose gradient is infinity times 0."""
    return (weight - weight.detach()).square().sqrt().sum() + 1.0


def test_a_nan_loss_under_float16_fails_at_once():
    take, weight = half_step(lambda w, n: (w * math.nan).sum())
    row, failed = take(0)
    assert failed and weight.item() == 1.0 and row["loss_factor"] == 32768.0
