"""Scores of compositional sets against a plain count."""

from __future__ import annotations

import numpy as np
import pytest

from helip.common.errors import InvalidArgumentError
from helip.evaluation.statistics.comparison import compare
from helip.evaluation.tasks.composition import composition


def reference(item):
    """Winoground's definitions, one item [picture][caption] at a time."""
    text = item[0][0] > item[0][1] and item[1][1] > item[1][0]
    image = item[0][0] > item[1][0] and item[1][1] > item[0][1]
    return text, image, text and image


def test_scores_equal_a_plain_count():
    scores = np.random.default_rng(0).normal(size=(200, 2, 2))
    result = composition(scores, bootstrap=50)
    expected = np.array([reference(item) for item in scores]).mean(axis=0)
    for name, value in zip(("text_score", "image_score", "group_score"), expected, strict=True):
        assert result[name]["value"] == pytest.approx(value)
        assert result[name]["low"] < result[name]["value"] < result[name]["high"]
        assert result[name]["n"] == 200
    # Chance: a quarter, a quarter and a sixth.
    assert abs(result["group_score"]["value"] - 1 / 6) < 0.1


def test_scores_of_three_captions_equal_a_plain_count():
    random = np.random.default_rng(0)
    scores, captions = random.normal(size=(200, 1, 3)), random.normal(size=(200, 3, 3))
    names = [("swap", "replace", "replace")[i % 3] for i in range(200)]
    result = composition(scores, caption_scores=captions, categories=names, bootstrap=50)
    both = np.array([s[0] > s[2] and s[1] > s[2] for s in scores[:, 0]])
    text = np.array([c[0, 1] > c[0, 2] and c[0, 1] > c[1, 2] for c in captions])
    swap = np.array([name == "swap" for name in names])
    for score, mean, right in (
        ("text_score", "mean_per_category", both),
        ("text_only_score", "text_only_mean_per_category", text),
    ):
        assert result[score]["value"] == pytest.approx(right.mean())
        assert result[score]["low"] < result[score]["value"] < result[score]["high"]
        shares = {"swap": right[swap].mean(), "replace": right[~swap].mean()}
        for name, share in shares.items():
            assert result["categories"][name][score]["value"] == pytest.approx(share)
        assert result[mean]["value"] == pytest.approx(np.mean(list(shares.values())))
    assert "image_score" not in result
    # Chance: a third each.
    assert abs(result["text_only_score"]["value"] - 1 / 3) < 0.1


def test_equal_captions_count_against_the_model():
    scores, captions = np.array([[[0.5, 0.4, 0.4]]]), np.full((1, 3, 3), 0.7)
    captions[0, 0, 1] += 1e-8  # what float32 sums may make of a tie
    result = composition(scores, caption_scores=captions, bootstrap=0)
    assert result["text_score"]["value"] == result["text_only_score"]["value"] == 0.0
    captions[0, 0, 1] = 0.8
    result = composition([[[0.5, 0.5, 0.4]]], caption_scores=captions, bootstrap=0)
    assert result["text_score"]["value"] == result["text_only_score"]["value"] == 1.0


def test_one_picture_has_a_text_score_alone_by_category():
    scores = np.array([[[2.0, 1.0]], [[1.0, 2.0]], [[2.0, 1.0]], [[2.0, 0.0]]])
    result = composition(scores, categories=["swap", "swap", "add", "add"], bootstrap=0)
    assert result["text_score"]["value"] == 0.75
    assert result["mean_per_category"]["value"] == 0.75
    assert result["categories"]["swap"]["text_score"] == {
        "value": 0.5, "low": None, "high": None, "n": 2
    }  # fmt: skip
    assert "group_score" not in result


def test_equal_similarities_count_against_the_model():
    result = composition(np.full((3, 2, 2), 0.5), bootstrap=0)
    assert result["text_score"]["value"] == result["image_score"]["value"] == 0.0
    rounded = np.full((3, 2, 2), 0.5) + 1e-8 * np.eye(2)  # what float32 sums may make of a tie
    result = composition(rounded, bootstrap=0)
    assert result["text_score"]["value"] == result["image_score"]["value"] == 0.0
    assert composition(rounded[:, :1], bootstrap=0)["text_score"]["value"] == 0.0


def test_items_that_share_a_picture_are_resampled_together():
    scores = np.random.default_rng(0).normal(size=(40, 1, 2))
    copies = np.repeat(scores, 5, axis=0)
    one = composition(scores, bootstrap=200)["text_score"]
    five = composition(copies, groups=np.repeat(np.arange(40), 5), bootstrap=200)["text_score"]
    assert five == one | {"n": 200}


def test_paired_differences_are_those_of_the_scores_and_tighter():
    random = np.random.default_rng(0)
    base = random.normal(size=(300, 2, 2)) + 0.5 * np.eye(2)
    results = [
        {
            "composition": composition(
                base + shift * np.eye(2),
                categories=["a", "b"] * 150,
                bootstrap=200,
                keep_ranks=True,
            )
        }
        for shift in (0.2, 0.0)
    ]
    difference = compare(*results, bootstrap=200)["composition"]
    for name in ("text_score", "image_score", "group_score", "mean_per_category"):
        one, two = (result["composition"][name] for result in results)
        assert difference[name]["value"] == pytest.approx(one["value"] - two["value"])
        assert difference[name]["high"] - difference[name]["low"] < one["high"] - one["low"]
    assert set(difference["categories"]) == {"a", "b"}
    assert difference["categories"]["b"]["text_score"]["n"] == 150


def test_paired_differences_are_of_the_text_only_score_too():
    random = np.random.default_rng(0)
    scores, captions = random.normal(size=(90, 1, 3)), random.normal(size=(90, 3, 3))
    one, two = (
        {
            "composition": composition(
                scores, caption_scores=captions + shift, categories=["a", "b", "b"] * 30,
                bootstrap=100, keep_ranks=True,
            )
        }
        for shift in (0.8 * np.eye(3)[[1, 0, 2]], 0.0)
    )  # fmt: skip
    difference = compare(one, two, bootstrap=100)["composition"]
    assert difference["text_score"]["value"] == 0.0
    for name in ("text_only_score", "text_only_mean_per_category"):
        gain = one["composition"][name]["value"] - two["composition"][name]["value"]
        assert difference[name]["value"] == pytest.approx(gain)
        assert difference[name]["low"] > 0
    assert set(difference["categories"]["b"]) == {"text_score", "text_only_score"}


def test_paired_differences_resample_items_of_one_picture_together():
    random = np.random.default_rng(0)
    one, two = random.normal(size=(2, 40, 1, 2))

    def difference(copies):
        results = [
            {
                "composition": composition(
                    np.repeat(scores, copies, axis=0), groups=np.repeat(np.arange(40), copies),
                    bootstrap=0, keep_ranks=True,
                )
            }
            for scores in (one, two)
        ]  # fmt: skip
        return compare(*results, bootstrap=200)["composition"]["text_score"]

    assert difference(5) == difference(1) | {"n": 200}


@pytest.mark.parametrize(
    ("scores", "options", "words"),
    [
        (np.zeros((0, 2, 2)), {}, "n at least 1"),
        (np.zeros((3, 3, 2)), {}, r"shape \[3, 3, 2\]"),
        (np.array([[[1.0, np.nan]]]), {}, "item 0 hold NaN"),
        (np.zeros((3, 2, 3)), {}, r"shape \[3, 2, 3\]"),
        (np.zeros((3, 1, 3)), {"caption_scores": np.zeros((3, 3))}, r"caption_scores is .*3, 3, 3"),
        (np.zeros((3, 1, 2)), {"caption_scores": np.zeros((3, 3, 3))}, "captions of an item is 2"),
        (
            np.zeros((1, 1, 3)),
            {"caption_scores": np.full((1, 3, 3), np.inf)},
            "caption_scores of item 0 hold NaN",
        ),
        (np.zeros((3, 1, 2)), {"categories": ["a"]}, "the number of categories is 1, must be 3"),
    ],
)
def test_bad_scores_are_refused_with_the_mend(scores, options, words):
    with pytest.raises(InvalidArgumentError, match=words):
        composition(scores, **options)
