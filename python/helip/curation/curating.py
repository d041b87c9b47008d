"""Finds what is doubled, mismatched or odd in a data set with a mined table."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from helip.common.array_cache import ArrayCache
from helip.common.errors import InvalidArgumentError
from helip.common.files import output_path, require_writable
from helip.common.options import ProgressOptions, keywords
from helip.curation.mismatched import Neighbourhoods, expected, mismatch
from helip.curation.options import CurateOptions
from helip.curation.result import Curation, page_of
from helip.curation.similar_rows import (
    DUPLICATES,
    Floats,
    Ints,
    SimilarRows,
    components,
)
from helip.data.equal_pictures import equal_pictures
from helip.evaluation.model_features import ModelFeatures
from helip.pairs.blocks import row_blocks
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.opening import open_together
from helip.reporting.plots.table_plots import hard_pair_counts
from helip.store.embedding_store import EmbeddingStore

_CACHE_BYTES = 4 * 10**9  # features of models, kept with those of the viewer
_FENCE = 1.5
#: Image cosine from which the pictures of two rows may be equal: encoders round.
EQUAL = 0.999

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CurateCall(CurateOptions, ProgressOptions):
    """What `curate` is asked."""

    pairs: HardPairs | str | os.PathLike[str] = field(kw_only=False)
    """A table of hard pairs, or its path."""
    data: Any = field(kw_only=False)
    """The data set that it was mined from, or what open_dataset takes."""
    store: EmbeddingStore | str | os.PathLike[str] | None = None
    """The store that was mined, or its path; by default the one that the table knows."""
    model: Any = None
    """Compares pictures with captions: a store of this data by one CLIP, or what create_model
    takes, which encodes all rows once. None: mismatches are told by neighbours alone."""
    out: str | os.PathLike[str] | None = None
    """A new folder for keep.csv, curation.json and report.html; None writes none."""


@keywords(CurateCall)
def curate(call: CurateCall) -> Curation:
    """Find equal pictures, near duplicates, wrong captions, captions of unlike pictures, outliers
    and hubs.

    Returns flags and scores of every row, and which rows to keep; the data stay as they are.
    docs/curation.md defines each reason. Open the data with the list that is written,
    ``open_dataset(data, subset="OUT/keep.csv")``, and bring the store up to date with them.
    The same arguments give the same result. Works in blocks: beside the store's pages it takes some
    hundred bytes a row.

    Raises:
        InvalidArgumentError: no store; an option out of its bound; ``out`` exists.
        MismatchError: table, data, store and model do not belong together.
        StorageError: ``out`` cannot be written.
    """
    store = call.store
    if store is None and isinstance(call.pairs, HardPairs):
        store = call.pairs.store
    if store is None:
        raise InvalidArgumentError(
            "store is None, and the table knows no store, so nothing tells which rows are alike; "
            "give the store that was mined: store=STORE"
        )
    out = output_path(call.out)
    if out and os.path.lexists(out):
        raise InvalidArgumentError(f"out is {out!r}, which exists; choose another place")
    if out:
        require_writable(Path(out))
    pairs, data, store = open_together(call.pairs, call.data, store)
    model = None
    if call.model is not None:
        cache = ArrayCache({"data": data.fingerprint, "rows": len(data)}, _CACHE_BYTES)
        model = ModelFeatures.of(call.model, data, cache, progress=call.progress)
    rows = SimilarRows(store, call, progress=call.progress)
    found = _curated(call, pairs, data, rows, model)
    if out:
        found.save(out, page=page_of(found, data, call.examples))
    return found


def _curated(
    call: CurateCall, pairs: HardPairs, data: Any, rows: SimilarRows, model: Any
) -> Curation:
    readable = rows.readable()
    near = Neighbourhoods(rows, None if model is None else model.scores)
    wrong = mismatch(near, readable, call.seed)
    tried = expected(
        near, readable, call.mismatch_min,
        lambda ids: _of_rows(rows, ids, "text_text"), call.seed,
    )  # fmt: skip
    nearest = np.fmax(near.image[:, 0], 0), np.fmax(near.text[:, 0], 0)  # NaN: nothing is near
    bounds = {
        "unlike_image": rows.of_random_pairs(0.5)
        if call.unlike_image is None else float(call.unlike_image),
        "outlier_image": _fence(nearest[0][readable], call.outlier_image),
        "outlier_text": _fence(nearest[1][readable], call.outlier_text),
    }  # fmt: skip
    lowest = _lowest_of_like_captions(near, call.duplicate_text)
    degrees = hard_pair_counts(pairs)
    bounds["hub_degree"] = call.hub_factor * float(degrees.mean())
    alone = (nearest[0] < bounds["outlier_image"]) & (nearest[1] < bounds["outlier_text"])
    with np.errstate(invalid="ignore"):
        flags = {
            "unreadable": ~readable,
            "mismatched": wrong.probability >= call.mismatch_min,
            "ambiguous_caption": lowest < bounds["unlike_image"],
            "outlier": alone & readable,
            "hub": (degrees >= bounds["hub_degree"]) & (degrees > 0),
        }
    # A row goes for one that stays, so that rows which go for another reason stand for nobody.
    goes = np.zeros(len(readable), dtype=np.bool_)
    for name in set(call.drop) & set(flags):
        goes |= flags[name]
    pictures, unread = _pictures(data, readable & (nearest[0] >= EQUAL), call.progress)
    equal_to = equal_to_kept(
        pictures, data.image_groups(), preferred(goes, wrong.probability), goes
    )  # fmt: skip
    flags["equal_picture"] = equal_to >= 0
    if "equal_picture" in call.drop:
        goes |= flags["equal_picture"]
    duplicate_of, full = _near_duplicates(rows, preferred(goes, wrong.probability), goes)
    doubled = (duplicate_of >= 0) & (duplicate_of != np.arange(len(readable)))
    names = ("duplicate_image", "duplicate_text", "mismatch_min", "hub_factor")
    return Curation(
        keys=data.keys,
        flags={**flags, "near_duplicate": doubled},
        scores={
            "equal_picture": _of_rows(rows, equal_to, "text_text"),
            "near_duplicate": _of_rows(
                rows, np.where(doubled, duplicate_of, -1), "image_image", "text_text"
            ),
            "mismatched": wrong.probability,
            "ambiguous_caption": lowest,
            "outlier": np.fmax(*nearest).astype(np.float32),
            "hub": degrees.astype(np.float32),
        },
        drop=tuple(call.drop),
        duplicate_of=duplicate_of,
        equal_to=equal_to,
        unread_pictures=unread,
        noise_rate=wrong.noise_rate,
        expected=tried,
        thresholds={**{name: float(getattr(call, name)) for name in names}, **bounds},
        searches=rows.searches,
        full_groups=full,
        cross_scores="" if model is None else model.name,
    )


def preferred(goes: Bools, wrong: Floats) -> Ints:
    """int64 [N]: rows in the order in which they are rather kept: first those that do not go for
    another reason, of these the one whose caption is least likely wrong, of equal ones the first.
    """
    return np.lexsort((np.arange(len(wrong)), np.nan_to_num(wrong, nan=1), goes))


def duplicates_of(one: Ints, other: Ints, order: Ints, goes: Bools) -> Ints:
    """int64 [N]: the kept row that each row is a near duplicate of, its own number where it is such
    a row, -1 where neither.

    ``one`` and ``other`` [m] are near duplicates. Rows are gone through in ``order`` [N]: each is
    kept unless it resembles one that is kept already, the first of which it is a duplicate of.
    Nobody is one of a row that ``goes`` for another reason.
    """
    count = len(order)
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    earlier = np.where(place[one] < place[other], one, other)
    later = np.where(place[one] < place[other], other, one)
    earlier, later = earlier[~goes[earlier]], later[~goes[earlier]]
    doubled = np.zeros(count, dtype=np.bool_)
    left = np.arange(len(earlier))  # pairs of two rows that are not decided
    while len(left):
        waits = np.zeros(count, dtype=np.bool_)
        waits[later[left]] = True
        doubled[later[left[~waits[earlier[left]]]]] = True
        left = left[~doubled[earlier[left]] & ~doubled[later[left]]]
        # What waited for nobody is kept, and all that resembles it is doubled by now.
    of_kept = ~doubled[earlier]
    first = np.full(count, count, dtype=np.int64)
    np.minimum.at(first, later[of_kept], place[earlier[of_kept]])
    found = np.full(count, -1, dtype=np.int64)
    found[doubled] = order[first[doubled]]
    found[found[doubled]] = found[doubled]
    return found


def _near_duplicates(rows: SimilarRows, order: Ints, goes: Bools) -> tuple[Ints, int]:
    """`duplicates_of`, and how many rows have as many near duplicates as are looked at.

    Those are held against the first kept rows that a chain of near duplicates leads to as well:
    else a large group would keep one of each 16.
    """
    one, other, full = rows.near_duplicates()
    own = np.arange(len(order))
    label = components(len(order), one, other)
    for number in range(DUPLICATES + 1):
        found = duplicates_of(one, other, order, goes)
        stays = full & ~goes & ((found < 0) | (found == own))
        kept = order[stays[order]]
        kept = kept[np.argsort(label[kept], kind="stable")]
        first = np.flatnonzero(np.diff(label[kept], prepend=-1))
        first = first[np.diff(first, append=len(kept)) > number + 1]
        if number == DUPLICATES or not len(first):
            break
        head = np.full(len(order), -1, dtype=np.int64)
        head[label[kept[first]]] = kept[first + number]
        ids = np.where(full & (head[label] != own), head[label], -1)
        more = rows.alike(ids[:, None])
        one, other = np.concatenate([one, more[0]]), np.concatenate([other, more[1]])
    return found, int(full.sum())


def _of_rows(rows: SimilarRows, ids: Ints, *sides: str) -> Floats:
    """float32 [N]: the product of the cosines of these sides to the row ``ids`` [N], NaN where that
    is -1."""
    found = np.full(len(ids), np.nan, dtype=np.float32)
    for block in row_blocks(len(ids), 1):
        first, one = block.start, ids[block, None]
        found[block] = np.prod([rows.cosines(each, first, one)[:, 0] for each in sides], axis=0)
    return found


def _pictures(data: Any, alike: Bools, progress: bool) -> tuple[Ints, int]:
    """int64 [N]: the same number for rows ``alike`` whose pictures are equal, -1 where nothing is
    known; and how many of these could not be read."""
    found = np.full(len(alike), -1, dtype=np.int64)
    rows = np.flatnonzero(alike)
    found[rows], unread = equal_pictures(data, rows, pixels=True, progress=progress)
    return found, unread


def equal_to_kept(pictures: Ints, groups: Ints | None, order: Ints, goes: Bools) -> Ints:
    """int64 [N]: the kept row whose picture each row has, -1 where there is none.

    ``pictures`` [N] has the same number for equal pictures, -1 for none. Of each the first row in
    ``order`` [N] is kept that does not go for another reason. Rows of its own group (``groups``
    [N], where the data know of any) are rows of one picture by the will of their author, and stay.
    """
    head = np.full(len(pictures), -1, dtype=np.int64)
    stays = order[::-1][(pictures[order] >= 0)[::-1] & ~goes[order][::-1]]
    head[pictures[stays]] = stays  # the first in order is written last
    found = np.where(pictures >= 0, head[pictures], -1)
    own = found == np.arange(len(found))
    if groups is not None:
        own |= (found >= 0) & (groups == groups[found])
    return np.where(own, -1, found)


def _lowest_of_like_captions(near: Neighbourhoods, bound: float) -> Floats:
    """float32 [N]: the lowest image cosine to those of the nearest captions that are nearly the
    same, NaN where none is."""
    image = near.pictures_of_like_captions()
    with np.errstate(invalid="ignore"):
        same = (near.text >= bound - 1e-6) & ~np.isnan(image)
    lowest = np.where(same, image, np.inf).min(axis=1)
    return np.where(np.isinf(lowest), np.nan, lowest).astype(np.float32)


def _fence(values: Floats, given: float | None) -> float:
    """The given bound, else Tukey's lower fence of ``values``."""
    if given is not None:
        return float(given)
    if not len(values):
        return 0.0
    low, high = np.quantile(values.astype(np.float64), [0.25, 0.75])
    return float(low - _FENCE * (high - low))
