"""Retrieval of captions by pictures and the reverse: ranks by counting, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from helip.common.errors import InvalidArgumentError
from helip.common.options import Positive, check, require
from helip.data.captions import normalised_caption
from helip.evaluation.encoding import Encoded, Subject
from helip.evaluation.options import Duplicates, Ties
from helip.evaluation.statistics.intervals import Ints, rank_outcomes
from helip.evaluation.tasks.queries import (
    TIE,
    checked_numbers,
    checked_rows,
    digest_of,
    numbered,
    require_one_width,
)

DIRECTIONS = ("image_to_text", "text_to_image")


@dataclass(frozen=True)
class Right:
    """The right candidates of each query, as compressed rows."""

    offsets: Ints  # [queries + 1]
    ids: Ints  # [offsets[-1]]

    @classmethod
    def from_edges(cls, queries: Ints, candidates: Ints, n: int) -> Right:
        order = np.argsort(queries, kind="stable")
        counts = np.bincount(queries, minlength=n)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(offsets, candidates[order])


def retrieval(
    image_features: Any,
    text_features: Any,
    *,
    image_of: Any = None,
    captions: Sequence[str] | None = None,
    duplicates: str = "any",
    ties: str = "against",
    chunk: int = 4096,
    device: str | torch.device = "cpu",
    bootstrap: int = 1000,
    seed: int = 0,
    keep_ranks: bool = False,
) -> dict[str, Any]:
    """Recall@1/5/10, median rank and mean reciprocal rank, image to text and text to image.

    ``image_features`` [P, d] and ``text_features`` [T, d] are arrays or tensors of any float
    dtype; their cosines are compared. ``image_of`` (int [T]) is the picture of each caption and
    defaults to row t for caption t.

    The rank of a query is 1 plus the number of wrong candidates that score at least as high as
    its best right one: ties (cosines within 1e-6, about what float32 sums can tell apart) count
    against the model, so one that gives every pair the same score finds nothing. ``ties="for"``
    counts none of them. The rule of the literature (CLIP_benchmark, COCO) is
    ``duplicates="strict"`` with ties in whatever order a sort left them: its figures lie between
    the two. ``duplicates``
    says what is right when a caption belongs to several pictures (``captions`` given): with
    ``"any"`` equal captions (`helip.data.captions`) are one query and one candidate, with the
    features of the first, and every picture that bears one is right; with ``"strict"`` every row
    stands for itself, and only its own picture is right.

    Similarities live in blocks of at most ``chunk``² elements and are reduced to ranks at once.
    Intervals resample pictures, each with all of its captions. Returns
    ``{"image_to_text", "text_to_image", "duplicates", "ties", "equal_captions"}``, each direction
    with figures ``{"value", "low", "high", "n"}``; ``equal_captions`` counts captions that equal
    another one. With ``keep_ranks`` also ``per_query``.
    """
    check("duplicates", duplicates, Duplicates)
    check("ties", ties, Ties)
    check("chunk", chunk, Positive)
    images = checked_rows(image_features, "image_features", device)
    texts = checked_rows(text_features, "text_features", device)
    pictures = _pictures(image_of, images, texts)
    require_one_width(images, texts, ("image_features", "text_features"))

    text_of = np.arange(len(pictures))
    equal = text_of
    if captions is not None:
        count = f"{len(texts)}, one a text feature"
        require(len(captions) == len(texts), "the number of captions", len(captions), count)
        equal = numbered([normalised_caption(caption) for caption in captions])[1]
    if duplicates == "any" and captions is not None:
        text_of = equal
        first = np.unique(text_of, return_index=True)[1]
        texts = texts[torch.as_tensor(first, device=texts.device)]
    # A picture may bear the same string twice: one edge is enough.
    edges = np.unique(np.stack([text_of, pictures], axis=1), axis=0)
    home = np.full(len(texts), -1, dtype=np.int64)
    home[text_of[::-1]] = pictures[::-1]  # the first picture wins
    to_text = Right.from_edges(edges[:, 1], edges[:, 0], len(images))
    to_image = Right.from_edges(edges[:, 0], edges[:, 1], len(texts))

    image_ranks = count_ranks(images, texts, to_text, chunk=chunk, ties=ties)
    text_ranks = count_ranks(texts, images, to_image, chunk=chunk, ties=ties)
    draws = {"bootstrap": bootstrap, "seed": seed}
    result: dict[str, Any] = {
        "image_to_text": rank_outcomes(image_ranks).figures(**draws) | {"candidates": len(texts)},
        "text_to_image": rank_outcomes(text_ranks, home).figures(**draws)
        | {"candidates": len(images)},
        "duplicates": duplicates,
        "ties": ties,
        "equal_captions": int((np.bincount(equal)[equal] > 1).sum()),
    }
    if keep_ranks:
        result["per_query"] = {
            "image_to_text": {"ranks": image_ranks.tolist(), "groups": None},
            "text_to_image": {"ranks": text_ranks.tolist(), "groups": home.tolist()},
        }
    return result


@torch.inference_mode()
def count_ranks(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    right: Right,
    *,
    chunk: int,
    ties: str = "against",
) -> Ints:
    """Rank of the best right candidate, int64 [n] from 1; wrong ones of the same score come before
    it, or after it with ``ties="for"``.

    ``queries`` [n, d] and ``candidates`` [m, d] have unit rows; every query has a right candidate.
    """
    n, m = len(queries), len(candidates)
    rows = max(1, min(chunk, chunk * chunk // max(m, 1)))
    ranks = np.empty(n, dtype=np.int64)
    strict = ties == "against"
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        scores = queries[start:stop] @ candidates.T  # [rows, m]
        counts = np.diff(right.offsets[start : stop + 1])
        if not counts.all():
            raise InvalidArgumentError(
                f"query {start + int(np.argmin(counts))} has no right candidate; give every "
                "picture a caption, or leave it out"
            )
        row = torch.as_tensor(np.repeat(np.arange(stop - start), counts), device=scores.device)
        column = torch.as_tensor(
            right.ids[right.offsets[start] : right.offsets[stop]], device=scores.device
        )
        best = scores.new_full((stop - start,), -torch.inf)
        best.scatter_reduce_(0, row, scores[row, column], "amax")
        scores[row, column] = -torch.inf
        before = scores >= (best - TIE)[:, None] if strict else scores > (best + TIE)[:, None]
        ranks[start:stop] = 1 + before.sum(1).cpu().numpy()
    return ranks


def rule_of(ties: str) -> list[str]:
    """What a digest of queries holds beside them: results of two rules are not compared."""
    return [] if ties == "against" else [f"ties {ties}"]


def _pictures(image_of: Any, images: torch.Tensor, texts: torch.Tensor) -> Ints:
    if image_of is None:
        if len(images) != len(texts):
            raise InvalidArgumentError(
                f"{len(images)} pictures and {len(texts)} captions; give image_of, the picture "
                "of each caption"
            )
        return np.arange(len(texts), dtype=np.int64)
    return checked_numbers(image_of, "image_of", count=len(texts), of="captions", below=len(images))


def retrieval_task(
    subject: Subject,
    dataset: Any,
    encoded: Encoded,
    duplicates: str,
    ties: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    place = encoded.place
    rows = [row for row in sorted(encoded.captions) if int(encoded.pictures[row]) in place]
    if not rows:
        raise InvalidArgumentError(
            "no row has both a picture and a caption that can be read: "
            f"{dict(Counter(encoded.reasons.values()))}; check the data set"
        )
    counts = [len(encoded.captions[row]) for row in rows]
    image_of = np.array([place[int(encoded.pictures[row])] for row in rows], dtype=np.int64)
    used, image_of = np.unique(np.repeat(image_of, counts), return_inverse=True)
    captions = [caption for row in rows for caption in encoded.captions[row]]
    keys = [dataset.keys[row] for row in np.repeat(rows, counts).tolist()]
    distinct, text_of = numbered(captions)
    texts = subject.texts(distinct, subject.progress)
    result = retrieval(
        encoded.features[torch.as_tensor(used)],
        texts[torch.as_tensor(text_of)],
        image_of=image_of,
        captions=captions,
        duplicates=duplicates,
        ties=ties,
        **options,
    )
    result["rows"] = len(rows)
    result["truncated"] = subject.truncated(distinct)
    result["queries"] = digest_of(
        [duplicates, *rule_of(ties)],
        (f"{key}\0{picture}" for key, picture in zip(keys, image_of, strict=True)),
        captions,
    )
    return result
