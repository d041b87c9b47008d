"""Which batches helip.train takes where no strategy is named, also of runs that began before."""

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


def run(out: Path, **options):
    data = Colours()
    options = {"pairs": table(data), "epochs": 2, "batch_size": 8, "lr": 1e-3, **options}
    model = create_model("tiny", config=CONFIG, from_scratch=True, seed=3)
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
    assert result.metrics["margin"] > 0
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
