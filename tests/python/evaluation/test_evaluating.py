"""Evaluation: ranks, figures, intervals and accounting, against plain float64 references."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.proportions import wilson_interval
from helip.evaluation.encoding import Subject
from helip.evaluation.evaluating import evaluate
from helip.evaluation.options import EvaluateOptions
from helip.evaluation.statistics.comparison import compare
from helip.evaluation.statistics.intervals import rank_outcomes, resamples
from helip.evaluation.tasks.retrieval import retrieval
from helip.evaluation.tasks.zero_shot import class_embeddings, zero_shot
from support.evaluate_samples import (
    COLOURS,
    ColourData,
    ColourModel,
    tiny_model,
    tokenizer,
    transform,
)


def run(rows, model=None, **options):
    options = {"progress": False, "bootstrap": 50, "device": "cpu"} | options
    return evaluate(
        model or ColourModel(),
        ColourData(rows),
        transform=transform,
        tokenizer=tokenizer,
        **options,
    )


FOUR = [(name, f"a {name} thing") for name in COLOURS]


def features(n, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def reference_ranks(queries, candidates, right):
    """Float64, one query at a time: 1 + wrong candidates at least as good as the best right one."""
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    candidates = candidates / np.linalg.norm(candidates, axis=1, keepdims=True)
    ranks = []
    for query, mine in zip(queries, right, strict=True):
        scores = candidates @ query
        best = max(scores[j] for j in mine)
        ranks.append(1 + sum(scores[j] >= best for j in range(len(scores)) if j not in mine))
    return ranks


# Retrieval


@pytest.mark.parametrize("chunk", [1, 3, 7, 4096])
def test_ranks_equal_a_float64_reference_for_any_chunk(chunk):
    images, texts = features(60), features(60) + features(60, seed=1)
    result = retrieval(images, texts, chunk=chunk, bootstrap=0, keep_ranks=True)
    own = [{i} for i in range(60)]
    ranks = result["per_query"]["image_to_text"]["ranks"]
    assert ranks == reference_ranks(images, texts, own)
    assert result["per_query"]["text_to_image"]["ranks"] == reference_ranks(texts, images, own)
    figures = result["image_to_text"]
    for k in (1, 5, 10):
        assert figures[f"recall@{k}"]["value"] == pytest.approx(np.mean(np.array(ranks) <= k))
    assert figures["median_rank"]["value"] == sorted(ranks)[29]
    assert figures["mean_reciprocal_rank"]["value"] == pytest.approx(np.mean(1 / np.array(ranks)))
    assert figures["recall@1"]["n"] == figures["candidates"] == 60


def test_a_picture_with_several_captions_is_found_by_any_and_each_caption_is_a_query():
    images, image_of = features(10), np.repeat(np.arange(10), 5)
    texts = images[image_of] + 2 * features(50, seed=1)
    result = retrieval(images, texts, image_of=image_of, bootstrap=0, keep_ranks=True)
    of_picture = [set(np.flatnonzero(image_of == i)) for i in range(10)]
    assert result["per_query"]["image_to_text"]["ranks"] == reference_ranks(
        images, texts, of_picture
    )
    assert result["per_query"]["text_to_image"]["ranks"] == reference_ranks(
        texts, images, [{i} for i in image_of]
    )
    assert result["text_to_image"]["recall@1"]["n"] == 50
    assert result["image_to_text"]["recall@1"]["n"] == 10


def test_every_picture_that_bears_a_duplicated_caption_counts_as_right():
    images = np.eye(4)
    captions = ["dog", "cat", "dog", "cow"]
    texts = np.array([images[2], images[1], images[2], images[3]])  # "dog" looks like picture 2
    any_ = retrieval(images, texts, captions=captions, bootstrap=0)
    assert any_["text_to_image"]["recall@1"] == {"value": 1.0, "low": None, "high": None, "n": 3}
    assert any_["image_to_text"]["candidates"] == 3
    strict = retrieval(images, texts, captions=captions, duplicates="strict", bootstrap=0)
    assert strict["text_to_image"]["recall@1"]["value"] == 0.75
    assert strict["text_to_image"]["recall@1"]["n"] == 4
    # The two copies of the caption tie for pictures 0 and 2, and strict ties count against.
    assert strict["image_to_text"]["recall@1"]["value"] == 0.5


def test_captions_that_differ_in_case_space_and_end_are_equal_and_counted():
    images = np.eye(3)
    captions = ["A dog.", "cat", "a  dog"]
    texts = images[[2, 1, 2]]
    result = retrieval(images, texts, captions=captions, bootstrap=0)
    assert result["text_to_image"]["recall@1"]["value"] == 1.0
    assert result["image_to_text"]["candidates"] == 2
    assert result["equal_captions"] == 2


class SeveralCaptions(ColourData):
    """Each picture has two captions; that of the second row says what the first one's does."""

    def captions(self, row):
        more = "A " + self.rows[0][0] + " thing!" if row == 1 else f"some {self.rows[row][0]}"
        return (self.caption(row), more)


def test_every_caption_of_a_picture_is_a_query_and_an_equal_one_is_right_for_both():
    found = evaluate(
        ColourModel(), SeveralCaptions(FOUR), transform=transform, tokenizer=tokenizer,
        tasks="retrieval", bootstrap=0, progress=False, device="cpu",
    )["retrieval"]  # fmt: skip
    assert found["text_to_image"]["recall@1"]["n"] == 2 * len(FOUR) - 1
    assert found["text_to_image"]["recall@1"]["value"] == 1.0
    assert found["image_to_text"]["candidates"] == 2 * len(FOUR) - 1
    assert found["equal_captions"] == 2


def test_a_model_that_scores_every_pair_alike_finds_nothing():
    result = retrieval(np.ones((20, 4)), np.ones((20, 4)), bootstrap=0)
    assert result["image_to_text"]["recall@10"]["value"] == 0.0
    assert result["text_to_image"]["median_rank"]["value"] == 20


def test_ties_can_count_for_the_model():
    rows = np.eye(3)[[0, 0, 1]]
    against, good = (
        retrieval(rows, rows, ties=ties, bootstrap=0, keep_ranks=True)
        for ties in ("against", "for")
    )
    assert against["per_query"]["image_to_text"]["ranks"] == [2, 2, 1]
    assert good["per_query"]["image_to_text"]["ranks"] == [1, 1, 1]
    assert (against["ties"], good["ties"]) == ("against", "for")
    classes = np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    found = [
        zero_shot(rows[:2], [0, 1], classes, class_names=["a", "b"], ties=ties, bootstrap=0)
        for ties in ("against", "for")
    ]
    assert [one["top1"]["value"] for one in found] == [0.0, 1.0]


def test_equal_pictures_tie_even_where_rounding_differs():
    rows = features(3, d=300)
    noisy = np.concatenate([rows, rows * 3.7]).astype(np.float32)
    result = retrieval(noisy, noisy, bootstrap=0, keep_ranks=True)
    assert result["per_query"]["image_to_text"]["ranks"] == [2] * 6


class LargestTensor(TorchDispatchMode):
    """Notes the elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.elements = max(self.elements, made.numel())
        return made


def test_similarities_are_never_held_as_a_whole():
    rows = features(2000, d=4).astype(np.float32)
    with LargestTensor() as largest:
        result = retrieval(rows, rows, chunk=128, bootstrap=0)
    assert result["image_to_text"]["recall@1"]["value"] == 1
    assert 128 * 64 < largest.elements <= 128 * 128


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"image_features": np.full((4, 3), np.nan)}, "row 0 holds NaN"),
        ({"image_features": np.ones((4, 2))}, "the width of text_features is 3, must be 2"),
        ({"image_features": np.ones((5, 3))}, "give image_of"),
        ({"image_features": np.ones((0, 3))}, "at least one row"),
        ({"image_of": [0, 1, 2, 4]}, r"image_of\[3\] is 4, must be in 0 … 3"),
        ({"image_of": [0, 1, 2]}, "4.*, one for each of the captions"),
        ({"image_of": [0, 1, 2, 2]}, "query 3 has no right candidate"),
        ({"captions": ["a"]}, "the number of captions is 1, must be 4"),
        ({"duplicates": "some"}, "'strict'"),
        ({"ties": "some"}, "'against'"),
        ({"chunk": 0}, "chunk is 0"),
        ({"bootstrap": -1}, "bootstrap is -1"),
    ],
)
def test_retrieval_refuses_bad_input_with_the_mend(bad, words):
    arguments = {"image_features": np.ones((4, 3)), "text_features": np.ones((4, 3))} | bad
    with pytest.raises(InvalidArgumentError, match=words):
        retrieval(arguments.pop("image_features"), arguments.pop("text_features"), **arguments)


# Intervals


def test_intervals_repeat_with_the_seed_and_cover_the_value():
    images, texts = features(200), features(200) + features(200, seed=1)
    first, again, other = (retrieval(images, texts, bootstrap=200, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    for name in ("recall@1", "recall@5", "recall@10", "median_rank", "mean_reciprocal_rank"):
        figure = first["image_to_text"][name]
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["low"] < figure["high"]


def test_the_interval_of_a_share_has_the_width_of_a_binomial():
    rng = np.random.default_rng(0)
    right = np.sort(rng.random(2000) < 0.3)  # sorted: a lopsided draw would shift the interval
    images = np.eye(2)[np.zeros(2000, dtype=int)]
    classes = np.array([[1.0, 0.0], [0.0, 1.0]])
    result = zero_shot(
        images, np.where(right, 0, 1), classes, class_names=["a", "b"], bootstrap=2000
    )
    p = right.mean()
    width = result["top1"]["high"] - result["top1"]["low"]
    assert result["top1"]["low"] < p < result["top1"]["high"]
    assert width == pytest.approx(2 * 1.96 * np.sqrt(p * (1 - p) / 2000), rel=0.1)


def test_rank_figures_are_those_of_the_ranks():
    figures = rank_outcomes(np.array([9, 1, 2, 30, 4, 6])).figures(bootstrap=0, seed=0)
    assert {name: round(figure["value"], 6) for name, figure in figures.items()} == {
        "recall@1": round(1 / 6, 6),
        "recall@5": 0.5,
        "recall@10": round(5 / 6, 6),
        "median_rank": 4,  # the lower of 4 and 6
        "mean_reciprocal_rank": round((1 / 9 + 1 + 1 / 2 + 1 / 30 + 1 / 4 + 1 / 6) / 6, 6),
    }


def test_captions_of_one_picture_are_resampled_together():
    groups = np.array([0, 0, 0, 1, 1, 2])
    for weights in resamples(6, groups=groups, bootstrap=20, seed=0):
        assert len(set(weights[:3])) == 1
        assert weights[3] == weights[4]
        assert weights[0] + weights[3] + weights[5] == 3
    # Five copies of each query hold no more information than one.
    images, image_of = features(40), np.repeat(np.arange(40), 5)
    texts = images + features(40, seed=1)
    one = retrieval(images, texts, bootstrap=300)["text_to_image"]["recall@1"]
    five = retrieval(images, texts[image_of], image_of=image_of, bootstrap=300)
    assert five["text_to_image"]["recall@1"] == one | {"n": 200}


# Zero-shot


def test_zero_shot_figures_equal_a_plain_count():
    images, classes = features(90), features(7, seed=1)
    labels = np.random.default_rng(2).integers(0, 6, size=90)  # class 6 has no picture
    names = [f"class {c}" for c in range(7)]
    result = zero_shot(images, labels, classes, class_names=names, bootstrap=50, keep_ranks=True)
    ranks = np.array(reference_ranks(images, classes, [{c} for c in labels]))
    assert result["per_query"]["ranks"] == ranks.tolist()
    assert result["top1"]["value"] == pytest.approx((ranks <= 1).mean())
    assert result["top5"]["value"] == pytest.approx((ranks <= 5).mean())
    per_class = [(ranks[labels == c] <= 1).mean() for c in range(6)]
    assert result["mean_per_class"]["value"] == pytest.approx(np.mean(per_class))
    assert result["per_class"]["class 2"]["value"] == pytest.approx(per_class[2])
    assert result["per_class"]["class 2"]["n"] == (labels == 2).sum()
    assert result["classes_without_samples"] == ["class 6"]


def test_class_embeddings_average_normalised_prompts():
    table = {"big A": [4.0, 0.0], "A": [0.0, 1.0], "big B{": [0.0, 9.0], "B{": [0.0, 1.0]}
    seen = []

    def encode(prompts):
        seen.extend(prompts)
        return torch.tensor([table[prompt] for prompt in prompts])

    rows = class_embeddings(["A", "B{"], ["big {}", "{}"], encode)
    assert seen == ["big A", "A", "big B{", "B{"]
    np.testing.assert_allclose(rows, [[0.5**0.5] * 2, [0.0, 1.0]], atol=1e-6)


@pytest.mark.parametrize("template", ["a photo", "{} and {}"])
def test_a_template_without_exactly_one_place_for_the_name_is_refused(template):
    with pytest.raises(InvalidArgumentError, match="must hold it once"):
        run(FOUR, tasks=("zero_shot",), templates=[template])


def test_duplicated_classes_are_refused():
    with pytest.raises(InvalidArgumentError, match="more than once: 'red'"):
        run(FOUR, tasks=("zero_shot",), classes=["red", "green", "red"])


def test_labels_that_are_no_class_are_named():
    with pytest.raises(InvalidArgumentError, match="'blue', 'white'"):
        run(FOUR, tasks=("zero_shot",), classes=["red", "green"])


def test_rows_without_a_label_are_left_out_and_counted():
    result = run(
        FOUR,
        tasks=("zero_shot",),
        classes={"r": "red", "g": "green", "b": "blue"},
        label_of=[*"rgb", None].__getitem__,
    )["zero_shot"]
    assert result["unlabelled"] == 1
    assert result["top1"] == {"value": 1.0, "low": wilson_interval(1, 3)[0], "high": 1.0, "n": 3}
    assert set(result["per_class"]) == {"r", "g", "b"}


# The whole way


def test_evaluate_gives_every_figure_as_plain_json():
    model = ColourModel()
    result = run(FOUR, model, tasks=("retrieval", "zero_shot"), keep_ranks=True)
    assert json.loads(json.dumps(result)) == result
    for direction in ("image_to_text", "text_to_image"):
        assert result["retrieval"][direction]["recall@1"]["value"] == 1.0
    assert result["zero_shot"]["top1"]["value"] == 1.0
    assert result["data"] == {"fingerprint": "colours", "rows": 4}
    assert result["skipped"] == {"rows": 0, "reasons": {}, "examples": []}
    assert model.training  # its mode is put back


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_samples_are_skipped_and_counted_by_reason(workers):
    rows = [*FOUR, (None, "a red one"), ("red", None), (None, "a blue one")]
    result = run(rows, workers=workers, batch_size=2)
    assert result["skipped"]["rows"] == 3
    assert result["skipped"]["reasons"] == {"missing_caption": 1, "unreadable_image": 2}
    assert result["skipped"]["examples"][1] == {
        "row": 5,
        "key": "key5",
        "reason": "missing_caption",
    }
    assert result["retrieval"]["rows"] == 4
    assert result["retrieval"]["image_to_text"]["recall@1"] == {
        "value": 1.0, "low": wilson_interval(1, 4)[0], "high": 1.0, "n": 4
    }  # fmt: skip


def test_rows_of_one_group_are_one_picture_with_several_captions():
    rows = [("red", "a red thing"), (None, "red again"), ("blue", "a blue thing"), (None, "white")]
    rows.append(("white", "white again"))  # its picture is that of the row before
    result = run(rows, groups=["r", "r", "b", "w", "w"])
    assert result["retrieval"]["image_to_text"]["recall@1"]["n"] == 2
    assert result["retrieval"]["text_to_image"]["recall@1"]["n"] == 3
    assert result["skipped"]["reasons"] == {"unreadable_image": 2}


def test_a_picture_of_two_rows_has_one_label():
    rows = [("red", "a red thing"), ("red", "red again"), ("blue", "a blue thing")]
    labels = {"label_of": {1: "red", 2: "blue"}.get}  # its first row has none
    found = run(rows, tasks="zero_shot", groups=["r", "r", "b"], **labels)["zero_shot"]
    assert (found["top1"]["n"], found["unlabelled"]) == (2, 0)
    with pytest.raises(InvalidArgumentError, match=r"rows 0 and 1 show one picture .* 'red' .*'b'"):
        run(rows, tasks="zero_shot", groups=["r", "r", "b"], label_of=["red", "b", "b"].__getitem__)


def test_a_data_set_that_cannot_be_read_at_all_is_an_error():
    with pytest.raises(InvalidArgumentError, match="unreadable_image"):
        run([(None, "a red thing")])
    with pytest.raises(InvalidArgumentError, match="the number of rows of the data set is 0"):
        run([])


def test_half_precision_is_normalised_in_full_precision():
    result = run(FOUR, precision="bfloat16")
    assert result["retrieval"]["image_to_text"]["recall@1"]["value"] == 1.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tasks": ("probe",)}, "retrieval"),
        ({"tasks": ("composition",)}, "needs a compositional set"),
        ({"tasks": ("linear_probe",)}, "train is None"),
        ({"tasks": ("zero_shot",), "templates": "imagenet"}, "openai_imagenet_template"),
        ({"tasks": ()}, "one or more"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"workers": -1}, "workers is -1"),
        ({"groups": [1]}, "the number of groups is 1, must be 4"),
        ({"tasks": ("zero_shot",), "label_of": lambda row: None}, "label"),
        ({"tasks": ("zero_shot",), "templates": []}, "templates is empty"),
        ({"tasks": ("zero_shot",), "classes": []}, "classes is empty"),
    ],
)
def test_evaluate_refuses_bad_options_with_the_mend(options, words):
    with pytest.raises(InvalidArgumentError, match=words):
        run(FOUR, **options)


def test_a_model_without_transform_is_refused():
    with pytest.raises(InvalidArgumentError, match="pass both"):
        evaluate(ColourModel(), ColourData(FOUR), progress=False)


# Paired differences


def test_a_result_compared_with_itself_differs_by_zero_as_far_as_four_queries_tell():
    result = run(FOUR, tasks=("retrieval", "zero_shot"), keep_ranks=True)
    difference = compare(result, result, bootstrap=50)
    assert difference["retrieval"]["text_to_image"]["recall@1"] == {
        "value": 0.0, "n": 4,
        "low": pytest.approx(-wilson_interval(0, 4)[1]),
        "high": pytest.approx(wilson_interval(0, 4)[1]),
    }  # fmt: skip
    assert set(difference["zero_shot"]) == {"top1", "top5", "mean_per_class"}


def test_a_paired_difference_is_signed_and_tighter_than_two_intervals():
    images = features(300)
    noise = features(300, seed=1)
    results = [
        {"retrieval": retrieval(images, images + scale * noise, bootstrap=200, keep_ranks=True)}
        for scale in (1.0, 1.1)
    ]
    figure = compare(*results, bootstrap=200)["retrieval"]["image_to_text"]["recall@1"]
    one, two = (r["retrieval"]["image_to_text"]["recall@1"] for r in results)
    assert figure["value"] == pytest.approx(one["value"] - two["value"])
    assert figure["value"] > 0
    assert figure["high"] - figure["low"] < one["high"] - one["low"]


def test_results_of_other_queries_or_without_ranks_are_not_compared():
    whole, part = run(FOUR, keep_ranks=True), run(FOUR[:3], keep_ranks=True)
    with pytest.raises(MismatchError, match="different queries"):
        compare(whole, part)
    with pytest.raises(InvalidArgumentError, match="keep_ranks=True"):
        compare(whole, run(FOUR))
    with pytest.raises(InvalidArgumentError, match="no task in common"):
        compare(whole, run(FOUR, tasks=("zero_shot",), keep_ranks=True))
    for task in ("retrieval", "zero_shot"):
        options = {"tasks": (task,), "keep_ranks": True}
        with pytest.raises(MismatchError, match="different queries"):
            compare(run(FOUR, **options), run(FOUR, ties="for", **options))


def test_a_worse_model_is_seen_as_worse():
    good, bad = (run(FOUR, ColourModel(flip), keep_ranks=True) for flip in (False, True))
    figure = compare(good, bad)["retrieval"]["image_to_text"]["recall@1"]
    assert figure["value"] == 0.5


# Captions that the context cuts off


class ContextTokenizer:
    """Words as tokens; zeros behind them, as open_clip's tokenizers pad."""

    context_length = 3

    def __call__(self, strings, context_length=None):
        length = context_length or self.context_length
        rows = [[*map(len, string.split()), 99][:length] for string in strings]
        rows = [[*row[:-1], 99] if len(row) == length else row for row in rows]
        return torch.tensor([row + [0] * (length - len(row)) for row in rows])


def test_captions_longer_than_the_context_are_counted():
    subject = Subject.of(
        ColourModel(), transform, ContextTokenizer(), EvaluateOptions(device="cpu")
    )
    counted = subject.truncated(["one two", "one two three", "one", "a b c d e"])
    assert counted == {"captions": 2, "of": 4, "context_length": 3}
    blind = Subject.of(ColourModel(), transform, tokenizer, EvaluateOptions(device="cpu"))
    assert blind.truncated(["one two three four"]) is None


def test_a_real_tokenizer_counts_in_every_task():
    bundle = tiny_model()
    data = ColourData([("red", "one two three four five six seven eight"), ("blue", "short")])
    result = evaluate(
        bundle, data, tasks=("retrieval", "zero_shot"), templates=["{}"], bootstrap=0,
        device="cpu", progress=False,
    )  # fmt: skip
    assert result["retrieval"]["truncated"] == {"captions": 1, "of": 2, "context_length": 8}
    assert result["zero_shot"]["truncated"] == {"captions": 0, "of": 2, "context_length": 8}
