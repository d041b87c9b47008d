"""What a run says of itself on a card: its options, which weights they are, and nothing more."""

from __future__ import annotations

import json
import shutil

import huggingface_hub
import pytest

import helip
from helip.common.errors import CorruptError
from helip.models import ModelBundle
from helip.training.checkpoints import facts_of, read_checkpoint
from support.hub_server import hub_for_tests
from support.train_samples import CONFIG, Colours, table


@pytest.fixture(scope="module")
def runs(tmp_path_factory, one_thread):
    """(folder, result) of a run and of its control."""
    data, found = Colours(), {}
    for name, options in {
        "helip": {"ema": 0.9, "wise_ft": 0.5, "validate": lambda bundle: {"recall": 0.25}},
        "control": {"control": True},
    }.items():
        out = tmp_path_factory.mktemp("runs") / name
        found[name] = out, helip.train(
            model=CONFIG, from_scratch=True, data=data, pairs=table(data), out=out, steps=2,
            batch_size=8, recipe=None, progress=False, **options,
        )  # fmt: skip
    return found


def card_of(folder) -> str:
    return huggingface_hub.ModelCard.load(folder / "README.md").text


def test_a_card_of_a_run_tells_its_recipe(runs, tmp_path):
    out, result = runs["helip"]
    result.save_pretrained(tmp_path / "saved", layout="open_clip")
    text = card_of(tmp_path / "saved")
    assert "trained by helip with hard pairs" in text
    assert "2 optimizer steps of 8 rows" in text and "filled by `communities`" in text
    assert "| `gamma` | 1.0 |" in text and "those of the last step" in text
    assert Colours().fingerprint in text
    assert "`recall` was measured on held-out data; its best value was\n0.25" in text
    assert "Not measured: no evaluation" in text, "validation is no control"
    assert str(out) not in text


def test_a_card_of_a_control_says_that_it_is_one(runs, tmp_path):
    runs["control"][1].save_pretrained(tmp_path / "saved", layout="open_clip")
    text = card_of(tmp_path / "saved")
    assert "a control, without hard pairs" in text
    assert "held-out data" not in text


def test_a_run_is_pushed_and_opened_again(runs, tmp_path, monkeypatch):
    result = runs["helip"][1]
    with hub_for_tests(monkeypatch, tmp_path / "cache") as hub:
        result.push_to_hub("me/tuned", progress=False, layout="open_clip", license="mit")
        again = ModelBundle.from_pretrained("me/tuned", progress=False)
        files = hub.repos["models/me/tuned"].files()
    assert set(files) == {"README.md", "open_clip_config.json", "open_clip_model.safetensors"}
    ours = result.model.model.state_dict()
    assert all((value == ours[name]).all() for name, value in again.model.state_dict().items())


def test_it_is_known_which_weights_of_a_run_they_are(runs, tmp_path):
    out, result = runs["helip"]
    words = {
        out: "those of the last step",
        result.checkpoint: "those of the last step",
        result.checkpoint / "model.safetensors": "those of the last step",
        result.checkpoint / "ema.safetensors": "the average (ema)",
        out / "best": "the best by `recall`",
        out / "wise-ft": "a mixture",
    }
    for place, expected in words.items():
        facts = facts_of(place)
        assert facts is not None and expected in facts.weights and facts.steps == 2, place
    assert facts_of(tmp_path) is None


def test_a_checkpoint_of_another_version_is_told(runs, tmp_path):
    shutil.copytree(runs["helip"][1].checkpoint, tmp_path / "old")
    state = tmp_path / "old" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"version": 1}))
    with pytest.raises(CorruptError, match=r"'helip.checkpoint' version 1, must be .* version 2"):
        read_checkpoint(tmp_path / "old")


def test_a_damaged_state_is_told(runs, tmp_path):
    (tmp_path / "state.json").write_text(json.dumps({"step": 1}))
    with pytest.raises(CorruptError, match=r"state.json lacks a part"):
        facts_of(tmp_path)
