"""helip interpolate and helip export."""

from __future__ import annotations

import pytest
import torch

from helip.cli.main import make_app
from helip.models.bundle import create_model
from helip.models.saving import save_model
from support.tune_samples import same, tiny, weights


@pytest.fixture
def models(tmp_path):
    for name, seed in (("start", 1), ("tuned", 2)):
        save_model(tiny(seed=seed), tmp_path / name)
    return tmp_path


def invoke(*arguments: object) -> None:
    words = [str(argument) for argument in arguments]
    make_app()(words, exit_on_error=False, print_error=False)


def test_one_share_makes_one_model_and_several_a_folder_of_them(models):
    start, tuned, out = models / "start", models / "tuned", models / "out"
    invoke("interpolate", start, tuned, "--out", models / "half")
    middle = weights(create_model(models / "half").model)["text_projection"]
    ends = [weights(tiny(seed=s).model)["text_projection"].double() for s in (1, 2)]
    assert torch.equal(middle, (0.5 * ends[0] + 0.5 * ends[1]).float())
    invoke("interpolate", start, tuned, "--out", out, "--alpha", 0.0, "--alpha", 0.25)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [
        "alpha-0",
        "alpha-0.25",
    ]
    assert same(weights(create_model(out / "alpha-0").model), weights(tiny(seed=1).model))


def test_a_model_is_written_for_either_library(models):
    for to in ("open_clip", "transformers"):
        invoke("export", models / "start", "--out", models / to, "--to", to)
    assert (models / "transformers" / "config.json").is_file()
    assert (models / "open_clip" / "open_clip_config.json").is_file()
