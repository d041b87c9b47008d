"""Which batches helip.train takes where no strategy is named, and which weight distillation has,
also of runs that began before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helip.common.errors import CancelledError, MismatchError
from helip.mining.streaming import StreamingMiner
from helip.models.bundle import create_model
from helip.training.checkpoints import newest_checkpoint
from helip.training.fine_tuning import train
from support.train_samples import CONFIG, Colours, table

pytestmark = pytest.mark.usefixtures("one_thread")


def start(*, untrained: bool = False):
    model = create_model("tiny", config=CONFIG, from_scratch=True, seed=3)
    assert model.untrained
    model.untrained = untrained
    return model


def run(out: Path, **options):
    data = Colours()
    options = {"pairs": table(data), "epochs": 2, "batch_size": 8, "lr": 1e-3, **options}
    model = options.pop("model", None) or start()
    return train(model=model, data=data, out=out, device="cpu", progress=False, **options)


def cut(out: Path, step: int, **options) -> None:
    calls = iter(range(1, 100))
    with pytest.raises(CancelledError, match=f"stopped after step {step} "):
        run(out, should_stop=lambda: next(calls) == step, **options)


def recorded(out: Path) -> dict:
    checkpoint, _ = newest_checkpoint(out / "checkpoints")
    return checkpoint.state["options"]


def weights(result) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in result.model.model.state_dict().items()}


def same(first, second) -> bool:
    expected = weights(second)
    return all(torch.equal(value, expected[name]) for name, value in weights(first).items())


def test_batches_are_made_of_communities(tmp_path):
    result = run(tmp_path / "run")
    assert (result.strategy, result.steps) == ("communities", 2 * 3)  # 24 targets, 8 a batch
    # Four of them have no hard pair, and the control is trained on them as well.
    assert result.loader_stats["targets"] == result.loader_stats["emitted"] == 24
    assert recorded(tmp_path / "run")["strategy"] == "communities"
    assert recorded(tmp_path / "run")["hard_per_target"] == 1
    named = run(tmp_path / "named", recipe="communities")
    assert same(result, named)
    assert result.metrics["margin"] > 0 and result.metrics["distill"] > 0
    control = run(tmp_path / "control", control=True)
    assert (control.steps, control.strategy) == (6, None)
    assert control.loader_stats["targets"] == 24


@pytest.mark.parametrize("options", [{"hard_per_target": 3}, {"hard_per_target": 1}])
def test_hard_pairs_a_target_are_drawn_where_they_are_asked_for(tmp_path, options):
    result = run(tmp_path, batch_size=12, **options)
    stats = result.loader_stats
    assert result.strategy == recorded(tmp_path)["strategy"] == "uniform"
    assert stats["targets"] == 20
    places = options["hard_per_target"] * 20
    assert stats["hard_pairs"] + stats["unfilled"] == places


def test_the_paper_and_a_miner_draw(tmp_path):
    assert run(tmp_path / "paper", recipe="paper", batch_size=8).strategy == "uniform"
    miner = StreamingMiner(memory=50)
    assert run(tmp_path / "miner", pairs=miner).strategy == "uniform"


def test_a_run_is_not_resumed_with_another_strategy(tmp_path):
    cut(tmp_path / "old", 2, strategy="uniform")
    with pytest.raises(MismatchError, match="strategy was 'uniform', is 'communities'"):
        run(tmp_path / "old", strategy="communities")
    cut(tmp_path / "new", 2)
    with pytest.raises(MismatchError, match="strategy was 'communities', is 'uniform'"):
        run(tmp_path / "new", hard_per_target=1)
    assert run(tmp_path / "new").resumed_from == 2


DISTILL = {
    "communities": (1.0, {}),
    "of a recipe that is silent": (1.0, {"recipe": "siglip", "loss": "clip"}),
    "a curriculum": (1.0, {"fraction": 0.0, "schedule": "epochs=1,fraction=1"}),
    "own pools": (1.0, {"pairs": None, "pools": "own"}),
    "given": (2.0, {"distill": 2.0}),
    "given 0": (0.0, {"distill": 0.0}),
    "given to the control": (0.5, {"distill": 0.5, "control": True}),
    "the control": (0.0, {"control": True}),
    "drawn": (0.0, {"hard_per_target": 1}),
    "walks": (0.0, {"strategy": "walk"}),
    "plain batches": (0.0, {"fraction": 0.0}),
    "no table": (0.0, {"pairs": None}),
    "the paper": (0.0, {"recipe": "paper", "strategy": "communities", "batch_size": 8}),
}


@pytest.mark.parametrize("case", DISTILL)
def test_the_weight_of_distillation_goes_by_the_batches(tmp_path, case):
    weight, options = DISTILL[case]
    result = run(tmp_path, **{"steps": 1, **options})
    assert recorded(tmp_path)["distill"] == weight
    assert ("distill" in result.metrics) == (weight > 0)


def test_a_miner_has_no_communities_and_no_teacher(tmp_path):
    run(tmp_path, steps=1, pairs=StreamingMiner(memory=50))
    assert recorded(tmp_path)["distill"] == 0.0


def test_random_weights_do_not_teach_and_those_that_a_run_has_trained_do(tmp_path):
    for name, options in (("made", {"model": start(untrained=True)}),
                          ("named", {"model": CONFIG, "from_scratch": True, "recipe": "siglip",
                                     "loss": "clip"})):  # fmt: skip
        result = run(tmp_path / name, steps=1, **options)
        assert recorded(tmp_path / name)["distill"] == 0.0
        assert not result.model.untrained
        run(tmp_path / name / "next", steps=1, model=result.model)
        assert recorded(tmp_path / name / "next")["distill"] == 1.0


@pytest.mark.parametrize("begun", [0.0, 0.5])
def test_a_run_goes_on_with_its_weight_of_distillation(tmp_path, begun):
    cut(tmp_path, 2, distill=begun)
    with pytest.raises(MismatchError, match=rf"distill was {begun}, is 1\.0"):
        run(tmp_path, distill=1.0)
    assert run(tmp_path).resumed_from == 2
    assert recorded(tmp_path)["distill"] == begun


def test_the_same_call_with_the_same_object_goes_on_by_default(tmp_path):
    whole, model = run(tmp_path / "whole"), start()
    cut(tmp_path / "cut", 2, model=model)
    resumed = run(tmp_path / "cut", model=model)
    assert resumed.resumed_from == 2
    assert same(whole, resumed)
    assert run(tmp_path / "cut", model=model).resumed_from == 6
