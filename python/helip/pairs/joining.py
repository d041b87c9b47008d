"""Joins two tables of the same targets block by block into a new one."""

from __future__ import annotations

import json
import operator
import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.files import output_path
from helip.common.options import ProgressOptions
from helip.common.progress import ProgressBar
from helip.pairs.blocks import origin_of, pools_of, row_blocks
from helip.pairs.options import JoinOptions
from helip.store.data_identity import Identity, require_same_data, short

_HALF = np.uint64(32)
_PAD = np.uint64(2**64 - 1)  # behind every pair
_LOW = np.uint64(2**32 - 1)
_SIGN = np.uint32(1 << 31)


@dataclass(frozen=True, kw_only=True)
class JoinCall(JoinOptions, ProgressOptions):
    """What `HardPairs.join` is asked."""

    other: Any = field(kw_only=False)
    """Another table of the same targets, or its path."""
    out: str | os.PathLike[str] | None = None
    """A new directory or URL, which appears when it is whole; None keeps the table in memory."""


class JoinedPools(NamedTuple):
    """The joined pools of a block of targets, and what there was to join."""

    ids: np.ndarray  # int64 [b, k], -1 beyond the count
    scores: np.ndarray  # float32 [b, k], 0 beyond the count
    counts: np.ndarray  # int32 [b]
    found: np.ndarray  # int64 [b], different pairs of both, also beyond k


def joined(table: _core.HardPairs, other: _core.HardPairs, call: JoinCall) -> _core.HardPairs:
    """The new table; see :meth:`helip.HardPairs.join`."""
    fingerprint, data_fingerprint = _common_origin(table, other)
    both = table.k + other.k
    k = max(table.k, other.k) if call.k is None else call.k
    if k > both:
        raise InvalidArgumentError(
            f"k is {k}, must be at most {both}: the tables have {table.k} and {other.k}"
        )
    writer = _core.HardPairsWriter(output_path(call.out), len(table), k)
    pairs = found = left = 0
    with ProgressBar(len(table), label="join", unit="targets", enabled=call.progress) as bar:
        for block in row_blocks(len(table), both):
            ours, theirs = pools_of(table, block), pools_of(other, block)
            ids = np.concatenate([ours.ids, theirs.ids], axis=1)
            scores = np.concatenate([ours.scores, theirs.scores], axis=1)
            pools = join_pools(ids, scores, k)
            writer.write(block.start, pools.ids, pools.scores, pools.counts)
            pairs += int((ids >= 0).sum())
            found += int(pools.found.sum())
            left += int(pools.counts.sum(dtype=np.int64))
            bar.update(len(ids))
    step = {"pairs": pairs, "duplicates": pairs - found, "cut": found - left, "left": left}
    return writer.finish(
        fingerprint=fingerprint,
        data_fingerprint=data_fingerprint,
        options_json=json.dumps(_options_of(table, other, k)),
        report_json=json.dumps({"join": {**step, "of": [_account(table), _account(other)]}}),
    )


def join_pools(ids: np.ndarray, scores: np.ndarray, k: int) -> JoinedPools:
    """The best k different pairs of each row of ``ids`` [b, m] (-1: none) and ``scores`` [b, m].

    By score, greatest first, then by row number; of a pair that is there twice the greater score.
    """
    if (most := int(ids.max(initial=0))) >= int(_LOW):
        raise UnsupportedError(f"a pool names row {most:,}; rows below {int(_LOW):,} are joined")
    # A pair is one number, since sorting numbers is many times quicker than sorting places.
    rank = _descending(scores).astype(np.uint64)
    pair = np.where(ids < 0, _PAD, (ids.astype(np.uint64) << _HALF) | rank)
    pair.sort(axis=1)  # equal rows side by side, the greatest score first
    again = pair[:, 1:] >> _HALF == pair[:, :-1] >> _HALF
    pair = (pair << _HALF) | (pair >> _HALF)  # pads stay as they are
    pair[:, 1:][again] = _PAD
    pair.sort(axis=1)
    real = pair != _PAD
    found = real.sum(axis=1, dtype=np.int64)
    real, pair = real[:, :k], pair[:, :k]
    return JoinedPools(
        np.where(real, (pair & _LOW).astype(np.int64), -1),
        np.where(real, _from_descending((pair >> _HALF).astype(np.uint32)), np.float32(0)),
        np.minimum(found, k).astype(np.int32),
        found,
    )


def _descending(scores: np.ndarray) -> np.ndarray:
    """uint32: numbers that rise where float32 ``scores`` fall, by the order of IEEE bits."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0: one zero alone
    return np.where(bits & _SIGN, bits, bits ^ ~_SIGN)


def _from_descending(rank: np.ndarray) -> np.ndarray:
    """float32: the scores of `_descending`."""
    return np.where(rank & _SIGN, rank, rank ^ ~_SIGN).view(np.float32)


def _common_origin(table: _core.HardPairs, other: _core.HardPairs) -> tuple[str, str]:
    """The fingerprints of store and data set that both have, or the one that is known.

    Tables that were filtered differently are refused: pairs that one filter took away would come
    back from the other.
    """
    ours_data, theirs_data = table.data_fingerprint, other.data_fingerprint
    require_same_data(
        "the other table", Identity(len(other), theirs_data), Identity(len(table), ours_data),
        "join tables of the same data",
    )  # fmt: skip
    ours, theirs = table.fingerprint, other.fingerprint
    if ours and theirs and ours != theirs:
        raise MismatchError(
            f"the table was mined from a store with fingerprint {short(ours)}, the other from "
            f"{short(theirs)}; join tables of one store, or mine one of them again"
        )
    ours_filters, theirs_filters = (_filters_of(each) for each in (table, other))
    if ours_filters != theirs_filters:
        raise InvalidArgumentError(
            f"the table was filtered by {ours_filters or 'nothing'}, the other by "
            f"{theirs_filters or 'nothing'}, so that pairs that one filter dropped could come back "
            "from the other table; join first, then filter"
        )
    return ours or theirs, ours_data or theirs_data


def _filters_of(table: _core.HardPairs) -> list[Any]:
    """Those that it went through, and the verdicts that it was mined under."""
    options = json.loads(table.options_json)
    mined = [{"verdicts": options["verdicts"]}] if "verdicts" in options else []
    return [*mined, *options.get("filter", [])]


def _options_of(table: _core.HardPairs, other: _core.HardPairs, k: int) -> dict[str, Any]:
    """What both were mined with; where they differ, ``report["join"]`` alone has it.

    Of the bounds of near duplicates and of signs the looser one holds for every pair of both.
    """
    ours, theirs = json.loads(table.options_json), json.loads(other.options_json)
    same = {name: value for name, value in ours.items() if name in theirs and theirs[name] == value}
    for name, looser in (("image_max", max), ("text_max", max), ("signed", operator.or_)):
        if name in ours and name in theirs:
            same[name] = looser(ours[name], theirs[name])
    # No label of one kind of pools fits those of two.
    unlike = any(
        ours.get(name, usual) != theirs.get(name, usual)
        for name, usual in (("modality", "both"), ("channels", None), ("score", "product"))
    )
    if unlike:
        same["modality"] = "joined"
    return {**same, "method": "joined", "k": k}


def _account(table: _core.HardPairs) -> dict[str, Any]:
    """What a table was, and what its mining said."""
    place: dict[str, Any] = origin_of(table) or {"path": None}
    options, report = json.loads(table.options_json), json.loads(table.report_json)
    return {**place, "k": table.k, "options": options, "report": report}
