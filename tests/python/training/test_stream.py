"""Runs that mine while they train."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import helip
from helip.common.errors import CancelledError, CorruptError, InvalidArgumentError, MismatchError
from helip.mining.streaming import StreamingMiner
from helip.models.bundle import create_model
from helip.models.run_folder import list_checkpoints
from helip.training.checkpoints import read_checkpoint
from helip.training.metrics import read_metrics
from helip.training.trainer import Trainer
from support.streaming_samples import ROWS, loader_of, whole_rows
from support.train_samples import CONFIG, Colours

pytestmark = pytest.mark.usefixtures("one_thread")


def run(out, **options):
    options.setdefault("model", create_model("tiny", config=CONFIG, from_scratch=True, seed=3))
    options.setdefault("pairs", StreamingMiner(memory=40, k=5, image_max=1.0, text_max=1.0))
    defaults = {"batch_size": 12, "device": "cpu", "progress": False, "lr": 1e-3, "epochs": 2}
    return helip.train(data=Colours(ROWS), out=out, **{**defaults, **options})


def frozen(batch):
    """Embeddings of encoders that are not trained."""
    image, text = whole_rows()
    return torch.from_numpy(image[batch["index"]]), text[batch["index"]]


def same_weights(one, other) -> bool:
    left, right = one.model.model.state_dict(), other.model.model.state_dict()
    return all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.mark.parametrize("embed", [None, frozen])
def test_a_run_mines_while_it_trains_and_tells_what_it_knows(tmp_path, embed):
    miner = StreamingMiner(memory=40, k=5, image_max=1.0, text_max=1.0)
    result = run(tmp_path, pairs=miner, embed=embed)
    assert result.steps == 20
    rows = read_metrics(tmp_path / "metrics.jsonl")
    for row in rows:
        assert row["mining_seconds"] >= 0
    known = [row["known_targets"] for row in rows]
    assert known == sorted(known) and known[-1] == miner.pairs.known > ROWS / 2
    assert rows[-1]["mean_pool"] == miner.pairs.mean_pool > 1
    assert [row["plain_targets"] for row in rows[:10]] == sorted(
        row["plain_targets"] for row in rows[:10]
    )
    assert rows[9]["plain_targets"] > rows[-1]["plain_targets"]  # of the first, the second epoch
    assert rows[0]["margin"] == 0 < max(row["margin"] for row in rows)
    assert result.loader_stats["hard_pairs"] > 0
    assert len(miner) == 40
    wide = miner.state_dict()["image"].shape[1]
    assert wide == (16 if embed is None else 19)


def test_frozen_embeddings_find_what_mining_them_finds(tmp_path):
    miner = StreamingMiner(memory=ROWS, k=5)
    run(tmp_path, pairs=miner, embed=frozen, epochs=2)
    image, text = whole_rows()
    table = helip.mine(image=image, text=text, k=5, device="cpu", progress=False)
    # Sorted, for two scores may be one in float32.
    found = miner.pairs.pools(range(ROWS)).ids
    np.testing.assert_array_equal(np.sort(found), np.sort(table.ids))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [4, 10, 13])  # in the first epoch, at its end, in the second
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, step, workers):
    calls = iter(range(1, 100))
    miners = [StreamingMiner(memory=40, image_max=1.0, text_max=1.0) for _ in range(3)]
    whole = run(tmp_path / "whole", pairs=miners[0], workers=workers)
    with pytest.raises(CancelledError, match=f"stopped after step {step} of 20"):
        run(
            tmp_path / "cut",
            pairs=miners[1],
            workers=workers,
            should_stop=lambda: next(calls) == step,
        )
    resumed = run(tmp_path / "cut", pairs=miners[2], workers=workers)
    assert resumed.resumed_from == step
    assert same_weights(resumed, whole)
    assert resumed.loader_stats == whole.loader_stats
    for name, value in miners[0].state_dict().items():
        assert value.tobytes() == miners[2].state_dict()[name].tobytes(), name


def test_the_state_of_the_miner_is_a_file_of_the_checkpoint_and_damage_is_found(tmp_path):
    miner = StreamingMiner(memory=40)
    run(tmp_path, pairs=miner, steps=5)
    path = list_checkpoints(tmp_path / "checkpoints")[0][1]
    saved = load_file(path / "streaming.safetensors")
    for name, value in miner.state_dict().items():
        assert value.tobytes() == saved[name].tobytes(), name
    content = bytearray((path / "streaming.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "streaming.safetensors").write_bytes(bytes(content))
    with pytest.raises(CorruptError, match=r"streaming.safetensors does not match"):
        read_checkpoint(path)


def test_a_run_is_not_resumed_with_another_miner(tmp_path):
    run(tmp_path, steps=2)
    with pytest.raises(MismatchError, match="streaming was"):
        run(tmp_path, steps=2, pairs=StreamingMiner(memory=41, k=5, image_max=1.0, text_max=1.0))
    with pytest.raises(MismatchError, match="streaming was"):
        run(tmp_path, steps=2, embed=frozen)
    with pytest.raises(MismatchError, match="streaming was"):
        run(tmp_path, steps=2, pairs=None)


def test_the_control_of_a_streaming_run_takes_as_many_steps_without_mining(tmp_path):
    miner = StreamingMiner(memory=40)
    result = run(tmp_path, pairs=miner, control=True)
    assert result.steps == 20
    assert result.loader_stats["hard_pairs"] == len(miner) == 0
    assert not list(tmp_path.glob("checkpoints/*/streaming.safetensors"))


def test_embed_without_a_miner_is_refused(tmp_path):
    for given in ({"pairs": None}, {"pairs": "a.pairs", "control": True}):
        with pytest.raises(InvalidArgumentError, match=r"pairs is a (NoneType|str)"):
            run(tmp_path, embed=frozen, **given)
    bundle = create_model("tiny", config=CONFIG, from_scratch=True, seed=3)
    with pytest.raises(InvalidArgumentError, match="pass a StreamingMiner"):
        Trainer(bundle, loader_of(StreamingMiner()), out=tmp_path, embed=frozen)


def test_a_trainer_with_a_loss_of_its_own_must_keep_the_features(tmp_path):
    class Own(Trainer):
        def losses(self, encoded, batch):
            scale = encoded["logit_scale"]
            features = encoded["image_features"], encoded["text_features"]
            return {**self.loss(*features, scale, batch["target"]), "logit_scale": scale}

    bundle = create_model("tiny", config=CONFIG, from_scratch=True, seed=3)
    parts = {"transform": bundle.train_transform, "tokenizer": bundle.tokenizer}
    options = {"out": tmp_path, "device": "cpu", "progress": False, "steps": 2}
    miner = StreamingMiner()
    with pytest.raises(InvalidArgumentError, match="kept no features"):
        Own(bundle, loader_of(miner, **parts), miner=miner, **options).run()
    assert Own(bundle, loader_of(miner, **parts), miner=miner, embed=frozen, **options).run()
