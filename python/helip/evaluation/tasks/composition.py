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
from helip.evaluation.figures import SCORES
from helip.evaluation.sets.composition import CompositionSet
from helip.evaluation.statistics.intervals import Floats, Ints, Outcomes, share_outcomes
from helip.evaluation.tasks.queries import TIE, checked_rows, digest_of, numbered


def composition(
    scores: Any,
    *,
    categories: Sequence[str] | None = None,
    groups: Any = None,
    bootstrap: int = 1000,
    seed: int = 0,
    keep_ranks: bool = False,
) -> dict[str, Any]:
    """Scores of items from similarities, float [n, p, 2]: picture i of p with caption j.

    Caption i belongs to picture i. An item's *text score* is 1 where each picture is more similar
    to its own caption than to the other; with two pictures the *image score* is 1 where each
    caption is more similar to its own picture, and the *group score* where both are. Equal
    similarities count against the model. With one picture the text score is SugarCrepe's accuracy.

    ``mean_per_category`` is the mean text score of the ``categories``; ``groups`` int [n]: items of
    one group share a picture and are resampled together. Returns figures
    ``{"value", "low", "high", "n"}``; with ``keep_ranks`` also ``per_query``.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 3 or not len(table) or table.shape[1] not in (1, 2) or table.shape[2] != 2:
        raise InvalidArgumentError(
            f"scores have shape {list(table.shape)}; give [n, 1, 2] or [n, 2, 2], n at least 1"
        )
    if not np.isfinite(table).all():
        item = int(np.argmin(np.isfinite(table).all(axis=(1, 2))))
        raise InvalidArgumentError(f"scores of item {item} hold NaN or infinity")
    given = ["all"] * len(table) if categories is None else list(categories)
    count = f"{len(table)}, one an item"
    require(len(given) == len(table), "the number of categories", len(given), count)
    names, numbers = numbered(given)
    right = _right(table)
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
    """Scores of ``right`` (bool [scores, n]), the mean per category, each category's text score."""
    scores = dict(zip(SCORES, right, strict=False))
    places = [("categories", name, "text_score") for name in names]
    return share_outcomes(scores, categories, "mean_per_category", places, groups)


def _right(scores: Floats) -> Any:
    """bool [1 or 3, n]: text, image and group."""
    own = np.diagonal(scores, axis1=1, axis2=2)  # [n, p]
    if scores.shape[1] == 1:
        return (own[:, 0] > scores[:, 0, 1] + TIE)[None]
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
    # Two cosines are compared, so they are summed in float64.
    texts = checked_rows(subject.texts(captions, subject.progress), "captions", "cpu").double()
    pictures = checked_rows(encoded.features, "pictures", "cpu").double()
    shown = torch.tensor([[place[row] for row in item.pictures] for item in items])
    texts = texts[torch.as_tensor(numbers)].view(len(items), 2, -1)
    scores = torch.einsum("npd,ncd->npc", pictures[shown], texts)
    result = composition(
        scores.numpy(),
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
