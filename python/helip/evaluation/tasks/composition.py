"""Scores of compositional sets: captions that differ in who does what, told apart or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from helip.common.errors import InvalidArgumentError
from helip.common.options import require
from helip.evaluation.encoding import Subject, encode
from helip.evaluation.figures import SCORES, TEXT_ONLY
from helip.evaluation.sets.composition import CompositionSet
from helip.evaluation.statistics.intervals import Floats, Ints, Outcomes, joined, share_outcomes
from helip.evaluation.tasks.queries import TIE, checked_rows, digest_of, numbered


def composition(
    scores: Any,
    *,
    caption_scores: Any = None,
    categories: Sequence[str] | None = None,
    groups: Any = None,
    bootstrap: int = 1000,
    seed: int = 0,
    keep_ranks: bool = False,
) -> dict[str, Any]:
    """Scores of items from similarities, float [n, p, c]: picture i of p with caption j of c.

    Two pictures have two captions, and caption i belongs to picture i. One picture has two or three
    captions, of which the last is wrong. An item's *text score* is 1 where each picture is more
    similar to its own captions than to the other one; with two pictures the *image score* is 1
    where each caption is more similar to its own picture, and the *group score* where both are.
    Equal similarities count against the model. With one picture the text score is SugarCrepe's
    accuracy, with three captions that of SugarCrepe++'s image-to-text task. With
    ``caption_scores``, float [n, 3, 3], similarities of the captions, an item's *text-only score*
    is 1 where the two right ones are more similar to each other than either is to the wrong one.

    ``mean_per_category`` is the mean text score of the ``categories``, and
    ``text_only_mean_per_category`` that of the text-only score; ``groups`` int [n]: items of
    one group share a picture and are resampled together. Returns figures
    ``{"value", "low", "high", "n"}``; with ``keep_ranks`` also ``per_query``.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 3 or not len(table) or table.shape[1:] not in ((1, 2), (2, 2), (1, 3)):
        raise InvalidArgumentError(
            f"scores have shape {list(table.shape)}; give [n, 1, 2], [n, 2, 2] or [n, 1, 3], n at "
            "least 1"
        )
    _require_finite(table, "scores")
    right = _right(table)
    if caption_scores is not None:
        captions = np.asarray(caption_scores, dtype=np.float64)
        shape = [len(table), 3, 3]
        given_shape = list(captions.shape)
        require(given_shape == shape, "the shape of caption_scores", given_shape, str(shape))
        require(table.shape[2] == 3, "the number of captions of an item", table.shape[2], "3")
        _require_finite(captions, "caption_scores")
        wrong = np.maximum(captions[:, 0, 2], captions[:, 1, 2])
        right = np.stack([right[0], captions[:, 0, 1] > wrong + TIE])
    given = ["all"] * len(table) if categories is None else list(categories)
    count = f"{len(table)}, one an item"
    require(len(given) == len(table), "the number of categories", len(given), count)
    names, numbers = numbered(given)
    members = None if groups is None else np.asarray(groups, dtype=np.int64)
    outcomes = composition_outcomes(right, numbers, names, members)
    result = outcomes.figures(bootstrap=bootstrap, seed=seed)
    result["items"] = len(table)
    if keep_ranks:
        result["per_query"] = {
            "right": right.astype(np.int64).tolist(),
            "categories": numbers.tolist(),
            "names": names,
            "groups": None if members is None else members.tolist(),
        }
    return result


def composition_outcomes(
    right: Any, categories: Ints, names: Sequence[str], groups: Ints | None
) -> Outcomes:
    """Scores of ``right`` (bool [scores, n]), the mean per category, each category's text score.

    One row is the text score, two are the text and the text-only score, three those of two
    pictures. The text-only score has a mean and categories as well.
    """

    def shares(scores: Mapping[str, Any], mean: str) -> Outcomes:
        places = [("categories", name, next(iter(scores))) for name in names]
        return share_outcomes(scores, categories, mean, places, groups)

    if len(right) == 2:
        parts = (
            shares({SCORES[0]: right[0]}, "mean_per_category"),
            shares({TEXT_ONLY: right[1]}, "text_only_mean_per_category"),
        )
        return joined(parts)
    return shares(dict(zip(SCORES, right, strict=False)), "mean_per_category")


def _require_finite(scores: Floats, name: str) -> None:
    finite = np.isfinite(scores).all(axis=(1, 2))
    if not finite.all():
        raise InvalidArgumentError(f"{name} of item {np.argmin(finite)} hold NaN or infinity")


def _right(scores: Floats) -> Any:
    """bool [1 or 3, n]: text, image and group."""
    if scores.shape[1] == 1:
        return (scores[:, 0, :-1] > scores[:, 0, -1:] + TIE).all(axis=1, keepdims=True).T
    own = np.diagonal(scores, axis1=1, axis2=2)  # [n, 2]
    # Picture i against the other caption; caption i against the other picture.
    text = (own > np.stack([scores[:, 0, 1], scores[:, 1, 0]], axis=1) + TIE).all(axis=1)
    image = (own > np.stack([scores[:, 1, 0], scores[:, 0, 1]], axis=1) + TIE).all(axis=1)
    return np.stack([text, image, text & image])


def composition_task(
    subject: Subject, data: CompositionSet, options: Mapping[str, Any]
) -> dict[str, Any]:
    encoded = encode(subject, data.pictures, np.arange(len(data.pictures)), captions=False)
    place = encoded.place
    items = [item for item in data.items if all(row in place for row in item.pictures)]
    if not items:
        raise InvalidArgumentError(
            f"none of the {len(data)} items has pictures that can be read: "
            f"{dict(Counter(encoded.reasons.values()))}; check the folder of pictures"
        )
    said = [caption for item in items for caption in item.captions]
    captions, numbers = numbered(said)
    # Cosines are compared, so they are summed in float64.
    texts = checked_rows(subject.texts(captions, subject.progress), "captions", "cpu").double()
    pictures = checked_rows(encoded.features, "pictures", "cpu").double()
    shown = torch.tensor([[place[row] for row in item.pictures] for item in items])
    texts = texts[torch.as_tensor(numbers)].view(len(items), len(items[0].captions), -1)
    scores = torch.einsum("npd,ncd->npc", pictures[shown], texts)
    result = composition(
        scores.numpy(),
        caption_scores=torch.einsum("nid,njd->nij", texts, texts).numpy()
        if texts.shape[1] == 3
        else None,
        categories=[item.category for item in items],
        groups=[item.pictures[0] for item in items],
        bootstrap=options["bootstrap"],
        seed=options["seed"],
        keep_ranks=options["keep_ranks"],
    )
    result["format"] = data.format
    result["skipped_items"] = len(data) - len(items)
    result["reader"] = encoded.reader
    result["skipped_pictures"] = encoded.skipped(data.pictures)
    result["truncated"] = subject.truncated(captions)
    result["queries"] = digest_of(
        (item.key for item in items),
        (item.category for item in items),
        said,
        (data.pictures.keys[row] for item in items for row in item.pictures),
    )
    return result
