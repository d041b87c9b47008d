"""Choice among candidates: queries and candidates of text, picture or both, the first is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from helip.common.errors import InvalidArgumentError
from helip.evaluation.encoding import Subject, encode
from helip.evaluation.sets.mmeb import GROUPS, OTHER, ChoiceSet, group_of
from helip.evaluation.statistics.intervals import Ints, Outcomes, share_outcomes
from helip.evaluation.tasks.queries import TIE, checked_rows, digest_of, require_one_width
from helip.evaluation.tasks.retrieval import rule_of

FUSION = "sum of both embeddings, then normalised"


def choice_outcomes(right: Any, sets: Ints, names: Sequence[str], shown: Ints) -> Outcomes:
    """Precision@1 of ``right`` (bool [n]), its mean over data sets, over those of each group of
    MMEB, and each data set's; ``sets`` int64 [n] are numbers of ``names``.

    ``shown`` int64 [n]: queries of one number are resampled together.
    """
    groups: dict[tuple[str, ...], list[int]] = {
        ("groups", group, "mean_per_set"): [
            number for number, name in enumerate(names) if group_of(name) == group
        ]
        for group in (*GROUPS, OTHER)
    }
    places = [("sets", name, "precision@1") for name in names]
    hits = {"precision@1": right}
    return share_outcomes(hits, sets, "mean_per_set", places, shown, parts=groups)


def choice_task(
    subject: Subject, data: ChoiceSet, ties: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Precision@1: whether the first candidate is the most similar to the query.

    An input of text and picture has the sum of both embeddings, then normalised. Candidates equal
    to the first are right as well. A query is left out where one of its pictures cannot be read.
    """
    encoded = encode(subject, data.pictures, np.arange(len(data.pictures)), captions=False)
    read = np.zeros(len(data.pictures) + 1, dtype=np.bool_)
    read[encoded.picture_rows] = read[-1] = True  # an input without a picture has number -1
    whole = read[data.inputs[:, 1]]
    kept: Any = whole[data.queries]
    kept &= np.logical_and.reduceat(whole[data.candidates], data.offsets[:-1])
    chosen: Ints = np.flatnonzero(kept)
    if not len(chosen):
        raise InvalidArgumentError(
            f"none of the {len(data)} queries has pictures that can be read: "
            f"{dict(Counter(encoded.reasons.values()))}; check the folder of pictures"
        )
    features = _features(subject, data, encoded.picture_rows, encoded.features)
    right = np.array([_is_right(features, data, query, ties) for query in chosen.tolist()])
    asked = data.inputs[data.queries[chosen]]
    # Queries of one picture, such as several questions, are right or wrong together.
    shown = np.where(asked[:, 1] >= 0, asked[:, 1], len(data.pictures) + asked[:, 0])
    sets, names = data.sets[chosen], list(data.names)
    outcomes = choice_outcomes(right, sets, names, shown)
    result = outcomes.figures(bootstrap=options["bootstrap"], seed=options["seed"])
    both = (data.inputs >= 0).all(axis=1)
    result |= {
        "format": data.format,
        "items": len(chosen),
        "ties": ties,
        "inputs": len(data.inputs),
        "inputs_of_both": int(both.sum()),
        "fusion": FUSION,
        "skipped_items": len(data) - len(chosen),
        "reader": encoded.reader,
        "skipped_pictures": encoded.skipped(data.pictures),
        "truncated": subject.truncated(data.texts),
        "queries": digest_of([data.fingerprint, *rule_of(ties)], map(str, chosen.tolist())),
    }
    if options["keep_ranks"]:
        result["per_query"] = {
            "right": right.astype(np.int64).tolist(),
            "sets": sets.tolist(),
            "names": names,
            "groups": shown.tolist(),
        }
    return result


def _features(
    subject: Subject, data: ChoiceSet, rows: Ints, pictures: torch.Tensor
) -> torch.Tensor:
    """Unit rows of the inputs, float32 [u, d]; those whose picture is missing lack it."""
    features = torch.zeros(len(data.inputs), pictures.shape[1])
    text, picture = torch.as_tensor(data.inputs).T
    if data.texts:
        texts = subject.texts(list(data.texts), subject.progress)
        require_one_width(pictures, texts, ("pictures", "texts"))
        features[text >= 0] += texts[text[text >= 0]]
    place = torch.full((len(data.pictures) + 1,), -1)  # the last is of none
    place[torch.as_tensor(rows)] = torch.arange(len(rows))
    shown = place[picture]
    features[shown >= 0] += pictures[shown[shown >= 0]]
    return checked_rows(features, "texts and pictures", "cpu")


def _is_right(features: torch.Tensor, data: ChoiceSet, query: int, ties: str) -> bool:
    candidates = data.candidates[data.offsets[query] : data.offsets[query + 1]]
    # Cosines are compared, so they are summed in float64.
    asked = features[data.queries[query]].double()
    scores = (features[torch.as_tensor(candidates)].double() @ asked).numpy()
    wrong = scores[candidates != candidates[0]]
    best = wrong.max(initial=-np.inf)
    return bool(best < scores[0] - TIE if ties == "against" else best <= scores[0] + TIE)
