"""A loss of one's own in helip.train: an object with one call does whatever a built-in one does."""

from __future__ import annotations

import json
import os
import traceback

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

import helip
from helip.common.errors import CancelledError, InvalidArgumentError, MismatchError
from helip.losses.helip_loss import HelipLoss
from helip.losses.options import LOSSES, LossOptions
from helip.models.bundle import create_model
from helip.store.embedding_store import EmbeddingStore
from helip.training.metrics import read_metrics
from helip.training.recipe import Recipe
from helip.verdicts import Verdicts
from support.loop_samples import FakeLoader, trainer, weights
from support.process_group import run as run_processes
from support.train_samples import CONFIG, Colours, table
from support.tune_samples import same

pytestmark = pytest.mark.usefixtures("one_thread")


def run(out, *, action=helip.train, **options):
    data = Colours()
    call = {
        "model": create_model("tiny", config=CONFIG, from_scratch=True, seed=3),
        "data": data, "pairs": table(data), "batch_size": 8, "device": "cpu", "progress": False,
        "lr": 1e-3, "precision": "float32", "loss": contrast, **options,
    }  # fmt: skip
    return action(out=out, **call)


def contrast(image, text, scale, target, *, hard_rows, groups):
    """CLIP's loss of one batch, and how many hard pairs it holds."""
    image, text = F.normalize(image), F.normalize(text)
    logits = scale * image @ text.T
    labels = torch.arange(len(logits), device=logits.device)
    loss = 0.5 * (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels))
    there = 0 if hard_rows is None else (hard_rows >= 0).sum()
    return {"loss": loss, "hard": there, "kinds": 0 if groups is None else groups.shape[1]}


def without_scale(image, text, scale, target, *, hard_rows, groups):
    return contrast(image, text, 10.0, target, hard_rows=hard_rows, groups=groups)


class Remembering(nn.Module):
    """Weights its loss with a count of the calls so far, which it keeps."""

    def __init__(self, power: float = 0.5) -> None:
        super().__init__()
        self.options = {"power": power}
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, image, text, scale, target, *, hard_rows, groups):
        self.calls += 1
        out = contrast(image, text, scale, target, hard_rows=hard_rows, groups=groups)
        return {"loss": out["loss"] * self.calls ** self.options["power"], "calls": self.calls}


def test_what_it_returns_is_trained_on_and_written_down(tmp_path):
    result = run(tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[0]["hard"] > 0 and not rows[0].keys() & {"clip", "margin"}
    plain = run(tmp_path / "clip", loss="clip", gamma=0.0, equal_captions="separate")
    assert rows[-1]["loss"] == pytest.approx(plain.metrics["loss"], rel=1e-4)
    options = json.loads((result.checkpoint / "state.json").read_text())["state"]["options"]
    assert options["loss"] == f"{__name__}:contrast"
    assert not options.keys() & LossOptions().as_dict().keys()


def test_it_is_given_the_embeddings_of_the_store(tmp_path):
    data, seen = Colours(), []
    embedded = np.random.default_rng(0).normal(size=(2, len(data), 4))
    with EmbeddingStore.create(tmp_path / "store", image_dim=4, text_dim=4) as writer:
        writer.append(list(data.keys), *embedded)

    def loss(image, text, scale, target, *, hard_rows, groups, embeddings):
        seen.append({kind: rows.shape for kind, rows in embeddings.items()})
        return contrast(image, text, scale, target, hard_rows=hard_rows, groups=groups)

    run(tmp_path / "function", loss=loss, store=tmp_path / "store", steps=1)
    assert seen[-1] == {"image": (8, 4), "caption": (8, 4)}
    near = HelipLoss(similar_images=-0.9)
    result = run(tmp_path / "object", loss=near, store=tmp_path / "store", steps=1)
    assert result.metrics["equal_rows"] > 0


def test_an_object_of_a_built_in_class_is_that_loss(tmp_path):
    named = run(tmp_path / "named", loss="clip", gamma=0.3, epochs=1)
    for place, loss in (("object", HelipLoss(gamma=0.3)), ("text", LOSSES["clip"])):
        given = run(tmp_path / place, loss=loss, gamma=0.3, epochs=1)
        assert same(weights(named.model), weights(given.model))


def test_at_most_ten_frames_lie_between_train_and_a_loss(tmp_path):
    frames = []
    package = os.path.dirname(helip.__file__) + os.sep

    def loss(image, text, scale, target, *, hard_rows, groups):
        frames[:] = [f.name for f in traceback.extract_stack() if f.filename.startswith(package)]
        return contrast(image, text, scale, target, hard_rows=hard_rows, groups=groups)

    for accumulate in (1, 2):
        run(tmp_path / str(accumulate), loss=loss, steps=1, accumulate=accumulate)
        assert frames[1] == "train" and len(frames) <= 10, frames


def test_the_control_gives_it_batches_without_hard_pairs(tmp_path):
    rows = [run(tmp_path / str(control), control=control).metrics for control in (False, True)]
    assert rows[0]["step"] == rows[1]["step"]
    assert rows[0]["hard"] > rows[1]["hard"] == 0


def test_verdicts_validation_and_a_named_recipe_work_as_with_any_loss(tmp_path):
    with Verdicts.open(tmp_path / "verdicts", pairs=table(Colours())) as verdicts:
        verdicts.add(0, 1, "false negative", person="Ada")
    plain = run(tmp_path / "plain", epochs=1)
    result = run(
        tmp_path / "run", epochs=1, verdicts=tmp_path / "verdicts", recipe="communities",
        validate=lambda model: {"one": 1.0}, eval_every=1,
    )  # fmt: skip
    assert result.validation["value"] == 1.0
    assert result.metrics["kinds"] > plain.metrics["kinds"]  # of groups: what people took out


@pytest.mark.parametrize("recipe", [{}, {"precision": "bfloat16"}, {"distill": 1.0}])
def test_a_batch_in_parts_gives_the_same(tmp_path, recipe):
    found = {}
    for accumulate in (1, 3):
        given = Recipe(lr=1e-2, loss=contrast, **{"precision": "float32", **recipe})
        out = tmp_path / str(accumulate)
        trainer(out, recipe=given, accumulate=accumulate, steps=3).run()
        found[accumulate] = [row["loss"] for row in read_metrics(out / "metrics.jsonl")]
    assert found[3] == pytest.approx(found[1], rel=3e-2 if "precision" in recipe else 1e-4)


def test_a_resumed_run_has_the_state_of_the_loss(tmp_path):
    whole = run(tmp_path / "whole", loss=Remembering())
    assert whole.metrics["calls"] == whole.steps
    calls = iter(range(1, 100))
    with pytest.raises(CancelledError):
        run(tmp_path / "cut", loss=Remembering(), should_stop=lambda: next(calls) == 3)
    resumed = run(tmp_path / "cut", loss=Remembering())
    assert resumed.resumed_from == 3 and resumed.metrics["loss"] == whole.metrics["loss"]
    assert same(weights(whole.model), weights(resumed.model))
    assert (resumed.checkpoint / "loss.safetensors").is_file()


def test_a_plan_and_warm_statistics_leave_its_state_as_it_was(tmp_path):
    loss = Remembering()
    run(None, loss=loss, steps=1, action=helip.plan_training)
    assert loss.calls == 0
    assert run(tmp_path, loss=loss, steps=2, warm_statistics=3).metrics["calls"] == 2


def test_a_run_is_not_resumed_with_another_loss(tmp_path):
    run(tmp_path, loss=Remembering(), steps=1)
    with pytest.raises(MismatchError, match=r"loss was '.*:Remembering', is '.*:contrast'"):
        run(tmp_path, steps=1)
    with pytest.raises(MismatchError, match=r"loss_options was {'power': 0.5}, is {'power': 1.0}"):
        run(tmp_path, loss=Remembering(1.0), steps=1)


def test_a_loss_that_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    for loss, said in (
        ("clop", "loss is 'clop', must be one of 'clip', 'siglip'"),
        ("absent.module:Loss", "cannot be imported"),
        (lambda image, text: {}, "must be an object that is called as loss"),
    ):
        with pytest.raises(InvalidArgumentError, match=said):
            run(tmp_path / "run", loss=loss, model="no model", data=tmp_path / "no data")
    assert not (tmp_path / "run").exists()


def test_no_number_of_its_own_is_written_over(tmp_path):
    line = run(tmp_path / "plain", steps=1).metrics
    for name in line.keys() - {"loss", "hard", "kinds"}:

        def loss(*rows, name=name, **named):
            return {**contrast(*rows, **named), name: 7.0}

        with pytest.raises(InvalidArgumentError, match=f"{name}', which the metrics have already"):
            run(tmp_path / name, loss=loss, steps=1)


class Halves(FakeLoader):
    """Each process's part of a batch: 2 rows and 6."""

    def _batches(self):
        from helip.common.processes import Processes

        processes = Processes()
        parts = (slice(0, 2), slice(2, 8)) if processes.count > 1 else (slice(0, 8),)
        for number in range(len(self)):
            index = torch.randperm(40, generator=torch.Generator().manual_seed(number))[:8]
            index = index[parts[processes.rank]]
            targets = torch.arange(len(index)) // 2 * 2
            yield {"image": self.images[index], "text": self.texts[index], "index": index,
                   "target": targets}  # fmt: skip


def run_of_halves(out, loss):
    recipe = Recipe(lr=1e-3, loss=loss, precision="float32")
    result = trainer(out, loader=Halves(), recipe=recipe, steps=3).run()
    return result.metrics["loss"], weights(result.model)


def of_processes(rank, folder, loss):
    return run_of_halves(folder / "two", loss)


def named_by_rank(image, text, scale, target, *, hard_rows, groups):
    out = contrast(image, text, scale, target, hard_rows=hard_rows, groups=groups)
    return {**out, "leads": 1.0} if dist.get_rank() == 0 else out


def of_other_names(rank, folder):
    with pytest.raises(InvalidArgumentError, match="'leads' must be on all processes or on none"):
        run_of_halves(folder / "two", named_by_rank)


def test_names_that_differ_between_processes_are_refused(tmp_path):
    run_processes(of_other_names, tmp_path, tmp_path)


@pytest.mark.parametrize("given", [contrast, without_scale])
def test_it_sees_the_rows_of_all_processes(tmp_path, given):
    whole, expected = run_of_halves(tmp_path / "one", given)
    for loss, found in run_processes(of_processes, tmp_path, tmp_path, given):
        assert loss == pytest.approx(whole, rel=1e-5)
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=2e-4, msg=name)
