"""Rivals of hard pairs: batches chosen from super-batches, a global loss, and parts of captions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse


def _logits(rows: int, seed: int, scale: float = 8.0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    image, text = rng.normal(size=(2, rows, 6))
    image += text
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    return torch.from_numpy(scale * image @ text.T).float()


def test_learnability_is_that_of_the_losses_among_the_rows_drawn(experiments: Any) -> None:
    selection = experiments("selection")
    logits = _logits(20, 0), _logits(20, 1)
    for matrix in logits:
        matrix[3, 7] = matrix[7, 3] = -torch.inf  # no negatives of each other
    models = [selection.Conditional(matrix) for matrix in logits]
    drawn: list[int] = []
    for chunk in ([], [7, 2], [11, 19, 4]):
        drawn += chunk
        if chunk:
            for model in models:
                model.add(torch.tensor(chunk))
        expected = []
        for row in range(20):
            losses = []
            for matrix in logits:
                s = matrix.double().numpy()
                ways = [np.exp(s[row, drawn]).sum(), np.exp(s[drawn, row]).sum()]
                losses.append(np.log(ways).mean() - s[row, row] if drawn else -s[row, row])
            expected.append(losses[0] - losses[1])
        found = selection.learnability(*models).numpy()
        assert found == pytest.approx(expected, abs=1e-5)


def test_jest_draws_rows_that_are_learnable_and_negatives_of_each_other(experiments: Any) -> None:
    selection = experiments("selection")
    # The learner confuses rows of a group of 8; the reference does not, but in group 0.
    groups = np.arange(96) // 8
    alike = torch.from_numpy(groups[:, None] == groups[None])
    own = torch.eye(96, dtype=torch.bool)
    # The reference is as wrong as the learner of the rows from 72 on, which have noise captions.
    noise = torch.arange(96) >= 72
    own_logit = torch.where(noise, -4.0, 4.0)

    def logits(positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        learner = torch.where(alike, 4.0, 0.0)
        learner[own] = torch.where(noise, -4.0, 0.0)
        reference = torch.where(own, own_logit, torch.zeros(96, 96))
        return tuple(part[positions][:, positions] for part in (learner, reference))

    batches = selection.jest(logits, 96, 16, 0, factor=6, chunks=8)
    together = []
    for batch in itertools.islice(batches, 20):
        assert batch.dtype == np.int64 and len(set(batch.tolist())) == 16
        assert (batch < 72).mean() > 0.85
        together.append((groups[batch][:, None] == groups[batch][None]).sum(1).mean())
    assert np.mean(together) > 4  # by chance 2.1


def test_jest_asks_once_a_batch_and_covers_an_epoch(experiments: Any) -> None:
    selection, asked = experiments("selection"), []

    def logits(positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(positions)
        return _logits(len(positions), 0), _logits(len(positions), 1)

    batches = list(itertools.islice(selection.jest(logits, 50, 5, 3, factor=4, chunks=16), 4))
    assert [len(positions) for positions in asked] == [20] * 4
    for first in (0, 2):  # two super-batches an epoch; ten rows are dropped
        assert len(set(np.concatenate(asked[first : first + 2]).tolist())) == 40
    assert all(np.isin(*pair).all() for pair in zip(batches, asked, strict=True))
    again = list(itertools.islice(selection.jest(logits, 50, 5, 3, factor=4, chunks=16), 4))
    assert np.array_equal(batches, again)
    with pytest.raises(ValueError, match="super-batch of 60 rows"):
        next(selection.jest(logits, 50, 5, 3, factor=12))


def _concepts(rows: int, concepts: int) -> Any:
    """Some common, most of them rare; row 4 holds none."""
    rng = np.random.default_rng(2)
    held = rng.random((rows, concepts)) < rng.beta(0.5, 4, concepts)
    held[4] = False
    return held, sparse.csr_array(held)


@pytest.mark.parametrize(("concepts", "target"), [(90, 1), (9, 5)])
def test_cabs_takes_the_row_with_the_largest_gain_each_time(
    experiments: Any, concepts: int, target: int
) -> None:
    held, matrix = _concepts(100, concepts)
    frequency, taken = held.sum(0), np.zeros(concepts)
    assert max(1, 40 // (frequency > 0).sum()) == target
    left = list(range(100))
    for row in experiments("selection").most_diverse(matrix, 40):
        gains = {}
        for i in left:
            parts = [
                (target - taken[c]) / target + 1 / frequency[c] if taken[c] < target else 0
                for c in np.flatnonzero(held[i])
            ]
            gains[i] = np.mean(parts) if parts else -1
        assert gains[row] == pytest.approx(max(gains.values()), abs=1e-9)
        left.remove(row)
        taken += held[row]
    assert 4 in left


def test_cabs_makes_batches_of_many_concepts_of_both_kinds(experiments: Any) -> None:
    selection = experiments("selection")
    held, matrix = _concepts(200, 300)
    found = {}
    for kind in ("diversity", "frequency"):
        batches = selection.cabs(matrix, 200, 20, 0, factor=5, kind=kind)
        found[kind] = [next(batches) for _ in range(4)]
        assert all(len(set(batch.tolist())) == 20 for batch in found[kind])
    # The super-batches of both kinds are the same.
    order = np.random.default_rng(0).permutation(200)
    most = np.sort(held[order[:100]].sum(1))[-20:]
    assert np.array_equal(np.sort(held[found["frequency"][0]].sum(1)), most)

    def evenness(batch: np.ndarray) -> float:
        counts = held[batch].sum(0)
        return float((counts > 0).sum() / counts.sum())

    plain = np.mean([evenness(order[start : start + 20]) for start in range(0, 200, 20)])
    assert all(evenness(batch) > 1.1 * plain for batch in found["diversity"])
    with pytest.raises(ValueError, match="concepts of 200 rows"):
        next(selection.cabs(matrix, 201, 20, 0, factor=5, kind="diversity"))


def test_concepts_are_the_common_content_words(experiments: Any) -> None:
    captions = ["Two dogs run on the grass .", "A dog's ball", "the Dog and the balls", "grass"]
    found = experiments("selection").concepts_of(captions, least=2)
    # ball, dog, grass
    assert found.toarray().tolist() == [
        [False, True, True], [True, True, False], [True, True, False], [False, False, True],
    ]  # fmt: skip


def _global_loss(image: Any, text: Any, tau: float, equal: Any, margin: float) -> Any:
    """The loss over all pairs, in plain loops."""
    loss = 0.0
    for one, other in ((image, text), (text, image)):
        for i in range(len(one)):
            own = one[i] @ other[i]
            terms = [
                torch.exp((one[i] @ other[j] - own + margin).clamp(min=0) ** 2 / tau)
                for j in range(len(one)) if j != i and not equal[i, j]
            ]  # fmt: skip
            loss = loss + tau * torch.log(sum(terms) / len(terms)) / len(one)
    return loss


def _features(rows: int) -> list[torch.Tensor]:
    rng = np.random.default_rng(8)
    return [
        torch.nn.functional.normalize(torch.from_numpy(part), dim=1).requires_grad_()
        for part in rng.normal(size=(2, rows, 5))
    ]


def test_a_batch_of_all_rows_has_the_global_loss_and_its_gradient(experiments: Any) -> None:
    features, tau = _features(9), 0.05
    groups = np.array([0, 1, 2, 0, 3, 4, 5, 1, 0])
    equal = torch.from_numpy(groups[:, None] == groups[None])
    expected = _global_loss(*features, tau, equal, 0.2)
    wanted = torch.autograd.grad(expected, features)
    hinged = experiments("rival_losses").HingedGlobal(9, margin=0.2, gamma=1.0)
    found = hinged(*features, torch.tensor(1 / tau).double(), equal, torch.arange(9))
    assert float(found.detach()) == pytest.approx(float(expected.detach()))
    for one, other in zip(torch.autograd.grad(found, features), wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-6)


def test_batches_with_exact_estimates_have_the_global_gradient_on_average(
    experiments: Any,
) -> None:
    features, tau, none = _features(6), 0.1, torch.zeros(6, 6, dtype=torch.bool)
    wanted = torch.autograd.grad(_global_loss(*features, tau, none, 0.1), features)
    losses = experiments("rival_losses")
    # The moving average of one batch of all rows is exact; with gamma = 0 it stays.
    hinged = losses.HingedGlobal(6, gamma=0.0)
    with torch.no_grad():
        hinged(*features, 1 / tau, none, torch.arange(6))
    pairs = [torch.tensor(pair) for pair in itertools.combinations(range(6), 2)]
    mean = sum(
        hinged(features[0][pair], features[1][pair], 1 / tau, none[:2, :2], pair) for pair in pairs
    ) / len(pairs)
    for one, other in zip(torch.autograd.grad(mean, features), wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_estimates_move_by_gamma_and_rows_without_negatives_stay(experiments: Any) -> None:
    features, none = _features(4), torch.zeros(4, 4, dtype=torch.bool)
    hinged = experiments("rival_losses").HingedGlobal(7, gamma=0.3)
    rows, seen = torch.tensor([5, 0, 2, 3]), []
    for first in (0, 1):
        part = [feature[first:].detach() for feature in features]
        hinged(*part, 10.0, none[first:, first:], rows[first:])
        fresh = experiments("rival_losses").HingedGlobal(7, gamma=1.0)
        fresh(*part, 10.0, none[first:, first:], rows[first:])
        seen.append(fresh.estimates[0].exp())
    expected = 0.7 * seen[0][rows[1:]] + 0.3 * seen[1][rows[1:]]
    assert torch.allclose(hinged.estimates[0][rows[1:]].exp(), expected)
    assert hinged.estimates[0].isinf().tolist() == [False, True, False, False, True, False, True]
    before = [part.clone() for part in hinged.estimates]
    loss = hinged(*features, 10.0, ~none, rows)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all((part.grad == 0).all() for part in features)
    assert all(map(torch.equal, before, hinged.estimates))


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("A little girl in a pink dress going into a wooden cabin .",
         ["little girl", "pink dress", "wooden cabin"]),
        ("A black dog and a spotted dog are fighting", ["black dog", "spotted dog"]),
        ("Man on top of a red motorcycle. He is wearing a black helmet.",
         ["man", "red motorcycle", "black helmet"]),
        ("There is a tall building in front of the elephant's head",
         ["tall building", "elephant's head"]),
        ("Arrow Men Navy Blue Polo T-shirt", ["arrow men navy blue polo t-shirt"]),
        ("There is snow. The room is empty", ["snow", "room"]),
        ("It is red and white .", []),
    ],
)  # fmt: skip
def test_noun_phrases_lie_between_the_words_that_join_them(
    experiments: Any, caption: str, phrases: list[str]
) -> None:
    assert experiments("caption_parts").noun_phrases(caption) == phrases


def test_swaps_exchange_two_words_of_a_kind(experiments: Any) -> None:
    parts, rng = experiments("caption_parts"), np.random.default_rng(0)
    caption = "A black dog chases the brown cat."
    found = {parts.swapped(caption, rng) for _ in range(40)}
    assert found == {"A black cat chases the brown dog.", "A brown dog chases the black cat."}
    # One phrase: any two words of it.
    found = {parts.swapped("the blue shirt", rng) for _ in range(40)}
    assert found == {"the shirt blue"}
    for caption in ("A dog", "the dog and the Dog", "It is on the .", ""):
        assert parts.swapped(caption, rng) is None
