"""open_clip's own training with helip's batches and loss."""

from __future__ import annotations

import argparse
import itertools

import pytest
import torch

from helip.common.errors import InvalidArgumentError, SampleError
from helip.integrations.open_clip import HardPairSource, OpenClipLoss
from helip.integrations.open_clip_program import has_tasks, open_clip_program
from helip.loading.loader import HardPairLoader
from helip.losses.equal import groups_of
from helip.losses.helip_loss import HelipLoss
from helip.models.bundle import create_model
from support.process_group import run as run_processes
from support.train_samples import CONFIG, Colours, table

pytestmark = pytest.mark.usefixtures("one_thread")

TASKS = has_tasks(open_clip_program())  # whether open_clip trains a task, as its main branch does


def bundle():
    return create_model("tiny", config=CONFIG, from_scratch=True, seed=3)


def source_of(made, strategy="uniform", data=None, **options) -> HardPairSource:
    data = data or Colours()
    loader = HardPairLoader(
        data,
        table(data),
        batch_size=8,
        strategy=strategy,
        transform=made.eval_transform,
        tokenizer=made.tokenizer,
    )
    return HardPairSource(loader, **options)


class Damaged(Colours):
    """One of whose pictures cannot be read."""

    def _read_image(self, row):
        if row == 5:
            raise SampleError("not a picture", key=self.keys[row], reason="unreadable_image")
        return super()._read_image(row)


def args_of(**options) -> argparse.Namespace:
    plain = {
        "device": "cpu",
        "precision": "fp32",
        "accum_freq": 1,
        "distill": False,
        "skip_scheduler": True,
        "horovod": False,
        "grad_clip_norm": None,
        "rank": 0,
        "local_rank": 0,
        "world_size": 1,
        "distributed": False,
        "log_every_n_steps": 1,
        "batch_size": 8,
        "wandb": False,
    }
    return argparse.Namespace(**{**plain, **options})


def open_clips_epoch(model, source, loss, optimizer, args) -> None:
    """An epoch of open_clip's loop, in the form that is installed."""
    from open_clip_train import train

    if TASKS:
        from open_clip import CLIPTask

        state = train.TrainState(task=CLIPTask(model, loss=loss), optimizer=optimizer)
        train.train_one_epoch(state, {"train": source}, args)
    else:
        train.train_one_epoch(model, {"train": source}, loss, 0, optimizer, None, None, None, args)


def joined_hard_rows(step) -> torch.Tensor | None:
    """Of batches one after the other; None where they are drawn."""
    if "hard_rows" not in step[0]:
        return None
    most = max(batch["hard_rows"].shape[1] for batch in step)
    rows, begin = [], 0
    for batch in step:
        for places in batch["hard_rows"].tolist():
            own = [place + begin for place in places if place >= 0]
            rows.append(own + [-1] * (most - len(own)))
        begin += len(batch["index"])
    return torch.tensor(rows)


@pytest.mark.parametrize("strategy", ["uniform", "communities"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_open_clips_loop_takes_the_steps_of_a_loop_of_ones_own(accumulate, strategy):
    made, own = bundle(), bundle()
    made.model.output_dict = True
    source = source_of(made, strategy, accumulate=accumulate, named=TASKS)
    loss = OpenClipLoss(source, gamma=0.7)
    # Only the towers: with --accum-freq open_clip counts the temperature's gradient several times.
    optimizers = []
    for model in (made.model, own.model):
        model.logit_scale.requires_grad_(False)
        weights = [p for p in model.parameters() if p.requires_grad]
        optimizers.append(torch.optim.SGD(weights, lr=0.1))
    args = args_of(accum_freq=accumulate)
    open_clips_epoch(made.model, source, loss, optimizers[0], args)

    own.model.train()
    batches = iter(source_of(own, strategy).loader)
    while step := list(itertools.islice(batches, accumulate)):
        if len(step) < accumulate:
            break  # open_clip leaves a rest
        optimizers[1].zero_grad()
        features = [own.model(batch["image"], batch["text"]) for batch in step]
        rows = [0, *(len(batch["index"]) for batch in step)]
        target = torch.cat([batch["target"] + rows[i] for i, batch in enumerate(step)])
        image, text = (torch.cat([f[i] for f in features]) for i in (0, 1))
        groups = torch.cat([groups_of(batch) for batch in step])
        hard_rows = joined_hard_rows(step)
        assert (hard_rows is None) == (strategy == "uniform")
        out = HelipLoss(gamma=0.7)(
            image, text, features[0][2], target, groups=groups, hard_rows=hard_rows
        )
        out["loss"].backward()
        optimizers[1].step()
    for ours, theirs in zip(made.model.parameters(), own.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_without_hard_pairs_and_gamma_the_loss_is_open_clips():
    from open_clip.loss import ClipLoss

    made = bundle()
    source = source_of(made)
    images, texts = next(iter(source))
    image, text, scale = made.model(images, texts)
    ours = OpenClipLoss(source, gamma=0.0)(image, text, scale)
    torch.testing.assert_close(ours, ClipLoss()(image, text, scale))


def test_the_terms_add_up_to_the_loss():
    made = bundle()
    source = source_of(made)
    for name in ("clip", "siglip"):
        loss = OpenClipLoss(source, loss=name, gamma=0.5)
        images, texts = next(iter(source))
        image, text, scale = made.model(images, texts)
        bias = torch.tensor(-5.0)
        terms = loss(image, text, scale, bias, output_dict=True)
        assert terms.keys() == {"contrastive_loss", "margin_loss"}
        assert terms["margin_loss"] > 0
        torch.testing.assert_close(sum(terms.values()), loss(image, text, scale, bias))


def test_a_loss_of_ones_own_is_given_what_the_source_knows():
    made, seen = bundle(), {}

    def own(image, text, scale, target, *, hard_rows, groups, logit_bias):
        seen.update(target=target, hard_rows=hard_rows, groups=groups, bias=logit_bias)
        return {"loss": scale * image.square().sum(), "more": 3.0}

    source = source_of(made)
    images, texts = next(iter(source))
    image, text, scale = made.model(images, texts)
    loss = OpenClipLoss(source, loss=own)
    bias = torch.tensor(-5.0)
    terms = loss(image, text, scale, bias, output_dict=True)
    assert terms.keys() == {"contrastive_loss"}  # open_clip trains on the sum of what it gets
    torch.testing.assert_close(terms["contrastive_loss"], loss(image, text, scale, bias))
    assert torch.equal(seen["target"], source.given(len(image))["target"]) and seen["bias"] is bias
    assert seen["groups"].shape[0] == len(image)
    with pytest.raises(InvalidArgumentError, match="must be an object that is called as loss"):
        OpenClipLoss(source, loss=lambda image, text: 0)
    with pytest.raises(InvalidArgumentError, match="loss is 'clop', must be one of"):
        OpenClipLoss(source, loss="clop")


def test_a_source_tells_what_open_clip_asks_and_follows_its_epochs():
    source = source_of(bundle())
    assert source.dataloader is source
    assert source.num_batches == 5
    assert source.num_samples == 40
    source.set_epoch(3)
    first = [images for images, _ in source]
    source.set_epoch(3)
    again = [images for images, _ in source]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_batches_that_make_no_whole_step_are_left_out():
    source = source_of(bundle(), accumulate=2)
    assert len(source.loader) == 5
    assert len(source) == source.num_batches == len(list(source)) == 4
    assert source.num_samples == 32
    assert len(list(source)) == 4  # and the source is as good as new


def test_a_task_gets_its_batches_by_name():
    made = bundle()
    named = next(iter(source_of(made, named=True)))
    image, text = next(iter(source_of(made)))
    assert named.keys() == {"image", "text"}
    assert torch.equal(named["image"], image) and torch.equal(named["text"], text)


def test_features_of_other_rows_than_those_given_last_are_refused():
    source = source_of(bundle())
    next(iter(source))
    with pytest.raises(InvalidArgumentError, match=r"the loss got 6 rows, but .* have \[8\]"):
        source.given(6)
    with pytest.raises(InvalidArgumentError, match="the loss got 16 rows"):
        source.given(16)


def replicas(rank: int) -> dict:
    """An epoch of open_clip's loop on one of two processes."""
    made = bundle()
    made.model.output_dict = True
    source = source_of(made, named=TASKS)
    model = torch.nn.parallel.DistributedDataParallel(made.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    args = args_of(rank=rank, world_size=2, distributed=True)
    open_clips_epoch(model, source, OpenClipLoss(source), optimizer, args)
    assert len(source) == 3
    assert source.num_samples == 48
    return {name: value.detach().clone() for name, value in made.model.state_dict().items()}


@pytest.mark.slow
def test_processes_take_the_same_steps_on_batches_of_their_own(tmp_path):
    first, second = run_processes(replicas, tmp_path)
    start = bundle().model.state_dict()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0)
    assert any(not torch.equal(value, start[name]) for name, value in first.items())


def test_what_could_not_be_read_is_logged_at_the_end_of_an_epoch(caplog):
    caplog.set_level("INFO", logger="helip")
    list(source_of(bundle()))
    list(source_of(bundle(), data=Damaged()))
    whole, damaged, reason = caplog.records
    said = "Epoch 0: 40 rows planned on this process, 40 read, 0 could not be read"
    assert (whole.levelname, whole.getMessage()) == ("INFO", said)
    assert (damaged.levelname, reason.levelname) == ("WARNING", "WARNING")
    said = "38 read, 2 could not be read and were left out (unreadable_image: 2), such as:"
    assert said in damaged.getMessage()
    assert reason.getMessage() == "not a picture"
