"""A plan of a training run, held against what the run then does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import MismatchError, OutOfMemoryError, UnsupportedError
from helip.data.image_transform import ImageTransform
from helip.training.plan import LiveBytes
from helip.training.step import OptimizerStep
from support.data_samples import write_shard
from support.train_samples import CONFIG, Colours, table
from support.tune_samples import same, weights

pytestmark = pytest.mark.usefixtures("one_thread")

LARGER = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 96, "head_width": 32, "patch_size": 4},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def model(config=CONFIG):
    return helip.create_model("tiny", config=config, from_scratch=True, seed=3)


def calls(data, **options):
    return {"data": data, "batch_size": 8, "device": "cpu", "progress": False, **options}


@pytest.fixture
def read(monkeypatch) -> list[np.ndarray]:
    """Rows of every batch that a loader hands over."""
    found: list[np.ndarray] = []
    original = helip.HardPairLoader.__iter__

    def watched(self):
        for batch in original(self):
            found.append(batch["index"].numpy().copy())
            yield batch

    monkeypatch.setattr(helip.HardPairLoader, "__iter__", watched)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"epochs": 3, "hard_per_target": 2},
        {"steps": 7},
        {"steps": 2, "warm_statistics": 6},
        {"control": True},
        {"pairs": None, "hard_per_target": 0, "steps": 5},
        {"strategy": "shared", "short": "random"},
        {"recipe": "paper", "batch_size": 6},
    ],
    ids=lambda options: ",".join(map(str, options)) or "plain",
)
def test_steps_and_rows_are_those_of_the_run(tmp_path, read, options):
    shard = write_shard(tmp_path / "0.tar", range(24))
    data = helip.open_dataset(str(shard))
    call = calls(data, pairs=table(data), **options) if "pairs" not in options else calls(data)
    call |= options
    plan = helip.plan_training(model=model(), **call)
    read.clear()
    result = helip.train(model=model(), out=tmp_path / "run", **call)
    warm = options.get("warm_statistics", 0)
    assert plan.steps == result.steps
    assert plan.rows == sum(map(len, read[warm:]))


def test_a_long_run_is_planned_from_its_first_epoch(tmp_path, monkeypatch):
    data = helip.open_dataset(str(write_shard(tmp_path / "0.tar", range(24))))
    call = calls(data, pairs=table(data), epochs=5)
    exact = helip.plan_training(model=model(), **call)
    monkeypatch.setattr("helip.training.plan._PLANNED_ROWS", 100)
    plan = helip.plan_training(model=model(), **call)
    assert plan.steps == exact.steps
    assert plan.rows == pytest.approx(exact.rows, rel=0.1)


def test_with_a_streaming_miner_batches_are_taken_as_full(tmp_path, read):
    data = helip.open_dataset(str(write_shard(tmp_path / "0.tar", range(24))))
    call = calls(data, epochs=2)
    plan = helip.plan_training(model=model(), pairs=helip.StreamingMiner(memory=24), **call)
    read.clear()
    result = helip.train(
        model=model(), pairs=helip.StreamingMiner(memory=24), out=tmp_path / "run", **call
    )
    assert plan.steps == result.steps
    assert sum(map(len, read)) <= plan.rows == 8 * result.steps


class Unreadable(Colours):
    """The rows of the first batch cannot be read, but for one."""

    def __init__(self) -> None:
        super().__init__(24)
        order = helip.HardPairLoader(
            Colours(24), None, batch_size=8, hard_per_target=0, transform=ImageTransform.train(16)
        )
        self.unreadable = next(iter(order.planned_rows(0)))[:7]

    def _read_image(self, row):
        if row in self.unreadable:
            raise ValueError("no picture")
        return super()._read_image(row)


@pytest.mark.parametrize(
    ("data", "pairs"),
    [
        (lambda: Colours(24), lambda: helip.StreamingMiner(memory=24)),
        (Unreadable, lambda: None),
    ],
    ids=["streaming", "unreadable"],
)
def test_the_steps_have_the_rows_of_a_full_batch(monkeypatch, tmp_path, data, pairs):
    rows = []
    ids = np.roll(np.arange(24), 1)[:, None]
    labels = helip.label_pairs(
        helip.HardPairs.from_arrays(ids, np.ones((24, 1), np.float32)),
        weights=np.full((24, 1), 0.5), out=tmp_path / "labels", progress=False,
    )  # fmt: skip
    original = OptimizerStep.__call__

    def watched(self, step, batch, **computing):
        rows.extend({len(value) for value in batch.values()})
        return original(self, step, batch, **computing)

    monkeypatch.setattr(OptimizerStep, "__call__", watched)
    for given in (None, labels):
        helip.plan_training(
            model=model(), pairs=pairs(), **calls(data()), max_quarantined=1.0, soft_labels=given
        )
    assert rows == [8] * 4


def real_peak(monkeypatch, tmp_path, made, call) -> int:
    """Bytes at the peak of the third step of a run, beside what is there between steps."""
    peaks = []
    original = OptimizerStep.__call__

    def watched(self, step, batch, **computing):
        states = [v for state in self.optimizer.state.values() for v in state.values()]
        known = [*self.network.model.parameters(), *self.network.model.buffers(), *batch.values()]
        self.optimizer.zero_grad(set_to_none=True)
        with LiveBytes([*known, *(v for v in states if isinstance(v, torch.Tensor))]) as live:
            numbers = original(self, step, batch, **computing)
        peaks.append(max(live.curve))
        return numbers

    monkeypatch.setattr(OptimizerStep, "__call__", watched)
    helip.train(model=made, out=tmp_path / "run", **{**call, "steps": 3})
    return peaks[-1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate": 4, "grad_checkpointing": True, "precision": "bfloat16"},
        {"optimizer": "adafactor", "ema": 0.9, "lock_text": True},
        {"distill": 1.0},
    ],
    ids=lambda options: ",".join(map(str, options)) or "plain",
)
def test_memory_is_within_two_percent_of_what_a_run_keeps_alive(tmp_path, monkeypatch, options):
    call = calls(Colours(48), hard_per_target=0) | {"batch_size": 48, **options}
    memory = helip.plan_training(model=model(LARGER), **call).memory
    kept = memory.weights + memory.optimizer + memory.copies + memory.batch
    peak = real_peak(monkeypatch, tmp_path, model(LARGER), call)
    assert memory.peak - kept == pytest.approx(peak, rel=0.02)


def test_weights_and_states_are_those_of_adamw():
    memory = helip.plan_training(model=model(), **calls(Colours(), hard_per_target=0)).memory
    numbers = sum(p.numel() for p in model().model.parameters())
    buffers = sum(b.nbytes for b in model().model.buffers())
    assert memory.weights == 4 * numbers + buffers
    assert memory.optimizer == pytest.approx(8 * numbers, abs=4 * 100)  # and counts of steps
    assert memory.peak > memory.weights + memory.optimizer + 4 * numbers  # gradients


def test_the_copy_that_teaches_by_default_is_counted():
    data, trained = Colours(24), model()
    trained.untrained = False
    call = calls(data, pairs=table(data))
    memory = helip.plan_training(model=trained, **call).memory
    assert memory.copies == memory.weights
    free = helip.plan_training(model=trained, **call, distill=0.0).memory
    assert free.copies == 0
    assert memory.peak > free.peak + 0.99 * memory.copies
    assert helip.plan_training(model=model(), **call).memory.copies == 0  # of random weights


def test_a_checkpoint_has_the_bytes_of_the_plan(tmp_path):
    call = calls(Colours(24), hard_per_target=0, steps=1)
    for name, options in (("plain", {}), ("ema", {"ema": 0.9})):
        plan = helip.plan_training(model=model(), **call, **options)
        result = helip.train(model=model(), out=tmp_path / name, **call, **options)
        size = sum(file.stat().st_size for file in result.checkpoint.iterdir())
        assert plan.checkpoint_bytes == pytest.approx(size, rel=0.03)


def test_nothing_is_written_or_changed(tmp_path):
    made, data = model(), Colours(24)
    before, mode = weights(made.model), made.model.training
    torch.manual_seed(3)
    state = torch.get_rng_state()
    plan = helip.plan_training(
        model=made, out=tmp_path / "run", lora=2, lock_image=True,
        **calls(data, pairs=table(data)),
    )  # fmt: skip
    assert same(before, weights(made.model))
    assert made.model.training == mode and "lora" not in made.config
    assert all(parameter.requires_grad for parameter in made.model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert not list(tmp_path.iterdir())
    assert plan.trained_parameters < plan.parameters
    assert json.loads(json.dumps(plan.to_dict()))["memory"]["peak"] == plan.memory.peak


def test_what_only_watches_a_run_is_not_asked(tmp_path):
    def never(bundle):
        raise AssertionError("a plan measures no figures")

    call = calls(Colours(24), hard_per_target=0, workers=0)
    bare = helip.plan_training(model=model(), **call)
    watched = helip.plan_training(model=model(), validate=never, eval_every=2, wise_ft=0.5, **call)
    assert watched == bare


def test_what_train_refuses_a_plan_refuses():
    data = Colours(24)
    other = table(Colours(24, prefix="other"))
    with pytest.raises(MismatchError):
        helip.plan_training(model=model(), **calls(data, pairs=other))


@pytest.mark.parametrize("action", [helip.plan_training, helip.train])
def test_a_step_that_does_not_fit_says_what_to_lower(tmp_path, monkeypatch, action):
    def full(self, *arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(OptimizerStep, "_backward", full)
    with pytest.raises(OutOfMemoryError, match=r"a step of 8 rows, beside .* lower batch_size"):
        action(model=model(), out=tmp_path, **calls(Colours(24), pairs=None))


def test_several_processes_are_not_planned(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UnsupportedError, match="torchrun started 2; call it without torchrun"):
        helip.plan_training(model=model(), **calls(Colours(24)))
