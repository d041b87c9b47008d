"""The exponential moving average of weights."""

from __future__ import annotations

import pytest
import torch

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.training.optimizing.weight_average import WeightAverage
from support.tune_samples import RESNET, same, tiny, weights


def disturb(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn(parameter.shape, generator=generator)


def test_it_is_the_recurrence():
    model = tiny().model
    average = WeightAverage(model, 0.9)
    expected = {name: p.detach().double() for name, p in model.named_parameters()}
    for seed in range(5):
        disturb(model, seed)
        average.update()
        for name, p in model.named_parameters():
            expected[name] = 0.9 * expected[name] + 0.1 * p.detach().double()
    state = average.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(state[name].double(), value, rtol=1e-6, atol=1e-6)


def test_it_begins_with_the_start_weights_and_leaves_the_model_alone():
    model = tiny().model
    average = WeightAverage(model, 0.5)
    start = weights(model)
    assert same(average.state_dict(), start)
    disturb(model, 0)
    moved = weights(model)
    average.update()
    assert same(weights(model), moved)
    assert not same(average.state_dict(), start)


def test_what_does_not_train_is_as_in_the_model():
    bundle = tiny(RESNET)
    bundle.model.lock_image_tower()
    average = WeightAverage(bundle.model, 0.5)
    disturb(bundle.model, 0)
    average.update()
    state, own = average.state_dict(), weights(bundle.model)
    assert torch.equal(state["visual.bn1.running_mean"], own["visual.bn1.running_mean"])
    assert torch.equal(state["visual.conv1.weight"], own["visual.conv1.weight"])
    assert not torch.equal(state["text_projection"], own["text_projection"])


def test_statistics_of_batch_norms_are_averaged_like_the_weights():
    model = tiny(RESNET).model
    average = WeightAverage(model, 0.9)
    expected = model.visual.bn1.running_mean.double().clone()
    for _ in range(3):
        model.visual.bn1.running_mean += 1
        model.visual.bn1.num_batches_tracked += 1
        average.update()
        expected = 0.9 * expected + 0.1 * model.visual.bn1.running_mean.double()
    state = average.state_dict()
    torch.testing.assert_close(state["visual.bn1.running_mean"].double(), expected)
    assert state["visual.bn1.num_batches_tracked"] == 3


def test_a_state_goes_on_to_the_same_bits():
    first, second = tiny().model, tiny().model
    whole, cut = WeightAverage(first, 0.7), WeightAverage(second, 0.7)
    for seed in range(4):
        disturb(first, seed)
        whole.update()
        disturb(second, seed)
        cut.update()
        if seed == 1:
            again = WeightAverage(second, 0.7)
            again.load_state_dict(cut.state_dict())
            cut = again
    assert same(whole.state_dict(), cut.state_dict())


def test_a_state_that_does_not_fit_is_refused_by_name():
    average = WeightAverage(tiny().model, 0.5)
    state = average.state_dict()
    del state["text_projection"]
    with pytest.raises(CorruptError, match="nothing for text_projection"):
        average.load_state_dict(state)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, float("nan")])
def test_a_decay_outside_its_bounds_is_refused(decay):
    with pytest.raises(InvalidArgumentError, match="ema is"):
        WeightAverage(tiny().model, decay)
