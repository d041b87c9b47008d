"""helip push: the address of the commit, and one line and an exit code for what goes wrong."""

from __future__ import annotations

import pytest

from helip.evaluation import evaluate_all
from support.evaluate_samples import tiny_model
from support.hub_server import hub_for_tests
from support.train_samples import Colours, table
from support.tune_samples import tiny


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_for_tests(monkeypatch, tmp_path / "cache") as server:
        yield server


@pytest.fixture
def pairs(tmp_path):
    table(Colours()).save(tmp_path / "pairs")
    return tmp_path / "pairs"


def test_a_table_is_pushed_to_a_branch(run, hub, pairs):
    code, out, _ = run("push", pairs, "me/pairs", "--license", "cc0-1.0", "--revision", "v1", "-q")
    assert code == 0 and out.startswith(f"{hub.url}/me/pairs/commit/") and out.count("\n") == 1
    assert b"license: cc0-1.0" in hub.repos["datasets/me/pairs"].files("v1")["README.md"]


def test_a_model_is_pushed_with_what_was_measured(run, hub, tmp_path):
    from helip.models.saving import save_model

    save_model(tiny(), tmp_path / "model")
    models = {"control": tiny_model(1), "HELIP": tiny_model(2)}
    options = {"tasks": "retrieval", "progress": False, "bootstrap": 20}
    evaluate_all(models, {"held out": Colours(8)}, out=tmp_path / "results", **options)
    words = ("push", tmp_path / "model", "me/clip", "--layout", "open_clip", "--private", "-q")
    code, _, _ = run(*words, "--results", tmp_path / "results")
    card = hub.repos["models/me/clip"].files()["README.md"].decode()
    assert code == 0 and "| HELIP − control |" in card and "Not measured" not in card
    assert hub.repos["models/me/clip"].private


@pytest.mark.parametrize("status", [403, 404, 503])
def test_what_the_hub_refuses_is_one_line(run, hub, pairs, status):
    hub.faults["/commit/"] = status
    code, out, err = run("push", pairs, "me/pairs", "-q")
    told = [line for line in err.splitlines() if line.startswith("helip: ")]
    assert code == 1 and not out and len(told) == 1
    assert "cannot upload to me/pairs" in told[0] and str(status) in told[0]


def test_wrong_use_and_what_is_missing_have_their_exit_codes(run, hub, pairs, monkeypatch):
    code, _, err = run("push", pairs, "a/b/c")
    assert code == 2 and "repo_id is 'a/b/c'" in err
    code, _, err = run("push", pairs, "me/x", "--layout", "both")
    assert code == 2 and "--layout is 'both'" in err
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, _, err = run("push", pairs, "me/x")
    assert code == 1 and "HF_HUB_OFFLINE is set" in err
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(pairs / "none"))
    code, _, err = run("push", pairs, "me/x")
    assert code == 1 and "set HF_TOKEN" in err and not hub.requests
