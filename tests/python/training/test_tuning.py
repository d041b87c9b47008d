"""SLIP, locks, LoRA, layer-wise decay and averages in a whole run; resume refuses changes."""

from __future__ import annotations

import pytest
import torch

from helip.common.errors import CancelledError, Error, InvalidArgumentError, MismatchError
from helip.data.image_transform import ImageTransform
from helip.evaluation.evaluating import evaluate
from helip.models.bundle import create_model
from helip.models.lora import has_lora
from helip.models.slip import add_ssl_head
from helip.training.fine_tuning import train
from helip.training.metrics import read_metrics
from helip.training.recipe import Recipe
from support.loop_samples import trainer
from support.train_samples import Colours
from support.transformers_samples import clip_model
from support.tune_samples import same, table, tiny, weights

pytestmark = pytest.mark.usefixtures("one_thread")


def slip():
    bundle = tiny()
    torch.manual_seed(1)
    add_ssl_head(bundle.model, hidden=16, features=8)
    bundle.config["ssl_head"] = {"hidden": 16, "features": 8}
    return bundle


def run(out, model=None, **options):
    data = Colours()
    options = {
        "batch_size": 8,
        "device": "cpu",
        "lr": 1e-3,
        "steps": 8,
    } | options
    return train(
        model=model or tiny(), data=data, pairs=table(data), out=out, progress=False, **options
    )


def interrupted(out, at: int, **options):
    calls = iter(range(1, 100))
    with pytest.raises(CancelledError):
        run(out, should_stop=lambda: next(calls) == at, **options)


def test_the_loss_of_slip_is_the_sum_of_its_three_terms(tmp_path):
    result = run(tmp_path, slip(), ssl_scale=0.5, gamma=2.0)
    for row in read_metrics(tmp_path / "metrics.jsonl"):
        total = row["clip"] + 0.5 * row["ssl"] + 2.0 * row["margin"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)
        assert row["ssl"] > 0
        assert 0 <= row["ssl_accuracy"] <= 1
    start, end = weights(slip().model), weights(result.model.model)
    assert not torch.equal(start["image_mlp.layer1.weight"], end["image_mlp.layer1.weight"])
    assert end["image_mlp.bn1.num_batches_tracked"] == 16  # two views a step
    assert same(weights(create_model(result.checkpoint).model), end)


def test_without_its_term_the_head_rests_and_no_views_are_needed(tmp_path):
    result = run(tmp_path, slip(), ssl_scale=0.0)
    start, end = weights(slip().model), weights(result.model.model)
    assert all(torch.equal(start[n], end[n]) for n in start if n.startswith("image_mlp."))
    assert "ssl" not in result.metrics


def test_a_transform_of_the_core_makes_its_own_views(tmp_path):
    result = run(tmp_path, slip(), transform=ImageTransform.train(16), steps=2)
    assert result.metrics["ssl"] > 0


def test_a_batch_without_views_is_refused(tmp_path):
    from helip.loading.loader import HardPairLoader
    from helip.training.trainer import Trainer

    bundle, data = slip(), Colours()
    loader = HardPairLoader(
        data, table(data), batch_size=8, transform=bundle.eval_transform, tokenizer=bundle.tokenizer
    )
    trainer = Trainer(bundle, loader, out=tmp_path, device="cpu", progress=False)
    with pytest.raises(InvalidArgumentError, match="no 'views'"):
        trainer.run()


OPTIONS = {
    "slip": {"distill": 1.0},
    "lora": {"lora": 2},
    "lock": {"lock_image": True, "lock_image_unlocked_groups": 1, "lock_text": True},
    "layer_decay": {"layer_decay": 0.5},
    "ema": {"ema": 0.8},
    "all": {"lora": {"rank": 2, "alpha": 2.0}, "lock_text": True, "layer_decay": 0.7, "ema": 0.5},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, kind):
    if "lora" in OPTIONS[kind]:
        pytest.importorskip("peft")
    make = slip if kind == "slip" else tiny
    whole = run(tmp_path / "whole", make(), **OPTIONS[kind])
    interrupted(tmp_path / "cut", 4, model=make(), **OPTIONS[kind])
    resumed = run(tmp_path / "cut", make(), **OPTIONS[kind])
    assert resumed.resumed_from == 4
    assert same(weights(whole.model.model), weights(resumed.model.model))
    if "ema" in OPTIONS[kind]:
        files = [(r.checkpoint / "ema.safetensors").read_bytes() for r in (whole, resumed)]
        assert files[0] == files[1]


def test_a_run_with_lora_leaves_a_plain_model_and_checkpoints_that_open_as_one(tmp_path):
    pytest.importorskip("peft")
    result = run(tmp_path, lora=2)
    assert not has_lora(result.model.model)
    assert "lora" not in result.model.config
    assert all(p.requires_grad for p in result.model.model.parameters())
    assert weights(result.model.model).keys() == weights(tiny().model).keys()
    opened = create_model(result.checkpoint)
    for name, value in weights(opened.model).items():
        torch.testing.assert_close(value, weights(result.model.model)[name])
    start, end = weights(tiny().model), weights(opened.model)
    assert torch.equal(start["token_embedding.weight"], end["token_embedding.weight"])
    assert not torch.equal(start["logit_scale"], end["logit_scale"])


def test_locked_weights_keep_their_bits_and_are_free_again_afterwards(tmp_path):
    result = run(tmp_path, lock_image=True)
    start, end = weights(tiny().model), weights(result.model.model)
    assert all(torch.equal(start[n], end[n]) for n in start if n.startswith("visual."))
    assert not torch.equal(start["text_projection"], end["text_projection"])
    assert all(p.requires_grad for p in result.model.model.parameters())


def test_the_average_lies_in_the_checkpoint_and_opens_as_a_model(tmp_path):
    result = run(tmp_path, ema=0.9)
    average = create_model(result.checkpoint / "ema.safetensors")
    start, end = weights(tiny().model), weights(result.model.model)
    middle = weights(average.model)["text_projection"]
    moved = (end["text_projection"] - start["text_projection"]).norm()
    assert 0 < (middle - start["text_projection"]).norm() < moved


def test_layers_below_move_less(tmp_path):
    plain = weights(run(tmp_path / "plain", steps=1).model.model)
    decayed = weights(run(tmp_path / "decayed", steps=1, layer_decay=0.1).model.model)
    start = weights(tiny().model)
    name = "visual.transformer.resblocks.0.mlp.c_fc.weight"  # two groups below the top
    ratio = (decayed[name] - start[name]).norm() / (plain[name] - start[name]).norm()
    assert float(ratio) == pytest.approx(0.01, rel=0.05)
    assert torch.equal(plain["text_projection"], decayed["text_projection"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ema": 0.9}, "ema was None, is 0.9"),
        ({"layer_decay": 0.9}, "layer_decay was None, is 0.9"),
        ({"lock_text": True}, "lock_text was False, is True"),
        ({"ssl_scale": 0.5}, "ssl_scale was 1.0, is 0.5"),
    ],
)
def test_a_run_is_not_resumed_with_other_options(tmp_path, changed, message):
    interrupted(tmp_path, 2)
    with pytest.raises(MismatchError, match=message):
        run(tmp_path, **changed)


def test_lora_options_are_part_of_the_run(tmp_path):
    pytest.importorskip("peft")
    interrupted(tmp_path, 2, lora=2)
    with pytest.raises(MismatchError, match="lora was"):
        run(tmp_path, lora=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ema": 1.0}, "ema is 1.0"),
        ({"layer_decay": 0.0}, "layer_decay is 0.0"),
        ({"layer_decay": 1.5}, "layer_decay is 1.5"),
        ({"layer_decay": float("nan")}, "layer_decay is nan"),
        ({"warm_statistics": -1}, "warm_statistics is -1, must be at least 0"),
        ({"lock_image_unlocked_groups": 2}, "must be 0 without lock_image=True"),
        ({"ssl_temperature": 0.0}, "ssl_temperature is 0"),
        ({"lora": -1}, "rank is -1"),
    ],
)
def test_a_recipe_refuses_what_is_outside_its_bounds(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        Recipe(**options)


def test_a_model_of_transformers_is_trained_in_place_and_evaluated(tmp_path):
    model, data = clip_model(), Colours()
    before = weights(model)
    result = train(
        model=model, data=data, pairs=table(data), out=tmp_path / "run", batch_size=8, lr=1e-3,
        steps=3, device="cpu", progress=False,
    )  # fmt: skip
    assert result.steps == 3
    after = weights(model)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(moved) == len(before)
    assert result.captions_at_context_limit == 0
    opened = create_model(result.checkpoint)
    assert same(weights(opened.model.model), after)
    found = evaluate(opened, data, device="cpu", progress=False, bootstrap=0)
    assert "retrieval" in found


def test_an_interrupted_run_of_a_model_of_transformers_goes_on(tmp_path):
    data = Colours()
    options = {"data": data, "pairs": table(data), "batch_size": 8, "lr": 1e-3, "device": "cpu"}
    options["progress"] = False
    whole, cut = clip_model(), clip_model()
    train(model=whole, out=tmp_path / "whole", steps=4, **options)
    calls = iter(range(1, 100))
    with pytest.raises(CancelledError):
        train(
            model=cut,
            out=tmp_path / "cut",
            steps=4,
            should_stop=lambda: next(calls) == 2,
            **options,
        )
    again = clip_model()
    train(model=again, out=tmp_path / "cut", steps=4, **options)
    assert same(weights(whole), weights(again))


def test_a_mixture_with_the_start_is_saved_beside_the_run(tmp_path):
    result = run(tmp_path, wise_ft=0.25)
    mixed = weights(create_model(tmp_path / "wise-ft").model)
    start, end = weights(tiny().model), weights(result.model.model)
    for name, value in mixed.items():
        expected = 0.75 * start[name].double() + 0.25 * end[name].double()
        assert torch.equal(value, expected.to(value.dtype)), name
    run(tmp_path, wise_ft=0.25)  # finished: nothing is written again


def test_a_model_that_cannot_be_copied_is_mixed_with_its_start(tmp_path):
    model = tiny()
    model.model.latest = model.model.logit_scale * 2  # has a graph, which deepcopy refuses
    run(tmp_path, model, wise_ft=0.25, steps=1)
    assert (tmp_path / "wise-ft").is_dir()


def test_a_mixture_is_with_the_average_of_the_weights_where_there_is_one(tmp_path):
    result = run(tmp_path, wise_ft=0.25, ema=0.9)
    mixed = weights(create_model(tmp_path / "wise-ft").model)
    average = weights(create_model(result.checkpoint / "ema.safetensors").model)
    start, end = weights(tiny().model), weights(result.model.model)
    assert not same(average, end)
    for name, value in mixed.items():
        expected = 0.75 * start[name].double() + 0.25 * average[name].double()
        assert torch.equal(value, expected.to(value.dtype)), name


def test_a_mixture_wants_the_start_that_the_run_began_with(tmp_path):
    interrupted(tmp_path, 2, wise_ft=0.5)
    with pytest.raises(MismatchError, match="start was"):
        run(tmp_path, tiny(seed=9), wise_ft=0.5)
    with pytest.raises(MismatchError, match=r"wise_ft was 0\.5, is 0\.4"):
        run(tmp_path, wise_ft=0.4)
    assert run(tmp_path, wise_ft=0.5).resumed_from == 2


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_mixture_of_one_model_alone_is_refused(tmp_path, share):
    with pytest.raises(InvalidArgumentError, match="wise_ft is"):
        run(tmp_path, wise_ft=share)
    assert not any(tmp_path.iterdir())


def manner(model) -> list:
    """All of a model but its weights."""
    names = ("training", "grad_checkpointing", "_compiled_call_impl")
    modules = [[getattr(m, name, None) for name in names] for m in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    return [[(p.requires_grad, p.grad, p.dtype) for p in model.parameters()], modules, hooks]


LOCKED = {"lock_image": True, "lock_image_unlocked_groups": 1, "lock_text": True}


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_gives_the_model_back_and_the_same_call_goes_on(tmp_path, end):
    options = {**LOCKED, "ema": 0.8, "grad_checkpointing": True, "checkpoint_every": 3}
    model = tiny()
    model.model.train()
    model.model.visual.ln_post.eval()
    model.model.visual.conv1.weight.requires_grad_(False)
    before, calls = manner(model.model), iter(range(1, 100))

    def stop() -> bool:
        if next(calls) < 4:
            return False
        if end:
            raise end
        return True

    with pytest.raises(end or CancelledError):
        run(tmp_path / "cut", model, should_stop=stop, **options)
    assert manner(model.model) == before
    resumed = run(tmp_path / "cut", model, **options)
    assert resumed.resumed_from == (3 if end else 4)
    whole = run(tmp_path / "whole", tiny(), **options)
    assert same(weights(model.model), weights(whole.model.model))
    model.model.train()
    model.model.visual.ln_post.eval()
    assert manner(model.model) == before


@pytest.mark.parametrize("more", [{}, {"lock_text": True}, {"lock_text": True, "text_unlocked": 1}])
def test_an_interrupted_run_with_lora_goes_on_by_the_same_call(tmp_path, more):
    pytest.importorskip("peft")
    options = {"lora": 2, **more}
    if options.pop("text_unlocked", None):
        options["lock_text_unlocked_layers"] = 2
    model = tiny()
    model.model.visual.conv1.weight.requires_grad_(False)
    interrupted(tmp_path / "cut", 4, model=model, **options)
    run(tmp_path / "cut", model, **options)
    whole = run(tmp_path / "whole", tiny(), **options)
    assert same(weights(model.model), weights(whole.model.model))
    locked = [name for name, p in model.model.named_parameters() if not p.requires_grad]
    assert locked == ["visual.conv1.weight"]


def test_a_trainer_whose_run_has_failed_is_not_run_again(tmp_path):
    failing = trainer(tmp_path, should_stop=lambda: True)
    with pytest.raises(CancelledError):
        failing.run()
    with pytest.raises(Error, match="make another, which goes on from the newest checkpoint"):
        failing.run()
    assert trainer(tmp_path).run().resumed_from == 1


def test_what_mixes_with_the_start_asks_for_the_start_model_again(tmp_path):
    options = {"wise_ft": 0.5}
    model, calls = tiny(), iter(range(1, 100))
    with pytest.raises(CancelledError, match="the same call with the start model goes on from"):
        run(tmp_path, model, should_stop=lambda: next(calls) == 2, **options)
    with pytest.raises(MismatchError, match="the model as it was at the start"):
        run(tmp_path, model, **options)
    model.model.load_state_dict(weights(tiny().model))
    assert run(tmp_path, model, **options).resumed_from == 2


@pytest.mark.parametrize("options", [LOCKED, {"lora": 2}])
def test_a_run_that_does_not_begin_leaves_the_model_as_it_was(tmp_path, options):
    if "lora" in options:
        pytest.importorskip("peft")
    run(tmp_path / "begun", steps=1)
    model = tiny()
    before, start = manner(model.model), weights(model.model)
    with pytest.raises(InvalidArgumentError, match="optimizer is 'x'"):
        run(tmp_path / "x", model, optimizer="x", grad_checkpointing=True, **options)
    with pytest.raises(InvalidArgumentError, match="resume is False"):
        run(tmp_path / "begun", model, resume=False, grad_checkpointing=True, **LOCKED)
    assert manner(model.model) == before
    assert same(weights(model.model), start)
