"""The linear probe against scikit-learn, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.evaluation.evaluating import evaluate
from helip.evaluation.statistics.comparison import compare
from helip.evaluation.tasks.linear_probe import LAMBDAS, _held_out, fit, linear_probe
from helip.evaluation.tasks.queries import checked_rows
from support.evaluate_samples import COLOURS, ColourData, ColourModel, tokenizer, transform

CLASSES, WIDTH = 5, 12
NAMES = [f"class {number}" for number in range(CLASSES)]


def blobs(n, seed, spread=0.6):
    centres = np.random.default_rng(7).normal(size=(CLASSES, WIDTH))
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(CLASSES), random.integers(0, CLASSES, n - CLASSES)])
    return centres[labels] + spread * random.normal(size=(n, WIDTH)) * np.sqrt(WIDTH), labels


def unit(rows):
    """float64, of the float32 rows that a probe is fitted to."""
    return checked_rows(rows, "rows", "cpu").double().numpy()


@pytest.mark.parametrize("regularisation", [1e-2, 1.0, 30.0])
def test_the_fit_is_that_of_scikit_learn(regularisation):
    sklearn = pytest.importorskip("sklearn.linear_model")
    rows, labels = blobs(300, 0)
    rows = unit(rows)
    theirs = sklearn.LogisticRegression(C=1 / regularisation, tol=1e-12, max_iter=10_000)
    theirs.fit(rows, labels)
    probe = fit(
        torch.as_tensor(rows), labels, CLASSES, regularisation=regularisation, tolerance=1e-9
    )
    assert probe.converged
    np.testing.assert_allclose(probe.weights[:, :-1], theirs.coef_, atol=3e-5 / regularisation)
    ours = probe.logits(torch.as_tensor(rows)).softmax(dim=1)
    np.testing.assert_allclose(ours, theirs.predict_proba(rows), atol=1e-5)


def test_the_fit_does_not_depend_on_the_blocks_that_rows_are_summed_in(monkeypatch):
    rows, labels = blobs(200, 0)
    whole = fit(torch.as_tensor(rows), labels, CLASSES, regularisation=1.0)
    monkeypatch.setattr("helip.evaluation.tasks.linear_probe.BLOCK", 13 * WIDTH)
    pieces = fit(torch.as_tensor(rows), labels, CLASSES, regularisation=1.0)
    torch.testing.assert_close(whole.weights, pieces.weights, atol=1e-6, rtol=1e-6)


def test_the_figures_are_those_of_scikit_learn_at_the_same_regularisation():
    sklearn = pytest.importorskip("sklearn.linear_model")
    metrics = pytest.importorskip("sklearn.metrics")
    (rows, labels), (images, wanted) = blobs(200, 0), blobs(300, 1)
    result = linear_probe(
        rows, labels, images, wanted, class_names=NAMES, regularisation=0.5, bootstrap=50
    )
    theirs = sklearn.LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000)
    rows, images = unit(rows), unit(images)
    theirs.fit(rows, labels)
    found = theirs.predict(images)
    assert result["top1"]["value"] == pytest.approx((found == wanted).mean())
    assert result["mean_per_class"]["value"] == pytest.approx(
        metrics.balanced_accuracy_score(wanted, found)
    )
    top5 = metrics.top_k_accuracy_score(wanted, theirs.predict_proba(images), k=2)
    assert result["top1"]["value"] <= top5 <= result["top5"]["value"] == 1.0
    assert result["top1"]["low"] < result["top1"]["value"] < result["top1"]["high"]
    assert result["regularisation"] == 0.5
    assert result["validation_accuracy"] is None


def test_the_regularisation_is_chosen_on_the_rows_held_out():
    rows, labels = blobs(150, 0, spread=1.0)
    result = linear_probe(rows, labels, rows, labels, class_names=NAMES, bootstrap=0)
    mask = _held_out(labels, 0.2, seed=0)
    scaled = checked_rows(rows, "rows", "cpu")

    def accuracy(value):
        probe = fit(scaled[~mask], labels[~mask], CLASSES, regularisation=float(value))
        return (probe.logits(scaled[mask]).argmax(dim=1).numpy() == labels[mask]).mean()

    assert result["regularisation"] in LAMBDAS
    assert result["validation_accuracy"] == pytest.approx(accuracy(result["regularisation"]))
    assert result["validation_accuracy"] >= max(accuracy(value) for value in LAMBDAS[::16])
    assert result["validation_rows"] == mask.sum()
    assert result["train_rows"] == 150


def test_noise_wants_stronger_regularisation_than_what_can_be_told_apart():
    chosen = [
        linear_probe(*blobs(100, 0, spread), *blobs(50, 1, spread), class_names=NAMES, bootstrap=0)
        for spread in (0.1, 2.0)
    ]
    assert chosen[0]["regularisation"] < chosen[1]["regularisation"]


def test_each_class_lends_a_share_and_keeps_a_row():
    labels = np.array([0] * 50 + [1] * 10 + [2] * 2 + [3])
    mask = _held_out(labels, 0.2, seed=3)
    assert [int(mask[labels == c].sum()) for c in range(4)] == [10, 2, 1, 0]
    assert (_held_out(labels, 0.2, seed=3) == mask).all()
    assert (_held_out(labels, 0.2, seed=4) != mask).any()
    assert [int(_held_out(labels, 0.99, seed=0)[labels == c].sum()) for c in (1, 2)] == [9, 1]


def test_the_same_seed_gives_the_same_result():
    (rows, labels), (images, wanted) = blobs(80, 0), blobs(60, 1)
    first, again = (
        linear_probe(rows, labels, images, wanted, class_names=NAMES, bootstrap=20, seed=5)
        for _ in range(2)
    )
    assert first == again


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"train_labels": [0, 1, 5, 1]}, r"train_labels\[2\] is 5, must be in 0 … 1"),
        ({"labels": [0, -1]}, r"labels\[1\] is -1"),
        ({"labels": [0]}, "the shape of labels is"),
        ({"train_labels": [0, 0, 0, 0]}, "1 classes have pictures to measure but none to train"),
        ({"image_features": np.ones((2, 2))}, "the width of image_features is 2, must be 3"),
        ({"image_features": np.full((2, 3), np.inf)}, "row 0 holds NaN or infinity"),
        ({"train_features": np.ones((0, 3))}, "at least one row"),
        ({"class_names": ["a"]}, "the number of classes is 1, must be at least 2"),
        ({"regularisation": -1.0}, "regularisation is -1"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"max_iterations": 0}, "max_iterations is 0"),
        (
            {"train_features": np.eye(3)[:2], "train_labels": [0, 1]},
            "none of the 2 classes has two training rows",
        ),
    ],
)
def test_bad_input_is_refused_with_the_mend(bad, words):
    given = {
        "train_features": np.eye(4, 3),
        "train_labels": [0, 1, 0, 1],
        "image_features": np.eye(2, 3),
        "labels": [0, 1],
        "class_names": ["a", "b"],
    } | bad
    names = ("train_features", "train_labels", "image_features", "labels")
    arrays = [given.pop(name) for name in names]
    with pytest.raises(InvalidArgumentError, match=words):
        linear_probe(*arrays, **given)


# Against CLIP_benchmark


@pytest.mark.parametrize(("classes", "width", "spread"), [(5, 12, 1.2), (20, 64, 2.5)])
def test_the_accuracy_is_near_that_of_clip_benchmark_on_the_same_features(
    classes, width, spread, monkeypatch
):
    """It takes AdamW's ten epochs at 0.1 for the optimum, so that figures are near, not equal."""
    theirs = pytest.importorskip("clip_benchmark.metrics.linear_probe")
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda module, *device: module)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor, *device: tensor)
    centres = np.random.default_rng(7).normal(size=(classes, width))

    def sample(rows, seed):
        random = np.random.default_rng(seed)
        labels = random.permutation(np.arange(rows) % classes)
        return centres[labels] + spread * random.normal(size=(rows, width)), labels

    def batches(rows, labels, shuffle):
        dataset = theirs.FeatureDataset(checked_rows(rows, "rows", "cpu"), torch.as_tensor(labels))
        return torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=shuffle)

    train, test = sample(1500, 0), sample(2000, 1)
    model = theirs.train(
        batches(*train, True), width, classes, weight_decay=0.0, lr=0.1, epochs=10, amp=False,
        device="cpu", seed=0,
    )  # fmt: skip
    logits, target = theirs.infer(model, batches(*test, False), False, "cpu")
    # Not by its accuracy(), which NumPy 2.4 breaks.
    ranks = 1 + (logits > logits.gather(1, target[:, None])).sum(dim=1)
    names = [f"class {number}" for number in range(classes)]
    ours = linear_probe(*train, *test, class_names=names, bootstrap=0)
    for k in (1, 5):
        found = (ranks <= k).double().mean().item()
        assert ours[f"top{k}"]["value"] == pytest.approx(found, abs=0.025)
    assert 0.5 < ours["top1"]["value"] < 0.95  # a set on which probes could differ


# Through evaluate


def measured(rows, train, **options):
    train = train if isinstance(train, ColourData) else ColourData(train)
    return evaluate(
        ColourModel(), ColourData(rows), tasks=("linear_probe",), train=train,
        transform=transform, tokenizer=tokenizer, bootstrap=20, progress=False, device="cpu",
        **options,
    )  # fmt: skip


ROWS = [(name, "") for name in COLOURS]


def test_evaluate_fits_to_the_training_set_and_measures_the_other():
    result = measured(ROWS, [*ROWS * 3, (None, "")], keep_ranks=True)["linear_probe"]
    assert result["top1"]["value"] == 1.0
    assert result["train_rows"] == 12
    assert result["train_skipped"]["reasons"] == {"unreadable_image": 1}
    assert set(result["per_class"]) == set(COLOURS)


def test_probes_fitted_to_other_rows_are_not_compared():
    one = measured(ROWS, ROWS * 3, keep_ranks=True)
    other = ColourData(ROWS * 3)
    other.keys = [f"other {key}" for key in other.keys]  # as many of each label, other pictures
    three = measured(ROWS, other, keep_ranks=True)
    with pytest.raises(ValueError, match="different queries of linear_probe"):
        compare(one, three)
    two = measured(ROWS, ROWS * 4, keep_ranks=True)
    assert compare(one, one, bootstrap=20)["linear_probe"]["top1"]["value"] == 0.0
    with pytest.raises(ValueError, match="different queries of linear_probe"):
        compare(one, two)


def test_labels_that_the_classes_lack_are_named():
    with pytest.raises(InvalidArgumentError, match="not among the 3 classes: 'white'"):
        measured(ROWS[:3], ROWS * 2)


def test_each_task_is_handed_over_as_soon_as_it_is_measured():
    seen = []

    def stop(result, task):
        seen.append((task, task in result, "linear_probe" in result))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(
            ColourModel(), ColourData(ROWS), tasks=("zero_shot", "linear_probe"),
            train=ColourData(ROWS * 3), transform=transform, tokenizer=tokenizer, bootstrap=0,
            progress=False, device="cpu", on_task=stop,
        )  # fmt: skip
    assert seen == [("zero_shot", True, False)]
