"""Precision@1 among candidates against a plain reference in NumPy."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from helip.common.errors import InvalidArgumentError
from helip.evaluation.evaluating import evaluate
from helip.evaluation.figures import figures_of
from helip.evaluation.statistics.comparison import compare
from helip.evaluation.suite import evaluate_all
from helip.evaluation.table import tables
from support.evaluate_samples import (
    COLOURS,
    ColourModel,
    picture,
    tiny_model,
    tokenizer,
    transform,
    write_mmeb,
)

pytest.importorskip("pyarrow")

WORDS = ["a red one", "the blue", "some green", "white", "no colour", "a cat", "two dogs"]


def random_sets(seed=0):
    """Three data sets of two groups, with queries and candidates of every kind."""
    random = np.random.default_rng(seed)

    def given(kind):
        text = WORDS[random.integers(len(WORDS))] if kind != "picture" else ""
        return text, f"{random.integers(6)}.png" if kind != "text" else ""

    def rows(query, candidate, count):
        return [
            (given(query), [given(candidate) for _ in range(random.integers(2, 6))])
            for _ in range(count)
        ]

    return {
        "VOC2007": rows("picture", "text", 12),
        "ImageNet-R": rows("both", "text", 9),
        "CIRR": rows("both", "both", 15),
        "EDIS": rows("text", "both", 7),
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for seed in range(6):
        picture(seed).save(tmp_path / "images" / f"{seed}.png")
    return write_mmeb(tmp_path, random_sets())


def expected(bundle, sets):
    """Data set -> hits: whether no other candidate is as similar as the first."""

    def embedded(text, path):
        parts = []
        with torch.no_grad():
            if text:
                parts.append(bundle.model.encode_text(bundle.tokenizer([text]))[0].double())
            if path:
                pixels = bundle.eval_transform(picture(int(path.split(".")[0])))
                parts.append(bundle.model.encode_image(pixels[None])[0].double())
        total = np.sum([part.numpy() for part in parts], axis=0)
        return total / np.linalg.norm(total)

    return {
        name: [
            all(
                embedded(*each) @ embedded(*query) < embedded(*options[0]) @ embedded(*query)
                for each in options
                if each != options[0]
            )
            for query, options in rows
        ]
        for name, rows in sets.items()
    }


def test_precision_equals_a_plain_reference_by_set_and_group(folder):
    bundle = tiny_model(seed=3)
    result = evaluate(bundle, folder, bootstrap=50, device="cpu", progress=False, keep_ranks=True)
    choice = result["choice"]
    hits = expected(bundle, random_sets())
    shares = {name: np.mean(each) for name, each in hits.items()}
    assert len(set(shares.values())) == 4
    for name, share in shares.items():
        figure = choice["sets"][name]["precision@1"]
        assert figure["value"] == pytest.approx(share) and figure["n"] == len(hits[name])
    mean = choice["mean_per_set"]
    assert mean["value"] == pytest.approx(np.mean(list(shares.values())))
    assert mean["low"] < mean["value"] < mean["high"]
    for group, names in {
        "classification": ("VOC2007", "ImageNet-R"), "retrieval": ("CIRR", "EDIS"),
    }.items():  # fmt: skip
        figure = choice["groups"][group]["mean_per_set"]
        assert figure["value"] == pytest.approx(np.mean([shares[name] for name in names]))
        assert figure["n"] == sum(len(hits[name]) for name in names)
    assert set(choice["groups"]) == {"classification", "retrieval"}
    every = [hit for name in sorted(hits) for hit in hits[name]]
    assert choice["precision@1"]["value"] == pytest.approx(np.mean(every))
    assert choice["per_query"]["right"] == [int(hit) for hit in every]
    assert choice["fusion"] == "sum of both embeddings, then normalised"
    assert 0 < choice["inputs_of_both"] < choice["inputs"]
    assert json.loads(json.dumps(result)) == result


def coloured(tmp_path, rows, **options):
    (tmp_path / "images").mkdir(exist_ok=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (4, 4), colour).save(tmp_path / "images" / f"{name}.png")
    return evaluate(
        ColourModel(), write_mmeb(tmp_path, {"mine": rows}), transform=transform,
        tokenizer=tokenizer, bootstrap=0, progress=False, device="cpu", **options,
    )  # fmt: skip


def test_equal_candidates_count_against_the_model_or_for_it(tmp_path):
    query = ("", "white.png")
    rows = [
        (query, [("red", ""), ("blue", ""), ("green", "")]),  # all as far from white
        (query, [("white", ""), ("blue", "")]),
        (query, [("blue", ""), ("white", "")]),
    ]
    against = coloured(tmp_path, rows)["choice"]
    assert against["precision@1"]["value"] == pytest.approx(1 / 3)
    loose = coloured(tmp_path, rows, ties="for")["choice"]
    assert loose["precision@1"]["value"] == pytest.approx(2 / 3)
    assert loose["queries"] != against["queries"]


def test_a_candidate_that_equals_the_right_one_is_right(tmp_path):
    rows = [(("", "red.png"), [("red", ""), ("blue", ""), ("red", "")])]
    assert coloured(tmp_path, rows)["choice"]["precision@1"]["value"] == 1.0


def test_queries_are_left_out_where_a_picture_of_theirs_cannot_be_read(tmp_path):
    rows = [
        (("", "absent.png"), [("red", ""), ("blue", "")]),
        (("red", ""), [("", "red.png"), ("", "absent.png")]),
        (("red", ""), [("", "red.png"), ("", "blue.png")]),
    ]
    result = coloured(tmp_path, rows)
    assert result["choice"]["items"] == 1
    assert result["choice"]["skipped_items"] == 2
    assert result["skipped"]["reasons"] == {"missing_image": 1}
    with pytest.raises(InvalidArgumentError, match="none of the 1 queries has pictures"):
        coloured(tmp_path, [(("", "absent.png"), [("red", ""), ("", "red.png")])])


def test_paired_differences_and_the_table_have_the_figures(folder):
    models = {"control": tiny_model(seed=3), "HELIP": tiny_model(seed=4)}
    results = evaluate_all(
        models, {"mmeb": folder}, bootstrap=50, device="cpu", progress=False
    )  # fmt: skip
    one, two = (results["mmeb"][name] for name in ("HELIP", "control"))
    difference = compare(one, two, bootstrap=50)
    for (line, figure), (_, a), (_, b) in zip(
        *map(figures_of, (difference, one, two)), strict=True
    ):
        assert figure["value"] == pytest.approx(a["value"] - b["value"]), line.path
    (table,) = tables(results)
    columns = ["P@1", "P@1 classification", "P@1 retrieval"]
    assert [line.short for line in table.columns] == columns
    assert [row.name for row in table.rows] == ["control", "HELIP", "HELIP − control"]


def test_a_set_has_choice_alone_and_other_data_has_none(folder, tmp_path):
    with pytest.raises(InvalidArgumentError, match="'choice' alone"):
        evaluate(tiny_model(), folder, tasks="retrieval", progress=False)
    (tmp_path / "d.csv").write_text("image,caption\nimages/0.png,a\n")
    with pytest.raises(InvalidArgumentError, match="'choice' needs a set in MMEB's format"):
        evaluate(tiny_model(), tmp_path / "d.csv", tasks="choice", progress=False)
