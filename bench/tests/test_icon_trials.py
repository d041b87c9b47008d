"""Trials on icons: what they measure, and the batches that they compare."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helip

SPLITS = [
    "train", "designers-validation", "designers-test", "names-validation", "names-test",
    "variants-validation", "variants-test",
]  # fmt: skip


def _icons(experiments: Any) -> Any:
    """Of 300 rows and 90 captions."""
    rng = np.random.default_rng(4)
    groups = np.concatenate([np.arange(90), rng.integers(0, 90, 210)])
    splits = rng.integers(0, len(SPLITS), 300)
    known = np.isin(groups, groups[splits == 0])
    icons = experiments("icons")
    return icons.Icons(
        folder=Path(), keys=[str(row) for row in range(300)],
        captions=[f"caption {group}" for group in groups], groups=groups,
        sets=np.zeros(300, np.int64), set_names=["a"], designers=np.zeros(300, np.int64),
        designer_names=["a"], splits=splits, split_names=SPLITS, known=known,
    )  # fmt: skip


def test_recall_is_that_of_a_plain_search(experiments: Any) -> None:
    icon_recall, data = experiments("icon_recall"), _icons(experiments)
    rng = np.random.default_rng(5)
    image, text = rng.normal(size=(300, 6)), rng.normal(size=(90, 6))
    # So that some answers are right.
    image += 1.5 * text[data.groups]
    found = icon_recall.recall(data, torch.from_numpy(image), torch.from_numpy(text), "test")
    for split in ("variants", "names", "designers"):
        rows = [row for row in range(300) if SPLITS[data.splits[row]] == f"{split}-test"]
        if split == "designers":
            rows = [row for row in rows if data.known[row]]
        to_text = [int(np.argmax(text @ image[row]) == data.groups[row]) for row in rows]
        assert found["figures"][f"{split} I→T"] == pytest.approx(np.mean(to_text))
        to_image = []
        for caption in sorted({data.groups[row] for row in rows}):
            gallery = [row for row in range(300) if data.groups[row] != caption or row in rows]
            best = max(gallery, key=lambda row: image[row] @ text[caption])
            to_image.append(data.groups[best] == caption)
        assert found["figures"][f"{split} T→I"] == pytest.approx(np.mean(to_image))
        assert 0 < np.mean(to_text) < 1


def test_features_that_are_not_finite_are_no_answer(experiments: Any) -> None:
    icon_recall, data = experiments("icon_recall"), _icons(experiments)
    image, text = torch.ones(300, 6), torch.full((90, 6), torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        icon_recall.recall(data, image, text, "test")


def _table(rows: int = 400, k: int = 12) -> helip.HardPairs:
    """Groups of 20 rows, scattered; pools lie within a group."""
    rng = np.random.default_rng(6)
    ids = np.empty((rows, k), np.int64)
    for row in range(rows):
        near = np.arange(row % (rows // 20), rows, rows // 20)
        ids[row] = rng.permutation(near[near != row])[:k]
    scores = np.broadcast_to(np.linspace(0.9, 0.5, k, dtype=np.float32), ids.shape)
    return helip.HardPairs.from_arrays(
        ids, scores, fingerprint="a", data_fingerprint="b", options={}
    )


def test_b3_covers_each_row_once_an_epoch_in_batches_of_parts(experiments: Any) -> None:
    pytest.importorskip("pymetis")
    rivals, pairs = experiments("rivals"), _table()
    batches = rivals.b3(pairs, 40, 0, ranks=10, part=20)
    epoch = [next(batches) for _ in range(10)]
    assert sorted(np.concatenate(epoch).tolist()) == list(range(400))
    inside = np.mean([np.isin(pairs.ids[batch], batch).mean() for batch in epoch])
    assert inside > 0.5  # of any batch of 40: 0.1


def test_falcon_learns_the_hardness_that_lowers_the_loss_of_plain_batches(
    experiments: Any,
) -> None:
    falcon = experiments("falcon")
    rng = np.random.default_rng(3)
    image, text, _, _ = _features(64)
    similar = (image @ text.T + text @ image.T) / 2
    hardness: list[float] = []
    asked = 0

    def features(rows: np.ndarray) -> Any:
        return torch.from_numpy(image[rows]).float(), torch.from_numpy(text[rows]).float()

    def plain_loss(rows: np.ndarray) -> float:
        """Asked for before a step and after it: a step helps as much as its batch is hard."""
        nonlocal asked
        asked += 1
        return 5.0 if asked % 2 else 5.0 - hardness[-1] + 0.001 * rng.normal()

    batches = falcon.falcon(features, plain_loss, 64, 16, 0)
    for _ in range(150):
        space = [next(batches)]
        for _ in range(3):
            hardness.append(np.mean([similar[a, b] for a, b in itertools.pairwise(space[-1])]))
            space.append(next(batches))
        hardness.append(np.mean([similar[a, b] for a, b in itertools.pairwise(space[-1])]))
        assert sorted(np.concatenate(space)) == list(range(64))
    assert np.mean(hardness[-100:]) > np.mean(hardness[:100]) + 0.05


def test_every_way_is_one_that_the_loader_takes(experiments: Any) -> None:
    ways = experiments("ways")
    from support.loader_samples import FakeData, random_pools, table_of

    pairs = table_of(random_pools(300, 100, seed=1), 100)
    for way in ways.WAYS:
        batch, beside = next(ways.batches(way, FakeData(300), pairs, 64, 0))
        target = beside["target"]
        assert 32 <= len(batch) <= 64, way
        assert target.shape == batch.shape
        # Row i serves row target[i], whose hard pair it is, or itself.
        served = batch[target]
        assert all(a == b or a in pairs.ids[b] for a, b in zip(batch, served, strict=True)), way
        assert ("hard_rows" in beside) is way.startswith("communities")
        if "hard_rows" in beside:
            first, last = ways.WAYS[way].get("rank_min", 0), ways.WAYS[way]["rank_max"]
            for row, hard in zip(batch, beside["hard_rows"], strict=True):
                window = set(pairs.ids[row, first:last]) & set(batch)
                assert set(batch[hard[hard >= 0]]) == window, way


def test_every_experiment_is_of_known_ways_and_compared_with_a_trial_of_its_own(
    experiments: Any,
) -> None:
    ways = experiments("ways")
    for name, experiment in experiments("icon_experiments").EXPERIMENTS.items():
        names = [trial.name for trial in experiment.variants]
        assert len(set(names)) == len(names), name
        assert set(experiment.compared.values()) <= set(names), name
        for trial in experiment.variants:
            assert trial.way in {"start", "FALCON", *ways.WAYS, *ways.PARTITIONS}, trial.name


def _features(rows: int = 12) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(8)
    image, text = rng.normal(size=(2, rows, 5))
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    groups = rng.integers(0, rows // 2, rows)
    return image, text, groups[:, None] == groups[None], 14.0


def _mean_of_rows(image: Any, text: Any, equal: Any, row_loss: Any) -> float:
    """Of a loss of a row's own cosine and its negatives', over rows and directions."""
    losses = []
    for cosines in (image @ text.T, text @ image.T):
        for i in range(len(cosines)):
            negatives = [cosines[i, j] for j in range(len(cosines)) if not equal[i, j]]
            losses.append(row_loss(cosines[i, i], np.array(negatives)))
    return float(np.mean(losses))


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_hn_nce_weighs_negatives_by_their_hardness(experiments: Any, alpha: float) -> None:
    losses, beta = experiments("rival_losses"), 0.5
    image, text, equal, scale = _features()

    def row(own: float, negatives: Any) -> float:
        weights = np.exp(beta * scale * negatives)
        weights *= len(negatives) / weights.sum()
        total = (weights * np.exp(scale * negatives)).sum()
        return float(-np.log(np.exp(scale * own) / (alpha * np.exp(scale * own) + total)))

    found = losses.hn_nce(
        torch.from_numpy(image), torch.from_numpy(text), torch.tensor(scale).double(),
        torch.from_numpy(equal), beta=beta, alpha=alpha,
    )  # fmt: skip
    assert float(found) == pytest.approx(_mean_of_rows(image, text, equal, row))


@pytest.mark.parametrize("prior", [0.0, 0.01, 0.6])
def test_the_debiased_loss_subtracts_the_part_of_positives(experiments: Any, prior: float) -> None:
    losses = experiments("rival_losses")
    image, text, equal, scale = _features()

    def row(own: float, negatives: Any) -> float:
        there, positive = len(negatives), np.exp(scale * own)
        total = np.exp(scale * negatives).sum()
        total = max((total - there * prior * positive) / (1 - prior), there * np.exp(-scale))
        return float(-np.log(positive / (positive + total)))

    found = losses.debiased(
        torch.from_numpy(image), torch.from_numpy(text), torch.tensor(scale).double(),
        torch.from_numpy(equal), prior=prior,
    )  # fmt: skip
    assert float(found) == pytest.approx(_mean_of_rows(image, text, equal, row))


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_hardest_of_a_batch_adds_its_hinge_to_the_clip_loss(
    experiments: Any, weight: float
) -> None:
    losses, margin = experiments("rival_losses"), 0.2
    image, text, equal, scale = _features()

    def row(own: float, negatives: Any) -> float:
        clip = -np.log(np.exp(scale * own) / np.exp(scale * np.append(negatives, own)).sum())
        # Of two directions, the sum: twice the mean.
        return float(clip + 2 * weight * max(0.0, margin + negatives.max() - own))

    learnt = [torch.tensor(part, dtype=torch.double, requires_grad=True)
              for part in (image, text, scale)]  # fmt: skip
    found = losses.hardest(*learnt, torch.from_numpy(equal), weight=weight, margin=margin)
    assert float(found.detach()) == pytest.approx(_mean_of_rows(image, text, equal, row))
    found.backward()
    assert all(part.grad.isfinite().all() for part in learnt)


def _scene(experiments: Any) -> Any:
    """A scene of `_icons`, features near those of their captions."""
    from support.loader_samples import FakeData

    icons, rng = _icons(experiments), np.random.default_rng(9)
    concepts = rng.normal(size=(90, 24))
    image = concepts[icons.groups] + 0.5 * rng.normal(size=(300, 24))
    train = icons.rows("train")
    data = FakeData(len(train))
    scene = experiments("icon_scene").Scene(
        icons, *(torch.from_numpy(part).bfloat16() for part in (image, concepts[icons.groups])),
        train, train, data,
    )  # fmt: skip
    for pool in ("product", "image", "sum"):
        scene.tables[pool] = experiments("icon_scene").mined(
            scene, scene.image[train], scene.texts[train], pool
        )
    return scene


def test_sum_pools_are_those_of_the_mean_of_both_similarities(experiments: Any) -> None:
    scene = _scene(experiments)
    rows = [
        torch.nn.functional.normalize(part[scene.train].double(), dim=-1)
        for part in (scene.image, scene.texts)
    ]
    similar = sum(part @ part.T for part in rows) / 2
    similar.fill_diagonal_(-2)
    best = similar.topk(5, dim=1)
    found = scene.pairs("sum").scores[:, :5]
    assert np.allclose(found, best.values.numpy(), atol=2e-3)


@pytest.mark.parametrize("pool", ["product", "own"])
@pytest.mark.parametrize("way", ["control", "HELIP, p = 1", "communities of 8"])
def test_heads_learn_by_each_way_and_the_same_each_time(
    experiments: Any, way: str, pool: str
) -> None:
    heads, trial = experiments("heads"), experiments("icon_trials").Trial
    scene = _scene(experiments)
    tried = trial(way, way, steps=30, rows=32, pool=pool, refreshed=2, loss={"gamma": 0.1})
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        model = heads.Heads(24, 24)
        before = heads.measure(model, scene)["test"]["figures"]["mean"]
        told = heads.train(model, scene, tried, 0)
        results.append((told["loss"], heads.measure(model, scene)["test"]["figures"]["mean"]))
    assert results[0] == results[1]
    assert results[0][1] > before + 0.1
    assert told["held"] > (3 if way == "communities of 8" else 0)


def test_each_part_of_refreshed_pools_has_an_order_of_its_own(experiments: Any) -> None:
    heads, trial = experiments("heads"), experiments("icon_trials").Trial
    # Plain batches, which depend on the seed and not on the pools.
    tried = trial("control", "control", steps=2, rows=20, pool="own", refreshed=2)
    coming = heads.batches(_scene(experiments), heads.Heads(24, 24), tried, 0)
    one, other = (next(coming)[0].tolist() for _ in range(2))
    assert one != other


def test_the_identity_of_a_trial_is_what_it_does_and_not_its_name(experiments: Any) -> None:
    trial = experiments("icon_trials").Trial
    assert trial("a", steps=4).identity == trial("b", steps=4, against="c").identity
    assert trial("a", steps=4).identity != trial("a", steps=5).identity
    later = trial("a", steps=4, keeping={"distill": 1.0}, stamps=True)
    assert later.identity == {
        **trial("a", steps=4).identity, "keeping": {"distill": 1.0}, "stamps": True,
    }  # fmt: skip


def test_distillation_keeps_heads_near_those_they_began_from(experiments: Any) -> None:
    heads, trial = experiments("heads"), experiments("icon_trials").Trial
    scene, moved = _scene(experiments), []
    for weight in (0.0, 100.0):
        torch.manual_seed(0)
        model = heads.Heads(24, 24)
        before = model(scene.image, scene.texts)[0].detach()
        tried = trial("a", steps=30, rows=32, keeping={"distill": weight} if weight else {})
        heads.train(model, scene, tried, 0)
        after = model(scene.image, scene.texts)[0].detach()
        moved.append(float((1 - (after * before).sum(dim=1)).mean()))
    assert moved[1] < 0.2 * moved[0]


def test_wise_ft_is_the_mean_of_the_weights(experiments: Any) -> None:
    heads = experiments("heads")
    tuned, begun = heads.Heads(4, 4), heads.Heads(4, 4)
    expected = 0.25 * tuned.image[0].weight + 0.75 * begun.image[0].weight
    heads.interpolate(tuned, begun, 0.25)
    assert torch.allclose(tuned.image[0].weight, expected)


def test_stamps_are_measured_as_a_plain_search_does(experiments: Any, monkeypatch: Any) -> None:
    stamps, rng = experiments("icon_stamps"), np.random.default_rng(10)
    caption, label = np.repeat(np.arange(20), 3), np.repeat(np.arange(4), 15)
    concepts = rng.normal(size=(20, 8))
    text, image = concepts[caption], concepts[caption] + rng.normal(size=(60, 8))
    prompts = rng.normal(size=(4, 2, 8)) + concepts[::5][:, None]
    given = {"image": image, "text": text, "prompts": prompts, "caption": caption, "label": label}
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    monkeypatch.setattr(stamps, "features", lambda: tensors)

    def heads(image: Any, text: Any) -> Any:
        return tuple(torch.nn.functional.normalize(part, dim=-1) for part in (image, text))

    def unit(rows: Any) -> Any:
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    found = stamps.measure(heads)
    similar = unit(image) @ unit(concepts).T
    to_text = [sum(row > row[right]) < 5 for row, right in zip(similar, caption, strict=True)]
    best = [max(similar[caption == c, c]) for c in caption]
    to_image = [
        sum(similar[caption != c, c] > mine) < 5 for c, mine in zip(caption, best, strict=True)
    ]
    classes = unit(prompts).mean(axis=1)
    zero_shot = np.argmax(unit(image) @ classes.T, axis=1) == label
    expected = [float(np.mean(each)) for each in (to_text, to_image, zero_shot)]
    assert [found[name] for name in stamps.FIGURES] == pytest.approx([np.mean(expected), *expected])
    assert 0.3 < np.mean(expected) < 0.95
