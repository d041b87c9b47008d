"""helip.train from random weights: the start, its recipe, the curriculum, and going on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helip.common.errors import CancelledError, InvalidArgumentError, MismatchError
from helip.mining.streaming import StreamingMiner
from helip.models.bundle import create_model
from helip.models.saving import save_model
from helip.training.checkpoints import newest_checkpoint
from helip.training.fine_tuning import TrainCall, make_trainer, train
from helip.training.named_recipes import FROM_SCRATCH, recipe_named, with_recipe
from helip.training.plan import plan_training
from support.train_samples import CONFIG, Colours, table

pytestmark = pytest.mark.usefixtures("one_thread")
RESNET = {
    **CONFIG,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
}


def options_of(**options) -> dict:
    data = options.setdefault("data", Colours())
    options.setdefault("pairs", table(data))
    plain = {"model": CONFIG, "batch_size": 8, "device": "cpu", "progress": False, "workers": 0}
    return {"from_scratch": True, **plain, **options}


def run(out: Path, **options):
    return train(out=out, **options_of(**options))


def recorded(out: Path) -> dict:
    checkpoint, _ = newest_checkpoint(out / "checkpoints")
    return checkpoint.state["options"]


def weights(result) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in result.model.model.state_dict().items()}


def same(first: dict, second: dict) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_configuration_or_its_file_starts_with_random_weights_of_the_seed(tmp_path):
    file = tmp_path / "small.json"
    file.write_text(json.dumps(CONFIG))
    of_dict = weights(run(tmp_path / "dict", steps=2, seed=5))
    start = create_model("small", config=CONFIG, from_scratch=True, seed=5)
    given = {"model": start, "from_scratch": False, "recipe": FROM_SCRATCH}
    assert same(of_dict, weights(run(tmp_path / "file", model=file, steps=2, seed=5)))
    assert same(of_dict, weights(run(tmp_path / "made", steps=2, seed=5, **given)))
    assert not same(of_dict, weights(run(tmp_path / "other", steps=2, seed=6)))
    opened = create_model(tmp_path / "dict").model.state_dict()
    assert same(of_dict, opened)


def test_weights_and_a_random_start_are_refused_together(tmp_path):
    save_model(create_model("tiny", config=CONFIG, from_scratch=True), tmp_path / "saved")
    for given in ({"checkpoint": tmp_path / "saved"}, {"model": tmp_path / "saved"}):
        with pytest.raises(
            InvalidArgumentError, match=r"from_scratch is True, and .* gives weights"
        ):
            run(tmp_path / "run", **given)
    with pytest.raises(InvalidArgumentError, match="has no weights"):
        run(tmp_path / "run", from_scratch=False)
    assert not (tmp_path / "run").exists()


def test_without_a_recipe_it_takes_its_own(tmp_path):
    run(tmp_path / "own", steps=1)
    found, values = recorded(tmp_path / "own"), recipe_named(FROM_SCRATCH).values()
    assert found["recipe"] == recipe_named(FROM_SCRATCH).label
    assert (found["lr"], found["weight_decay"]) == (values["lr"], values["weight_decay"])
    assert (found["strategy"], found["fraction"]) == ("communities", 0.0)
    assert found["schedule"]["fraction"] == 1.0
    assert not found["lock_batch_norms"]
    run(tmp_path / "given", steps=1, lr=2e-3, fraction=1.0, schedule=None)
    given = recorded(tmp_path / "given")
    assert (given["lr"], given["fraction"], given["schedule"]) == (2e-3, 1.0, None)
    run(tmp_path / "none", steps=1, recipe=None)
    assert (recorded(tmp_path / "none")["recipe"], recorded(tmp_path / "none")["lr"]) == (
        None,
        1e-5,
    )
    run(tmp_path / "paper", steps=1, recipe="paper")
    assert recorded(tmp_path / "paper")["strategy"] == "uniform"


def test_the_curriculum_takes_its_share_of_the_epochs_that_are_given():
    recipe = recipe_named(FROM_SCRATCH)
    whole = recipe.values()
    share = whole["schedule"]["epochs"] / whole["epochs"]
    made = with_recipe({"from_scratch": True, "epochs": 8})
    assert made["schedule"] == {**whole["schedule"], "epochs": 8 * share}
    assert recipe.values() == whole  # as it was
    own = {"from_scratch": True, "epochs": 8, "schedule": {"epochs": 1, "fraction": 1.0}}
    assert with_recipe(own)["schedule"] == own["schedule"]


def test_communities_come_into_the_batches_epoch_by_epoch(tmp_path):
    options = with_recipe(options_of(epochs=4, out=tmp_path / "run"))
    trainer, _ = make_trainer(TrainCall(**options))
    shares = []
    for epoch in range(4):
        trainer.loader.set_epoch(epoch)
        shares.append(trainer.loader.hardness["fraction"])
    assert shares == [0.0, 0.5, 1.0, 1.0]
    assert trainer.loader.strategy == "communities"


@pytest.mark.parametrize("step", [2, 4, 7])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, step):
    calls = iter(range(1, 100))
    options = {"epochs": 3, "gamma": 0.5}
    whole = run(tmp_path / "whole", **options)
    with pytest.raises(CancelledError, match=f"stopped after step {step} of 9"):
        run(tmp_path / "cut", should_stop=lambda: next(calls) == step, **options)
    resumed = run(tmp_path / "cut", **options)
    assert (resumed.resumed_from, resumed.strategy) == (step, "communities")
    assert same(weights(whole), weights(resumed))
    assert resumed.loader_stats == whole.loader_stats
    with pytest.raises(MismatchError, match=r"fraction was 0\.0, is 1\.0"):
        run(tmp_path / "cut", fraction=1.0, **options)


def test_a_run_that_began_without_a_recipe_goes_on_without(tmp_path):
    calls = iter(range(1, 100))
    whole = run(tmp_path / "whole", recipe=None, epochs=2)
    with pytest.raises(CancelledError):
        run(tmp_path / "cut", recipe=None, epochs=2, should_stop=lambda: next(calls) == 2)
    assert same(weights(whole), weights(run(tmp_path / "cut", epochs=2)))
    assert recorded(tmp_path / "cut")["recipe"] is None
    with pytest.raises(MismatchError, match="recipe was None, is 'from-scratch"):
        run(tmp_path / "cut", recipe=FROM_SCRATCH, epochs=2)


def test_batch_norms_learn_their_statistics(tmp_path):
    start = create_model("small", config=RESNET, from_scratch=True).model.state_dict()
    tuned = weights(run(tmp_path, model=RESNET, steps=2))
    means = [name for name in start if name.endswith("running_mean")]
    assert means and not any(torch.equal(start[name], tuned[name]) for name in means)


def test_without_a_table_it_trains_plainly_and_mines_while_it_does(tmp_path):
    plain = run(tmp_path / "plain", pairs=None, steps=2)
    assert plain.strategy is None and plain.loader_stats["hard_pairs"] == 0
    mining = run(tmp_path / "mining", pairs=StreamingMiner(memory=50), epochs=2)
    assert mining.strategy == "scheduled"


def test_a_plan_is_of_the_same_run(tmp_path):
    plan = plan_training(**options_of(epochs=3, out=tmp_path / "run"))
    assert (plan.steps, plan.steps_per_epoch) == (9, 3)
    assert plan.rows == 72  # all 24 rows, also those without hard pairs
    assert not (tmp_path / "run").exists()
