"""Results as Markdown: paired differences to a control, and a word where there is none."""

from __future__ import annotations

import pytest

from helip.common.errors import InvalidArgumentError
from helip.evaluation import evaluate_all, results_as_markdown
from support.evaluate_samples import tiny_model
from support.train_samples import Colours


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    models = {"start": tiny_model(0), "control": tiny_model(1), "HELIP": tiny_model(2)}
    options = {"tasks": "retrieval", "progress": False, "bootstrap": 50}
    return out, evaluate_all(models, {"held out": Colours(8)}, out=out, **options)


def test_a_table_has_each_model_and_its_difference_to_the_control(measured):
    folder, results = measured
    text = results_as_markdown(results)
    assert sorted(text.splitlines()) == sorted(results_as_markdown(folder).splitlines())
    lines = text.splitlines()
    assert lines[0] == "### held out"
    firsts = [line.split(" | ")[0] for line in lines if line.startswith("| ")]
    assert firsts[2:] == [
        "| start", "| control", "| HELIP", "| start − control", "| HELIP − control"
    ]  # fmt: skip
    assert "was not measured" not in text


def test_without_a_control_the_text_says_so(measured):
    results = {title: {"HELIP": models["HELIP"]} for title, models in measured[1].items()}
    assert results_as_markdown(results).endswith("plain batches was not measured.")
    with pytest.raises(InvalidArgumentError, match="baseline 'x'"):
        results_as_markdown(results, baseline="x")
