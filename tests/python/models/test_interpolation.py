"""Weight interpolation (WiSE-FT)."""

from __future__ import annotations

import pytest
import torch

import helip
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.models.bundle import create_model
from helip.models.interpolation import interpolated_weights
from helip.models.saving import save_model
from support.tune_samples import CONFIG, RESNET, same, tiny, weights


def test_the_ends_are_the_two_models_bit_for_bit():
    start, tuned = tiny(seed=1), tiny(seed=2)
    assert same(weights(helip.interpolate(start, tuned, 0.0).model), weights(start.model))
    assert same(weights(helip.interpolate(start, tuned, 1.0).model), weights(tuned.model))


@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.9])
def test_in_between_every_weight_is_the_mean_in_float64(alpha):
    start, tuned = tiny(RESNET, seed=1), tiny(RESNET, seed=2)
    before = weights(start.model), weights(tuned.model)
    mixed = weights(helip.interpolate(start, tuned, alpha).model)
    for name, value in mixed.items():
        a, b = before[0][name].double(), before[1][name].double()
        expected = (1 - alpha) * a + alpha * b if value.is_floating_point() else b
        assert torch.equal(value, expected.to(value.dtype)), name
    assert same(weights(start.model), before[0])
    assert same(weights(tuned.model), before[1])


def test_models_come_from_paths_and_go_to_one(tmp_path):
    start, tuned = tiny(seed=1), tiny(seed=2)
    save_model(start, tmp_path / "start")
    save_model(tuned, tmp_path / "tuned")
    helip.interpolate(tmp_path / "start", tmp_path / "tuned", 0.5, out=tmp_path / "mixed")
    expected = weights(helip.interpolate(start, tuned, 0.5).model)
    assert same(weights(create_model(tmp_path / "mixed").model), expected)


def test_another_architecture_is_refused_by_what_differs():
    other = create_model("other", config={**CONFIG, "quick_gelu": True}, from_scratch=True)
    with pytest.raises(MismatchError, match="differ in quick_gelu"):
        helip.interpolate(tiny(), other, 0.5)


def test_weights_that_do_not_fit_are_refused_with_the_keys():
    start = {"a": torch.zeros(2), "b": torch.zeros(3)}
    tuned = {"a": torch.zeros(4), "c": torch.zeros(1)}
    with pytest.raises(
        MismatchError, match=r"missing \(b\).*unexpected \(c\).*shape \(a \(4,\) for \(2,\)\)"
    ):
        interpolated_weights(start, tuned, 0.5)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_its_bounds_is_refused(alpha):
    with pytest.raises(InvalidArgumentError, match="must be in"):
        helip.interpolate(tiny(), tiny(), alpha)
