"""Filters a table block by block into a new one, and counts what it found."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.files import output_path
from helip.common.options import ProgressOptions
from helip.common.progress import ProgressBar
from helip.pairs.blocks import Pools, origin_of, pool_blocks
from helip.pairs.filter_rules import Flags, PairRule, RuleFlags, in_use
from helip.pairs.options import FilterOptions
from helip.store.embedding_store import EmbeddingStore
from helip.verdicts.verdicts import Source, exclusions_of


class FilterAccount:
    """Counts over the blocks of a table of ``k`` places, whose new pools have ``k_out``."""

    def __init__(self, k: int, k_out: int, reasons: list[str]) -> None:
        self._k_out = k_out
        names = ("pairs", "flagged", "unjudged", "cut", "left", "changed")
        self._counts = Counter(dict.fromkeys(names, 0))
        self._reasons = Counter(dict.fromkeys(reasons, 0))
        self._ranks = np.zeros((2, k), dtype=np.int64)  # pairs, flagged
        self._targets = {name: {"before": 0, "after": 0} for name in ("outliers", "short_targets")}

    def add(
        self,
        valid: Flags,
        by_rule: dict[str, Flags],
        flagged: Flags,
        unknown: Flags,
        kept: np.ndarray,
        after: np.ndarray,
    ) -> None:
        """Of a block. kept, after [b]: pairs of each pool, before it is cut to k and then."""
        before = valid.sum(axis=1)
        self._ranks += valid.sum(axis=0), flagged.sum(axis=0)
        self._reasons.update({name: int((by_rule[name] & valid).sum()) for name in by_rule})
        self._counts.update(
            pairs=int(before.sum()),
            flagged=int(flagged.sum()),
            unjudged=int((unknown & valid).sum()),
            cut=int((kept - after).sum()),
            left=int(after.sum()),
            changed=int(flagged.any(axis=1).sum()),
        )
        for when, counts in (("before", before), ("after", after)):
            self._targets["outliers"][when] += int((counts == 0).sum())
            self._targets["short_targets"][when] += int((counts < self._k_out).sum())

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values; :meth:`helip.HardPairs.stats` says what the names mean."""
        pairs, flagged = self._ranks.tolist()
        return {
            **self._counts,
            "reasons": dict(self._reasons),
            "ranks": {"pairs": pairs, "flagged": flagged},
            **self._targets,
        }


@dataclass(frozen=True, kw_only=True)
class FilterCall(FilterOptions, ProgressOptions):
    """What `HardPairs.filter` is asked."""

    by: EmbeddingStore | str | os.PathLike[str] | tuple[Any, Any] | None = None
    """A store whose images and captions are of one model, or its path, or two arrays; rows as the
    table's. For image_max and text_max alone any store does."""
    verdicts: Source | None = None
    """What people said of pairs, or the path of their file: flags pairs that are false negatives or
    near duplicates, in either order, and all pairs of mismatched rows."""
    learnt_veto: Any = None
    """A veto, such as helip_view.LearntVeto.open(path): flags what people would take out, by what
    they said of other pairs of this data. The table must know its store."""
    out: str | os.PathLike[str] | None = None
    """A new directory or URL, which appears when it is whole; None keeps the table in memory."""


def filtered(
    table: _core.HardPairs, call: FilterCall, store: EmbeddingStore | None = None, data: Any = None
) -> _core.HardPairs:
    """The new table; see :meth:`helip.HardPairs.filter`.

    store, data: what the table was mined from, for a learnt veto.
    """
    said = None
    if call.verdicts is not None:
        said = exclusions_of(call.verdicts, len(table), table.data_fingerprint)
    veto = None if call.learnt_veto is None else _veto_rule(call, table, store, data)
    rules = in_use(call)
    described = {name: getattr(call, name) for name in (*rules, "match", "action", "weight", "k")}
    if said is not None:
        described["verdicts"] = said.described()
    if veto is not None:
        described[veto.name] = veto.described()
    reasons = [name for name in described if name not in ("match", "action", "weight", "k")]
    k = table.k if call.k is None else call.k
    if not reasons and call.k is None:
        raise InvalidArgumentError(
            "no rule is given; give relative_margin, margin, veto, image_max, text_max, max_score, "
            "min_score, verdicts, learnt_veto or k"
        )
    if k > table.k:
        raise InvalidArgumentError(f"k is {k}, must be at most {table.k}, which the table has")
    flags = RuleFlags(
        call, call.by, table, surplus=veto is not None and veto.uses_by,
        threads=call.threads or 0, progress=call.progress,
    )  # fmt: skip
    account = FilterAccount(table.k, k, reasons)
    writer = _core.HardPairsWriter(output_path(call.out), len(table), k)
    with ProgressBar(len(table), label="filter", unit="targets", enabled=call.progress) as bar:
        for first, pools in pool_blocks(table):
            valid = pools.ids >= 0
            by_rule, unknown = flags.of(first, pools)
            if said is not None:
                by_rule["verdicts"] = said.flags(first, pools.ids)
            if veto is not None:
                by_rule[veto.name], not_known = veto.flags(first, pools.ids)
                unknown |= not_known
            flagged = np.zeros_like(valid)
            for found in by_rule.values():
                flagged |= found & valid
            left = _acted(call, pools, flagged)
            best = left.best(k)
            account.add(valid, by_rule, flagged, unknown, left.counts, best.counts)
            writer.write(first, *best)
            bar.update(len(valid))
    options = json.loads(table.options_json)
    report = json.loads(table.report_json)
    step = {"from": origin_of(table), "by": flags.by or None, **account.to_dict()}
    return writer.finish(
        fingerprint=table.fingerprint,
        data_fingerprint=table.data_fingerprint,
        options_json=json.dumps({**options, "filter": [*options.get("filter", []), described]}),
        report_json=json.dumps({**report, "filter": [*report.get("filter", []), step]}),
    )


def _veto_rule(call: FilterCall, table: _core.HardPairs, store: Any, data: Any) -> PairRule:
    """The rule of a `PairVeto`; InvalidArgumentError for anything else."""
    if not callable(getattr(call.learnt_veto, "rule", None)):
        raise InvalidArgumentError(
            f"learnt_veto is {call.learnt_veto!r}, must be an open veto: "
            "helip_view.LearntVeto.open(path)"
        )
    rule: PairRule = call.learnt_veto.rule(
        table, store, by=call.by, data=data, min_precision=call.min_precision
    )
    return rule


def _acted(options: FilterOptions, pools: Pools, flagged: Flags) -> Pools:
    """The pools after what is done with flagged pairs [b, k]."""
    if options.action == "drop":
        return pools.without(flagged)
    if options.action == "keep":
        return pools
    # Smaller, of a negative score as well.
    lost = (1.0 - options.weight) * abs(pools.scores)
    scores = np.where(flagged, pools.scores - lost, pools.scores).astype(np.float32)
    order = np.argsort(np.where(pools.ids >= 0, -scores, np.inf), axis=1, kind="stable")
    ids, scores = (np.take_along_axis(each, order, axis=1) for each in (pools.ids, scores))
    return Pools(ids, scores, pools.counts)
