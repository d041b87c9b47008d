"""Raw features: what the projection is applied to, for each kind of tower."""

from __future__ import annotations

import pytest
import torch

from helip.common.errors import UnsupportedError
from helip.models.slip import raw_features, raw_width
from support.tune_samples import TOWERS, VIT, pictures, tiny


def projected(visual, raw: torch.Tensor) -> torch.Tensor:
    """The rest of the tower, written out."""
    name = type(visual).__name__
    if name == "VisionTransformer":
        return raw @ visual.proj
    if name == "ModifiedResNet":
        return visual.attnpool.c_proj(raw)
    if len(visual.head):
        return visual.head(raw)
    return visual.trunk.get_classifier()(raw)


@pytest.mark.parametrize("tower", TOWERS)
def test_the_projection_of_the_raw_features_is_what_the_tower_gives(tower):
    bundle = tiny(TOWERS[tower])
    model = bundle.model.eval()
    images = pictures(bundle)
    with torch.no_grad():
        raw = raw_features(model, images)
        assert raw.shape == (4, raw_width(model))
        torch.testing.assert_close(
            projected(model.visual, raw), model.visual(images), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("tower", ["vit", "resnet", "timm, linear"])
def test_a_gradient_flows_through_the_raw_features_and_past_the_projection(tower):
    bundle = tiny(TOWERS[tower])
    raw_features(bundle.model, pictures(bundle)).square().sum().backward()
    have = {n for n, p in bundle.model.visual.named_parameters() if p.grad is not None}
    assert have
    assert not have & {"proj", "attnpool.c_proj.weight", "head.proj.weight"}


def test_a_tower_that_is_not_known_is_refused_by_name():
    model = torch.nn.Module()
    model.visual = torch.nn.Linear(1, 1)
    with pytest.raises(UnsupportedError, match=r"Linear tower.*supported are VisionTransformer"):
        raw_width(model)


def test_the_width_does_not_depend_on_the_joint_space():
    assert raw_width(tiny(VIT).model) == VIT["width"]
