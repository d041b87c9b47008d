"""One table for many checkpoints."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helip.common.errors import InvalidArgumentError
from helip.evaluation.table import tables, tables_as_data, tables_as_markdown, tables_as_text
from helip.evaluation.tasks.retrieval import retrieval
from helip.evaluation.tasks.zero_shot import zero_shot


def result(scale, *, keep_ranks=True):
    rows = np.random.default_rng(0).normal(size=(80, 8))
    noise = np.random.default_rng(1).normal(size=(80, 8))
    options = {"bootstrap": 50, "keep_ranks": keep_ranks}
    return {
        "options": {"bootstrap": 50, "seed": 0},
        "retrieval": retrieval(rows, rows + scale * noise, **options),
        "zero_shot": zero_shot(
            rows, np.arange(80) % 4, rows[:4] + noise[:4], class_names=list("abcd"), **options
        ),
    }


@pytest.fixture(scope="module")
def results():
    return {
        "held out": {"start": result(3), "control": result(2), "HELIP | a*b": result(0.3)},
        "general": {"start": result(3), "control": result(1)},
    }


def test_rows_are_models_then_differences_and_columns_are_headline_figures(results):
    first, second = tables(results)
    assert [line.short for line in first.columns] == [
        "I→T R@1", "T→I R@1", "zero-shot top-1", "zero-shot per class"
    ]  # fmt: skip
    assert [row.name for row in first.rows] == [
        *results["held out"], "start − control", "HELIP | a*b − control"
    ]  # fmt: skip
    assert second.title == "general"
    value = results["held out"]["start"]["retrieval"]["image_to_text"]["recall@1"]
    low, high = 100 * value["low"], 100 * value["high"]
    assert first.cells()[1][1] == f"{100 * value['value']:.1f} [{low:.1f}, {high:.1f}]"
    assert first.cells()[5][1].startswith("+")
    assert first.cells()[5][1].endswith("*")
    assert first.cells()[4][1].startswith("−")


def test_text_is_aligned(results):
    lines = tables_as_text(tables(results)).splitlines()
    assert lines[0] == "held out"
    column = lines[1].index("T→I")
    assert all(line[column - 1] == " " != line[column] for line in lines[2:7])
    assert "general" in lines


def test_markdown_cannot_be_broken_by_a_name(results):
    text = tables_as_markdown(tables(results))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") == 6 for line in rows)
    assert "HELIP \\| a\\*b" in text
    assert "### general" in text


def test_data_are_plain_json(results):
    data = tables_as_data(tables(results))
    assert json.loads(json.dumps(data)) == data
    assert data[0]["rows"][0]["figures"]["I→T R@1"]["n"] == 80


def test_a_baseline_is_named_or_the_control_or_none(results):
    named = tables({"held out": results["held out"]}, baseline="start")[0]
    assert next(row.name for row in named.rows if row.difference) == "control − start"
    plain = tables({"x": {"a": result(1), "b": result(2)}})[0]
    assert not any(row.difference for row in plain.rows)
    with pytest.raises(InvalidArgumentError, match="'zero' has no result on 'held out'"):
        tables(results, baseline="zero")


def test_results_without_ranks_or_with_other_tasks_have_no_difference():
    other = {"options": {}, "zero_shot": result(1)["zero_shot"]}
    table = tables({"x": {"control": result(1, keep_ranks=False), "a": result(2), "b": other}})[0]
    assert table.cells()[3][1] == "–"  # no retrieval
    assert table.cells()[4][1:] == ["–"] * 4


def test_the_table_says_what_counts_as_right_and_whose_prompts_they_are(results):
    assert tables(results)[0].note == (
        "Retrieval: every picture with an equal caption is right (no captions are equal); equal "
        "scores count against the model."
    )
    rows = np.random.default_rng(0).normal(size=(20, 8))
    captions = ["a dog", "A dog.", *map(str, range(18))]
    literature = retrieval(
        rows, rows, captions=captions, duplicates="strict", ties="for", bootstrap=0
    )
    prompts = {"templates": ["{}"] * 80, "template_set": "openai_imagenet_template"}
    own = {"templates": ["{}"] * 7, "template_set": "default", "ties": "for"}
    models = {
        "a": {"retrieval": literature, "zero_shot": prompts},
        "b": {"retrieval": literature, "zero_shot": own},
    }
    assert tables({"x": models})[0].note == (
        "Retrieval: each caption asks for its own picture alone, as in the literature (2 captions "
        "equal another one); equal scores count for the model. "
        "Zero-shot: 80 prompts a class (openai_imagenet_template); equal scores count against the "
        "model. Zero-shot: 7 prompts a class (helip's default, no set of the literature); equal "
        "scores count for the model."
    )
