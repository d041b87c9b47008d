"""CLIP_benchmark's webdataset layout: what is read and refused, and the same figures as theirs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.evaluation.evaluating import evaluate
from helip.evaluation.sets.benchmark import is_benchmark, open_benchmark
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
    assert found.groups == np.repeat(np.arange(12), 3).tolist()
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


def test_accuracy_equals_that_of_clip_benchmark(classification):
    zeroshot = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    bundle, data, loader = theirs(classification)
    classifier = zeroshot.zero_shot_classifier(
        bundle.model.eval(), bundle.tokenizer, data.classes, data.templates, "cpu", amp=False
    )
    # Not by its evaluate(), which NumPy 2.4 breaks.
    logits, target = zeroshot.run_classification(bundle.model, classifier, loader, "cpu", amp=False)
    right = (logits.argmax(dim=1) == target).double().numpy()
    ours = evaluate(bundle, classification, bootstrap=0, progress=False, device="cpu")["zero_shot"]
    assert ours["top1"]["value"] == pytest.approx(right.mean())
    per_class = [right[target.numpy() == c].mean() for c in range(4)]
    assert ours["mean_per_class"]["value"] == pytest.approx(np.mean(per_class))


def test_recall_equals_that_of_clip_benchmark(tmp_path):
    pairs = [(png(picture(i)), "\n".join(f"{c} {i}" for c in "abcde")) for i in range(40)]
    retrieval = write_benchmark(tmp_path / "captions", pairs, retrieval=True, shards=3)
    metric = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    bundle, _, loader = theirs(retrieval, task="zeroshot_retrieval")
    found = metric.evaluate(
        bundle.model.eval(), loader, bundle.tokenizer, "cpu", amp=False, recall_k_list=[1, 5]
    )
    ours = evaluate(bundle, retrieval, bootstrap=0, progress=False, device="cpu")["retrieval"]
    for k in (1, 5):
        image, text = ours["text_to_image"], ours["image_to_text"]
        assert image[f"recall@{k}"]["value"] == pytest.approx(found[f"image_retrieval_recall@{k}"])
        assert text[f"recall@{k}"]["value"] == pytest.approx(found[f"text_retrieval_recall@{k}"])
