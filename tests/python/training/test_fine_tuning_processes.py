"""Training by several processes (gloo, on the CPU), against one process with the whole batch."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from helip.common.errors import (
    CancelledError,
    Error,
    InvalidArgumentError,
    MismatchError,
    UnsupportedError,
)
from helip.common.processes import Processes, join_processes
from helip.models.bundle import ModelBundle, create_model
from helip.models.saving import save_model
from helip.training.checkpoints import read_checkpoint
from helip.training.fine_tuning import _own_rows
from helip.training.metrics import read_metrics
from helip.training.recipe import Recipe
from helip.training.result import NonFiniteLossError
from helip.training.trainer import Trainer
from support.process_group import run

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 500, "width": 16, "heads": 2, "layers": 2},
}
BATCHES, ROWS = 4, 8
HARD = [0, 0, 2, 2]  # of four rows
WRAPPERS = [f"{p}-{a}" for p in ("ddp", "fsdp") for a in (1, 2)]
CUT = ("ddp-2", "fsdp-2")  # resumed as well


class Loader:
    """Batches of eight rows, or this process's half of them; with global noise if asked."""

    def __init__(
        self,
        *,
        noise: bool = False,
        nan_at: int | None = None,
        less: int = 0,
        any_rank=False,
        empty_at: int | None = None,
    ) -> None:
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.share = ROWS // (dist.get_world_size() if dist.is_initialized() else 1)
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(40, 3, 16, 16, generator=generator, dtype=torch.float64)
        self.texts = torch.randint(1, 499, (40, 8), generator=generator)
        self.noise, self.nan_at, self.less, self.empty_at = noise, nan_at, less, empty_at
        self.resumes_on_other_ranks = any_rank
        self.epoch = self.next = 0

    def __len__(self) -> int:
        return BATCHES

    def set_epoch(self, epoch: int) -> None:
        self.epoch, self.next = epoch, 0

    def state_dict(self) -> dict:
        return {"epoch": self.epoch, "next": self.next, "rank": self.rank}

    def load_state_dict(self, state: dict) -> None:
        assert state["rank"] == (0 if self.resumes_on_other_ranks else self.rank)
        self.epoch, self.next = state["epoch"], state["next"]

    def __iter__(self):
        while self.next < BATCHES - self.less:
            order = torch.Generator().manual_seed(self.epoch)
            index = torch.randperm(40, generator=order)[ROWS * self.next :][:ROWS]
            index = index[self.share * self.rank :][: self.share]
            image = self.images[index] * (1 + 0.1 * torch.rand(()) if self.noise else 1)
            if self.next == self.nan_at:
                image[1] = math.nan
            self.next += 1
            if self.next - 1 == self.empty_at:
                yield {"index": index[:0], "target": index[:0]}
                continue
            target = torch.tensor(HARD * (self.share // 4))
            target += torch.arange(self.share) // 4 * 4
            text = self.texts[index]
            yield {"image": image, "text": text, "index": index, "target": target}


class Averages:
    """An exponential average of the weights, as a hook."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.kept = {name: value.clone() for name, value in model.state_dict().items()}

    def after_step(self, model: torch.nn.Module, step: int) -> dict[str, float]:
        for name, value in model.state_dict().items():
            self.kept[name] = self.kept[name].lerp(value, 0.25)
        return {"averaged": float(step)}

    def state_dict(self) -> dict:
        return self.kept

    def load_state_dict(self, state: dict) -> None:
        self.kept = {name: value.clone() for name, value in state.items()}


def bundle(seed: int = 3, dropout: float = 0.0) -> ModelBundle:
    made = create_model("tiny", config=CONFIG, from_scratch=True, seed=seed)
    made.model.double()
    if dropout:  # after each block of the image tower
        for block in made.model.visual.transformer.resblocks:
            block.mlp.append(torch.nn.Dropout(dropout))
    return made


def trainer(out: Path, *, model: ModelBundle | None = None, averages: bool = False, **options):
    loader = options.pop("loader", None) or Loader()
    recipe = options.pop("recipe", None) or Recipe(lr=1e-2, warmup=2, seed=5, precision="float32")
    options = {"device": "cpu", "progress": False, "checkpoint_every": 3, "keep": 9, **options}
    model = model or bundle()
    hooks = {"ema": Averages(model.model)} if averages else {}
    return Trainer(model, loader, out=out, recipe=recipe, hooks=hooks, **options)


def stop_after(step: int):
    calls = itertools.count(1)
    return lambda: next(calls) == step


def final(out: Path) -> tuple[dict, dict]:
    last = read_checkpoint(sorted((out / "checkpoints").iterdir())[-1])
    return last.tensors["model"], last.tensors["optimizer"]


def several_runs(rank: int, folder: Path) -> None:
    """Plain runs by each wrapper, with cached features too, and one of each that is resumed."""
    for parallel, accumulate in itertools.product(("ddp", "fsdp"), (1, 2)):
        name = f"{parallel}-{accumulate}"
        options = {"parallel": parallel, "accumulate": accumulate}
        trainer(folder / name, **options).run()
        if name not in CUT:
            continue
        options |= {"grad_checkpointing": True}
        for out, stop in ((f"{name}-whole", None), (f"{name}-cut", 6)):
            noisy = lambda: {"loader": Loader(noise=True), "model": bundle(dropout=0.3)}  # noqa: E731
            if stop:
                with pytest.raises(CancelledError, match="stopped after step 6 of 8"):
                    # One process alone is asked to stop; the others hear of it with the next batch.
                    asked = stop_after(stop - 1) if rank else None
                    trainer(folder / out, **options, **noisy(), should_stop=asked).run()
            result = trainer(folder / out, **options, **noisy()).run()
            assert result.resumed_from == (stop or 0)
            assert result.steps == 8
    trainer(folder / "empty", loader=Loader(empty_at=1 if rank else None)).run()
    model = bundle()
    with pytest.raises(CancelledError, match="the same call with a model made anew goes on"):
        cut(folder / "two, then one", parallel="fsdp", model=model)
    with pytest.raises(UnsupportedError, match="in parts since a run of this process"):
        trainer(folder / "two, then one", model=model)
    assert trainer(folder / "one, then two", loader=Loader(any_rank=True)).run().resumed_from == 6


def cut(out: Path, **options) -> None:
    """A run that is stopped in its second epoch, with batches for any number of processes."""
    asked = 5 if dist.is_initialized() else 6
    trainer(out, loader=Loader(any_rank=True), should_stop=stop_after(asked), **options).run()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, one_thread):
    """The folder of `several_runs`, and ``one``: the same by one process."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.raises(CancelledError):
        cut(folder / "one, then two")
    run(several_runs, folder, folder)
    trainer(folder / "one").run()
    again = trainer(folder / "two, then one", loader=Loader(any_rank=True)).run()
    assert again.resumed_from == 6
    return folder


def test_a_batch_without_a_row_on_one_process_is_passed_over_by_all(runs, tmp_path):
    assert trainer(tmp_path / "one", loader=Loader(empty_at=1)).run().steps == 8
    for mine, right in zip(final(runs / "empty"), final(tmp_path / "one"), strict=True):
        for key, value in right.items():
            torch.testing.assert_close(mine[key], value, rtol=1e-7, atol=1e-9, msg=key)


@pytest.mark.parametrize("name", [*WRAPPERS, "two, then one", "one, then two"])
def test_two_processes_train_the_weights_of_one(runs, name):
    ours, theirs = final(runs / name), final(runs / "one")
    for mine, right in zip(ours, theirs, strict=True):
        assert mine.keys() == right.keys()
        for key, value in right.items():
            torch.testing.assert_close(mine[key], value, rtol=1e-7, atol=1e-9, msg=key)


@pytest.mark.parametrize("name", WRAPPERS)
def test_rank_0_writes_the_metrics_of_the_whole_batch(runs, name):
    ours, theirs = (read_metrics(runs / n / "metrics.jsonl") for n in (name, "one"))
    assert [row["step"] for row in ours] == list(range(1, 9))
    compared = ["loss", "clip", "margin", "violated", "grad_norm", "logit_scale"]
    compared += ["hard_similarity", "ordinary_similarity"]
    for mine, right in zip(ours, theirs, strict=True):
        assert [mine[n] for n in compared] == pytest.approx([right[n] for n in compared], rel=1e-5)


@pytest.mark.parametrize("name", CUT)
def test_a_run_that_was_cut_in_mid_epoch_ends_with_the_same_bits(runs, name):
    for ours, theirs in zip(
        final(runs / f"{name}-cut"), final(runs / f"{name}-whole"), strict=True
    ):
        assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    state = json.loads((runs / f"{name}-cut/checkpoints/step-000006/state.json").read_text())
    assert len(state["state"]["ranks"]) == 2


def test_a_checkpoint_of_several_processes_opens_as_a_model(runs):
    model = create_model(runs / "fsdp-1" / "checkpoints" / "step-000008").model
    weights, _ = final(runs / "fsdp-1")
    assert all(
        torch.equal(value, weights[name].float()) for name, value in model.state_dict().items()
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("ddp-1", "processes was 2, is 1"), ("fsdp-2", "accumulate was 2, is 1.*parallel was 'fsdp'")],
)
def test_a_loader_that_cannot_go_on_with_other_ranks_is_not_resumed_by_them(runs, name, message):
    with pytest.raises(MismatchError, match=message):
        trainer(runs / name).run()


def refusals(rank: int, folder: Path) -> list[str]:
    """What goes wrong on one process, and what both of them say."""
    messages = []

    def note(kind, work):
        with pytest.raises(kind) as caught:
            work()
        messages.append(str(caught.value))

    note(InvalidArgumentError, lambda: Processes().share(9, "batch_size"))
    nan = Loader(nan_at=2 if rank else None)
    note(NonFiniteLossError, trainer(folder / "nan", loader=nan).run)
    note(Error, trainer(folder / "short", loader=Loader(less=rank)).run)
    note(InvalidArgumentError, lambda: trainer(folder / "x", parallel="zero"))
    muon = {"recipe": Recipe(optimizer="muon"), "parallel": "fsdp"}
    note(UnsupportedError, lambda: trainer(folder / "x", **muon))
    note(InvalidArgumentError, lambda: _own_rows(4, 2))

    def fails_on_rank_0():
        raise Error("the disk is full")

    note(Error, lambda: Processes().leader_does(fails_on_rank_0))
    assert Processes().exchange({"rank": rank, "é": "x" * 9 * rank}) == [
        {"rank": 0, "é": ""},
        {"rank": 1, "é": "x" * 9},
    ]
    return messages


def test_what_goes_wrong_on_one_process_is_said_by_all(tmp_path):
    first, second = run(refusals, tmp_path, tmp_path)
    for messages in (first, second):
        share, nan, short, parallel, parts, few, _ = messages
        assert share == "batch_size is 9, must be a multiple of the 2 processes; take 8 or 10"
        assert "step 3: loss nan" in nan
        assert "(8 in all" in nan
        assert "ranks [1] end after 3 batches of epoch 0" in short
        assert "parallel is 'zero'" in parallel
        assert "optimizer='muon' has not been made to work with parallel='fsdp'" in parts
        assert "leaves each of 2 processes 2 rows, must be at least 6" in few
    assert first[-1] == "the disk is full"
    assert second[-1] == "rank 0 failed: the disk is full"
    rows = read_metrics(tmp_path / "nan" / "metrics.jsonl")[-1]["rows"]
    assert len(set(rows)) == 8


@pytest.mark.parametrize("accumulate", [1, 3])
def test_one_process_resumes_with_hooks_and_chunks_to_the_same_bits(tmp_path, accumulate):
    def make(out, **options):
        options |= {"loader": Loader(noise=True), "model": bundle(dropout=0.3)}
        return trainer(tmp_path / out, averages=True, accumulate=accumulate, **options)

    whole = make("whole")
    whole.run()
    with pytest.raises(CancelledError):
        make("cut", should_stop=stop_after(6)).run()
    cut = make("cut")
    assert cut.run().resumed_from == 6
    for ours, theirs in zip(final(tmp_path / "cut"), final(tmp_path / "whole"), strict=True):
        assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    kept, expected = cut.hooks["ema"].kept, whole.hooks["ema"].kept
    assert all(torch.equal(kept[key], value) for key, value in expected.items())
    assert not torch.equal(kept["logit_scale"], whole.model.logit_scale)
    path = tmp_path / "cut" / "checkpoints" / "step-000008"
    assert torch.equal(read_checkpoint(path).tensors["ema"]["logit_scale"], kept["logit_scale"])
    assert read_metrics(tmp_path / "cut" / "metrics.jsonl")[-1]["averaged"] == 8


def test_chunks_train_the_weights_of_the_whole_batch(tmp_path):
    for accumulate in (1, 3):
        trainer(tmp_path / str(accumulate), accumulate=accumulate).run()
    ours, theirs = final(tmp_path / "3")[0], final(tmp_path / "1")[0]
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-7, atol=1e-9, msg=key)


def distilled(out: Path, seed: int = 3, **options) -> None:
    recipe = Recipe(lr=1e-2, warmup=2, seed=5, precision="float32", distill=2.0)
    trainer(out, recipe=recipe, model=bundle(seed=seed), **options).run()


def distilled_by_two(rank: int, folder: Path) -> None:
    for parallel in ("ddp", "fsdp"):
        # All start as rank 0 does, and so does the teacher.
        distilled(folder / parallel, seed=3 + rank, parallel=parallel)
        # Goes on with what taught, whatever the models are by then.
        distilled(folder / parallel, seed=8 + rank, parallel=parallel)


@pytest.mark.slow
def test_two_processes_distil_as_one_does(tmp_path):
    run(distilled_by_two, tmp_path, tmp_path)
    distilled(tmp_path / "one")
    for name in ("ddp", "fsdp"):
        ours, theirs = (final(tmp_path / each)[0] for each in (name, "one"))
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-7, atol=1e-9, msg=key)
        mine, right = (
            [row["distill"] for row in read_metrics(tmp_path / each / "metrics.jsonl")]
            for each in (name, "one")
        )
        assert mine == pytest.approx(right, rel=1e-5, abs=1e-9)
        assert right[-1] > 1e-6


def test_without_torchrun_nobody_is_met(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_processes("cpu") as device:
        assert device == torch.device("cpu")
        assert not dist.is_initialized()
        assert Processes().count == 1


def test_processes_that_have_not_met_are_not_trained_each_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InvalidArgumentError, match="torchrun started 2 processes, and they have"):
        trainer(tmp_path)


@pytest.mark.slow
def test_the_command_trains_under_torchrun(tmp_path):
    from support.train_samples import Colours, table

    data = Colours()
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    lines = ["filepath,title"]
    for row in range(len(data)):
        data._read_image(row).save(pictures / f"{row:02d}.png")
        lines.append(f"pictures/{row:02d}.png,{data._read_caption(row)}")
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    import helip

    opened = helip.open_dataset(tmp_path / "data.csv")
    table(opened).save(tmp_path / "pairs")
    text = {**CONFIG["text_cfg"], "vocab_size": 49408}  # of the tokenizer
    made = create_model("tiny", config={**CONFIG, "text_cfg": text}, from_scratch=True, seed=3)
    save_model(made, tmp_path / "model")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command = [*torchrun, "-m", "helip", "train", "data.csv", "--model", "model"]
    command += ["--out", "run", "--pairs", "pairs", "--epochs", "1", "--quiet", "--json"]
    command += ["--parallel", "fsdp", "--accumulate", "2", "--device", "cpu"]
    command += ["--strategy", "uniform"]
    done = subprocess.run(
        [*command, "--batch-size", "8"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 5  # 20 targets, 4 a batch; one process prints
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert all(row["margin"] > 0 for row in rows)
    refused = subprocess.run(
        [*command, "--batch-size", "9"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "--batch-size is 9, must be a multiple of the 2 processes" in refused.stderr
