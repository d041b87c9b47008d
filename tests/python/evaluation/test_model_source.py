"""What tells one model from another: digests of files, weights and preprocessing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from helip.common.weights_digest import weights_digest
from helip.evaluation.model_source import GivenModel, ModelSource, digest_of_weights
from helip.models.bundle import create_model
from helip.models.saving import save_model
from support.evaluate_samples import TINY, tiny_model


@pytest.fixture
def saved(tmp_path):
    return [str(save_model(tiny_model(seed), tmp_path / f"m{seed}")) for seed in (0, 1)]


def test_a_digest_of_files_is_of_their_contents(saved, tmp_path):
    start, control = saved
    one = ModelSource(start).files_digest()
    assert one == ModelSource(shutil.copytree(start, tmp_path / "copy")).files_digest()
    # The two have one configuration.
    assert ModelSource(start, control).files_digest() == ModelSource(control).files_digest() != one
    file = tmp_path / "copy" / "open_clip_config.json"
    file.write_text(file.read_text() + " ")
    assert ModelSource(str(tmp_path / "copy")).files_digest() != one
    assert ModelSource(f"{start}/model.safetensors").files_digest() == one


def test_a_configuration_or_an_architecture_counts_beside_its_weights(saved, tmp_path):
    weights = f"{saved[0]}/model.safetensors"
    configs = [tmp_path / "a.json", tmp_path / "b.json"]
    for width, config in enumerate(configs):
        config.write_text(json.dumps(TINY | {"name": f"n{width}"}))
    names = [*map(str, configs), "ViT-B-32", "ViT-B-16"]
    digests = [ModelSource(name, weights).files_digest() for name in names]
    assert len({*digests, None}) == 5


@pytest.mark.parametrize(
    "source",
    [
        ModelSource("ViT-B-32"),
        ModelSource("ViT-B-32", "openai"),
        ModelSource("hf-hub:someone/something"),
    ],
)
def test_a_model_that_is_no_local_file_has_no_digest_of_files(source):
    assert source.files_digest() is None


def test_a_model_in_several_files_of_weights_has_no_digest_of_files(saved):
    (Path(saved[0]) / "model.safetensors.index.json").write_text("{}")
    assert ModelSource(saved[0]).files_digest() is None


def test_a_source_and_its_bundle_have_one_identity_but_for_the_files(saved):
    given, bundle = GivenModel(saved[0]), GivenModel(tiny_model(0))
    assert given.weights == bundle.weights == weights_digest(create_model(saved[0]).model)
    assert given.preprocessing == bundle.preprocessing is not None
    before = given.identity(given.weights)
    assert bundle.differences(before) == []
    assert GivenModel(saved[1]).differences(before)[0].startswith("weights (")


def test_a_model_without_digests_differs_from_everything():
    class Odd(torch.nn.Module):
        def get_extra_state(self):
            return {"packed": 1}

        def set_extra_state(self, state):
            pass

    odd = GivenModel(Odd())
    assert digest_of_weights(Odd()) is odd.weights is odd.preprocessing is None
    assert odd.differences(odd.identity(None)) == [
        "weights (without a digest)",
        "preprocessing (without a digest)",
    ]
