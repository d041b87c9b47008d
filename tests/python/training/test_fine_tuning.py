"""helip.train: data set, table, loader and model put together; the control; resume."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from helip.common.errors import CancelledError, InvalidArgumentError, MismatchError
from helip.models.bundle import create_model
from helip.models.saving import save_model
from helip.store.embedding_store import EmbeddingStore
from helip.training.fine_tuning import train
from helip.training.metrics import read_metrics
from support.loader_samples import drawing
from support.train_samples import CONFIG, ROWS, Colours, table

pytestmark = pytest.mark.usefixtures("one_thread")


def run(out, **options):
    options.setdefault("model", create_model("tiny", config=CONFIG, from_scratch=True, seed=3))
    options.setdefault("data", Colours())
    if "pairs" not in options:
        options["pairs"] = table(options["data"])
    options = {"batch_size": 8, "device": "cpu", "progress": False, "lr": 1e-3, **options}
    return train(out=out, **drawing(options))


def weights(result) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in result.model.model.state_dict().items()}


def test_every_target_with_hard_pairs_is_trained_on_once_an_epoch(tmp_path):
    result = run(tmp_path)
    assert result.steps == 2 * 5  # 20 targets, 4 a batch
    assert result.loader_stats["targets"] == result.loader_stats["hard_pairs"] == 20
    assert result.loader_stats["skipped_targets"] == 4
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert max(row["margin"] for row in rows) > 0


def test_the_control_takes_the_same_steps_with_plain_targets_in_all_rows(tmp_path):
    helip = run(tmp_path / "helip")
    control = run(tmp_path / "control", control=True)
    assert control.steps == helip.steps == 10
    rows = read_metrics(tmp_path / "control" / "metrics.jsonl")
    assert all(row["margin"] == 0 and row["loss"] == row["clip"] for row in rows)
    assert rows[-1]["epoch"] == 3  # 24 rows, 8 a batch: three steps an epoch
    assert control.loader_stats["hard_pairs"] == 0


def test_the_control_has_the_rows_a_batch_of_the_run_it_stands_beside(tmp_path):
    # 8 rows hold 2 targets with 2 hard pairs each, which makes 6 rows.
    result = run(tmp_path, control=True, batch_size=8, hard_per_target=2, steps=1)
    assert result.loader_stats["emitted"] == 6


def test_a_model_by_name_gets_the_weights_of_checkpoint(tmp_path):
    start = create_model("tiny", config=CONFIG, from_scratch=True, seed=3)
    save_model(start, tmp_path / "saved")
    named = tmp_path / "bare.json"
    named.write_text(json.dumps(CONFIG))
    result = run(tmp_path / "a", model=named, checkpoint=tmp_path / "saved", steps=1)
    expected = run(tmp_path / "b", model=start, steps=1)
    assert all(
        torch.equal(value, weights(expected)[name]) for name, value in weights(result).items()
    )
    with pytest.raises(InvalidArgumentError, match=r"bare\.json has no weights"):
        run(tmp_path / "c", model=named)
    with pytest.raises(InvalidArgumentError, match=r"checkpoint is .*made already, a ModelBundle"):
        run(tmp_path / "c", model=start, checkpoint=tmp_path / "saved")
    assert not (tmp_path / "c").exists()


def test_the_control_needs_the_table_or_the_steps(tmp_path):
    with pytest.raises(InvalidArgumentError, match="pairs and steps are None"):
        run(tmp_path, control=True, pairs=None)
    assert run(tmp_path, control=True, pairs=None, steps=2).steps == 2


def test_without_a_table_training_is_plain(tmp_path):
    result = run(tmp_path, pairs=None, epochs=1)
    assert result.steps == 3
    assert result.metrics["loss"] == result.metrics["clip"]


@pytest.mark.parametrize("step", [5, 7])  # at the end of an epoch, and in the middle of one
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, step):
    calls = iter(range(1, 100))
    whole = run(tmp_path / "whole")
    with pytest.raises(CancelledError, match=f"stopped after step {step} of 10"):
        run(tmp_path / "cut", should_stop=lambda: next(calls) == step)
    resumed = run(tmp_path / "cut")
    assert resumed.resumed_from == step
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())
    assert resumed.loader_stats == whole.loader_stats
    assert resumed.metrics["epoch"] == whole.metrics["epoch"] == 1


def test_a_run_is_not_resumed_with_another_table_or_batch_size(tmp_path):
    data = Colours()
    run(tmp_path, steps=1)
    with pytest.raises(MismatchError, match="pairs was"):
        run(tmp_path, steps=1, data=data, pairs=table(data, shift=2))
    with pytest.raises(MismatchError, match="batch_size was 8, is 10"):
        run(tmp_path, steps=1, batch_size=10)


def test_a_table_of_another_data_set_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(MismatchError, match="belongs to other data"):
        run(tmp_path / "out", data=Colours(prefix="other"), pairs=table(Colours()))
    assert not (tmp_path / "out").exists()


def test_the_model_and_the_table_may_be_paths(tmp_path):
    bundle = create_model("tiny", config=CONFIG, from_scratch=True, seed=3)
    save_model(bundle, tmp_path / "model")
    table(Colours()).save(tmp_path / "pairs")
    result = run(tmp_path / "out", model=tmp_path / "model", pairs=tmp_path / "pairs", steps=1)
    expected = weights(run(tmp_path / "same", steps=1))
    assert all(torch.equal(value, expected[name]) for name, value in weights(result).items())


def test_a_bare_model_needs_its_transform_and_tokenizer(tmp_path):
    bundle = create_model("tiny", config=CONFIG, from_scratch=True, seed=3)
    with pytest.raises(InvalidArgumentError, match="transform and tokenizer must be passed"):
        run(tmp_path, model=bundle.model)
    parts = {"transform": bundle.eval_transform, "tokenizer": bundle.tokenizer}
    assert run(tmp_path, model=bundle.model, steps=1, **parts).steps == 1


def test_something_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="model is a int"):
        run(tmp_path, model=3)


@pytest.mark.parametrize(
    ("options", "targets"),
    [
        ({"strategy": "shared", "targets_per_batch": 6}, 20),
        ({"strategy": "walk", "walk_rows": 8}, 24),
        ({"strategy": "communities", "community_rows": 4}, 24),
        ({"schedule": {"epochs": 2, "rank_max": 1}, "order": "blocks", "block": 4}, 20),
    ],
)
def test_the_batches_are_those_of_the_strategy(tmp_path, options, targets):
    result = run(tmp_path / "run", **options)
    assert result.loader_stats["targets"] == targets
    assert (result.loader_stats["shared"] > 0) == ("strategy" in options)
    control = run(tmp_path / "control", control=True, **options)
    assert control.steps == result.steps
    rows = 8 * -(-ROWS // 8)
    assert control.loader_stats["emitted"] <= rows


def test_a_run_is_not_resumed_with_other_batches(tmp_path):
    run(tmp_path, steps=2, order="blocks", block=8)
    with pytest.raises(MismatchError, match="order was 'blocks', is 'rows'"):
        run(tmp_path, steps=2)
    with pytest.raises(MismatchError, match="block was 8, is 4"):
        run(tmp_path, steps=2, order="blocks", block=4)


class OneCaption(Colours):
    """Half of the rows have one caption."""

    def _read_caption(self, row: int) -> str:
        return "a colour" if row % 2 else super()._read_caption(row)


@pytest.mark.parametrize("handling", ["mask", "positive"])
def test_equal_captions_reach_the_loss_in_chunks_as_at_once(tmp_path, handling):
    losses = {}
    for name, options in {
        "separate": {"equal_captions": "separate"},
        "whole": {"equal_captions": handling},
        "chunks": {"equal_captions": handling, "accumulate": 3},
    }.items():
        result = run(tmp_path / name, data=OneCaption(), pairs=None, steps=2, **options)
        losses[name] = result.metrics["loss"]
        assert (result.metrics.get("equal_rows", 0) > 0) == (name != "separate")
    # Of captions with the same tokens, and so features, "positive" only orders the same terms anew.
    same = losses["whole"] == pytest.approx(losses["separate"], rel=1e-5)
    assert same == (handling == "positive")
    assert losses["chunks"] == pytest.approx(losses["whole"], rel=1e-5)


class SeveralCaptions(Colours):
    def _read_captions(self, row: int) -> list[str]:
        return [f"colour number {row}", f"shade {row}"] if row == 5 else [f"colour number {row}"]


def test_similar_captions_are_refused_where_the_store_knows_one_of_several(tmp_path):
    data = SeveralCaptions()
    with EmbeddingStore.create(tmp_path / "s", image_dim=4, text_dim=4) as writer:
        writer.append(list(data.keys), *np.random.default_rng(0).normal(size=(2, ROWS, 4)))
    store = EmbeddingStore.open(tmp_path / "s")
    options = {"data": data, "pairs": None, "hard_per_target": 0, "steps": 2, "store": store}
    with pytest.raises(InvalidArgumentError, match=r"similar_captions goes by .* 1 rows .*leave"):
        run(tmp_path / "a", similar_captions=0.9, **options)
    assert run(tmp_path / "b", similar_images=-0.9, **options).metrics["equal_rows"] > 0


def test_bounds_on_similarity_need_the_store(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"similar_captions is 0\.9 .*store is None"):
        run(tmp_path, similar_captions=0.9)
