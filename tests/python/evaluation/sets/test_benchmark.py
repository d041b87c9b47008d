"""CLIP_benchmark's webdataset layout: what is read and refused, and the same figures as theirs."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.evaluation.evaluating import evaluate
from helip.evaluation.sets.benchmark import is_benchmark, open_benchmark
from helip.evaluation.tasks.zero_shot import class_embeddings
from support.evaluate_samples import COLOURS, picture, png, tiny_model, write_benchmark

NAMES = list(COLOURS)


def samples(n=24, seed=0):
    colours = list(COLOURS.values())
    return [(png(picture(seed + i, colours[i % 4])), str(i % 4)) for i in range(n)]


@pytest.fixture
def classification(tmp_path):
    return write_benchmark(
        tmp_path / "colours", samples(), classes=NAMES, templates=["a {c} one", "{c}"]
    )


@pytest.fixture
def retrieval(tmp_path):
    pairs = [(png(picture(i)), f"first {i}\nsecond {i}\n\n third {i} ") for i in range(12)]
    return write_benchmark(tmp_path / "captions", pairs, retrieval=True, shards=3)


def test_a_folder_is_told_by_its_count_of_shards(classification, tmp_path):
    assert is_benchmark(classification)
    assert not is_benchmark(classification, "train")
    assert not is_benchmark(tmp_path)


def test_labels_are_numbers_that_stand_for_the_class_names(classification):
    found = open_benchmark(classification)
    assert found.classes == dict(zip("0123", NAMES, strict=True))
    assert found.templates == ["a {} one", "{}"]
    assert len(found.data) == 24
    assert {found.data.label(row) for row in range(24)} == set("0123")
    result = evaluate(tiny_model(), classification, bootstrap=20, progress=False, device="cpu")
    assert result["zero_shot"]["classes"] == 4
    assert result["zero_shot"]["templates"] == ["a {} one", "{}"]


def test_each_line_of_a_text_is_a_caption_of_the_same_picture(retrieval):
    found = open_benchmark(retrieval)
    assert len(found.data) == 36
    assert found.picture_groups == (np.repeat(np.arange(12), 3) + 1).tolist()
    captions = [found.data.caption(row) for row in range(3)]
    assert captions == ["first 0", "second 0", "third 0"]
    assert list(found.data.keys[:2]) == ["s0000000#0", "s0000000#1"]
    result = evaluate(tiny_model(), retrieval, bootstrap=20, progress=False, device="cpu")
    assert result["retrieval"]["image_to_text"]["recall@1"]["n"] == 12
    assert result["retrieval"]["text_to_image"]["recall@1"]["n"] == 36


def test_a_caption_that_cannot_be_read_is_one_row_and_counted(tmp_path):
    folder = write_benchmark(
        tmp_path / "c", [(png(picture(i)), "" if i == 1 else f"a {i}\nb {i}") for i in range(4)],
        retrieval=True, shards=1,
    )  # fmt: skip
    assert len(open_benchmark(folder).data) == 7
    result = evaluate(tiny_model(), folder, bootstrap=0, progress=False, device="cpu")
    assert result["skipped"]["reasons"] == {"missing_caption": 1}
    assert result["retrieval"]["rows"] == 6


def test_a_linear_probe_is_fitted_to_the_training_split(classification):
    write_benchmark(classification, samples(40, seed=100), split="train", shards=1)
    result = evaluate(
        tiny_model(), classification, tasks=("zero_shot", "linear_probe"), bootstrap=20,
        progress=False, device="cpu",
    )  # fmt: skip
    assert result["linear_probe"]["train_rows"] == 40
    assert result["linear_probe"]["top1"]["value"] > 0.5  # colours are easy, chance is a quarter


@pytest.mark.parametrize(
    ("file", "text", "error", "words"),
    [
        ("test/nshards.txt", "two", InvalidArgumentError, "holds 'two'"),
        ("test/nshards.txt", "0", InvalidArgumentError, "a count from 1"),
        ("test/nshards.txt", "4", InvalidArgumentError, "2 of the 4 shards .* 2.tar, 3.tar"),
        ("classnames.txt", "red\n\nblue\nwhite\n", InvalidArgumentError, "line 2 of .* is empty"),
        ("classnames.txt", "", InvalidArgumentError, "line 1 of .* is empty"),
        ("zeroshot_classification_templates.txt", "a\n", InvalidArgumentError, "line 1 .* 0 times"),
        ("dataset_type.txt", "multilabel", UnsupportedError, "'multilabel'"),
    ],
)
def test_what_does_not_fit_is_named_with_its_file(classification, file, text, error, words):
    (classification / file).write_text(text)
    with pytest.raises(error, match=words):
        open_benchmark(classification)


def test_absent_class_names_and_labels_without_a_name_are_refused(classification):
    (classification / "classnames.txt").write_text("red\ngreen\n")
    with pytest.raises(InvalidArgumentError, match="not among the 2 classes: '2', '3'"):
        evaluate(tiny_model(), classification, progress=False)
    (classification / "classnames.txt").unlink()
    with pytest.raises(InvalidArgumentError, match=r"classnames.txt is absent"):
        open_benchmark(classification)


def test_class_names_that_occur_twice_are_refused(classification):
    (classification / "classnames.txt").write_text("red\nmissile\nblue\nmissile\n")
    with pytest.raises(InvalidArgumentError, match="'missile'"):
        evaluate(tiny_model(), classification, progress=False)


# Against CLIP_benchmark itself, where it is installed


pytestmark = pytest.mark.filterwarnings(  # webdataset leaves its files to the collector
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


def theirs(folder, **options):
    builder = pytest.importorskip("clip_benchmark.datasets.builder")
    bundle = tiny_model(seed=5)
    data = builder.build_dataset(
        "wds/any", root=str(folder), transform=bundle.eval_transform, split="test", **options
    )
    return bundle, data, torch.utils.data.DataLoader(data.batched(8), batch_size=None)


ANIMALS = ["tench", "great white shark", "rooster", "hen", "ostrich", "goldfinch", "robin", "jay"]


@pytest.mark.parametrize("templates", [["a {c} one", "{c}"], "openai_imagenet_template"])
def test_accuracy_equals_that_of_clip_benchmark(tmp_path, templates):
    zeroshot = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    metrics = pytest.importorskip("sklearn.metrics")
    # Uneven classes, of which the last has no picture.
    sizes = [11, 1, 7, 2, 9, 5, 13, 0]
    labels = np.repeat(np.arange(8), sizes)
    rows = [(png(picture(i)), str(label)) for i, label in enumerate(labels)]
    named = templates == "openai_imagenet_template"
    of_paper = [make("{c}") for make in open_clip.OPENAI_IMAGENET_TEMPLATES]
    folder = write_benchmark(
        tmp_path / "animals", rows, classes=ANIMALS, templates=of_paper if named else templates
    )
    bundle, data, loader = theirs(folder)
    if named:
        assert data.templates == english_templates()["imagenet1k"] == of_paper
    classifier = zeroshot.zero_shot_classifier(
        bundle.model.eval(), bundle.tokenizer, data.classes, data.templates, "cpu", amp=False
    )
    # Not by its evaluate(), which NumPy 2.4 breaks; accuracy() and the rest are what it calls.
    logits, target = zeroshot.run_classification(bundle.model, classifier, loader, "cpu", amp=False)
    options = {"templates": templates} if named else {}
    ours = evaluate(bundle, folder, bootstrap=0, progress=False, device="cpu", **options)
    ours = ours["zero_shot"]
    assert ours["template_set"] == (templates if named else "own")
    ranks = 1 + (logits > logits.gather(1, target[:, None])).sum(dim=1)
    assert ours["top1"]["value"] == pytest.approx((ranks <= 1).double().mean().item())
    assert ours["top5"]["value"] == pytest.approx((ranks <= 5).double().mean().item())
    predicted = logits.argmax(dim=1)
    with warnings.catch_warnings(action="ignore"):  # of the class without a picture
        recall = metrics.balanced_accuracy_score(target, predicted)
    assert ours["mean_per_class"]["value"] == pytest.approx(recall)
    assert ours["classes_without_samples"] == ["7"]
    assert 0 < ours["top1"]["value"] < 0.5  # not a model that is always right or always wrong


def english_templates():
    module = pytest.importorskip("clip_benchmark.datasets.builder")
    folder = Path(module.__file__).parent
    return json.loads((folder / "en_zeroshot_classification_templates.json").read_text())


def test_class_embeddings_equal_those_of_clip_benchmark():
    zeroshot = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    bundle = tiny_model(seed=5)
    bundle.model.eval()
    templates = english_templates()["imagenet1k"]
    reference = zeroshot.zero_shot_classifier(
        bundle.model, bundle.tokenizer, ANIMALS, templates, "cpu", amp=False
    ).T

    def encode(prompts):
        with torch.inference_mode():
            return bundle.model.encode_text(bundle.tokenizer(prompts))

    ours = class_embeddings(ANIMALS, "openai_imagenet_template", encode)
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


def recalls(tmp_path, captions):
    """(helip's retrieval by its options, CLIP_benchmark's metrics) of pictures with captions."""
    metric = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    pairs = [(png(picture(i)), "\n".join(texts)) for i, texts in enumerate(captions)]
    folder = write_benchmark(tmp_path / "captions", pairs, retrieval=True, shards=3)
    bundle, _, loader = theirs(folder, task="zeroshot_retrieval")
    found = metric.evaluate(
        bundle.model.eval(), loader, bundle.tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10]
    )

    def ours(**options):
        options = {"bootstrap": 0, "progress": False, "device": "cpu"} | options
        return evaluate(bundle, folder, **options)["retrieval"]

    return ours, found


@pytest.mark.parametrize("several", [lambda i: 5, lambda i: 1 + i % 4, lambda i: 1])
def test_recall_equals_that_of_clip_benchmark(tmp_path, several):
    captions = [[f"{c} {i}" for c in "abcde"[: several(i)]] for i in range(40)]
    measure, found = recalls(tmp_path, captions)
    ours = measure()
    assert ours["equal_captions"] == 0
    for k in (1, 5, 10):
        image, text = ours["text_to_image"], ours["image_to_text"]
        assert image[f"recall@{k}"]["value"] == pytest.approx(found[f"image_retrieval_recall@{k}"])
        assert text[f"recall@{k}"]["value"] == pytest.approx(found[f"text_retrieval_recall@{k}"])


def test_the_rule_of_the_literature_is_bounded_by_how_ties_count(tmp_path):
    # "a thing" stands at every fourth picture: in the literature one of them alone is right, and
    # the others, which score the same, come before or after it as a sort happens to leave them.
    captions = [["a thing" if i % 4 == 0 else f"{i} a", f"{i} b"] for i in range(40)]
    measure, found = recalls(tmp_path, captions)
    rules = [measure(duplicates="strict", ties=ties) for ties in ("against", "for")]
    assert [rule["ties"] for rule in rules] == ["against", "for"]
    assert rules[0]["equal_captions"] == 10
    wide = 0
    for direction, name in (("text_to_image", "image"), ("image_to_text", "text")):
        for k in (1, 5, 10):
            low, high = (rule[direction][f"recall@{k}"]["value"] for rule in rules)
            assert low - 1e-6 <= found[f"{name}_retrieval_recall@{k}"] <= high + 1e-6
            wide += low < high
    assert wide  # there was something to tell apart
    # The default merges them: one query, for which all ten pictures are right.
    assert measure()["text_to_image"]["recall@1"]["n"] == 71
