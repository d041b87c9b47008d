"""Filters a table block by block into a new one, and counts what it found."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.files import output_path, sha256_of
from helip.common.options import ProgressOptions
from helip.common.progress import ProgressBar
from helip.pairs.blocks import Pools, pool_blocks
from helip.pairs.filtering.people_rules import PairRule, VerdictRule, veto_rule
from helip.pairs.filtering.rules import FilterCosines, Flags, flags, in_use, needs_store
from helip.pairs.options import FilterOptions
from helip.store.embedding_store import EmbeddingStore
from helip.verdicts.verdicts import Source


class FilterAccount:
    """Counts over the blocks of a table; ``k_out``: places of the new pools."""

    def __init__(self, k: int, k_out: int, reasons: list[str]) -> None:
        self._k_out = k_out
        self._counts = dict.fromkeys(("pairs", "flagged", "unjudged", "cut", "left", "changed"), 0)
        self._reasons = dict.fromkeys(reasons, 0)
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
        for name, found in by_rule.items():
            self._reasons[name] += int((found & valid).sum())
        for name, number in (
            ("pairs", before),
            ("flagged", flagged),
            ("unjudged", unknown & valid),
            ("cut", kept - after),
            ("left", after),
            ("changed", flagged.any(axis=1)),
        ):
            self._counts[name] += int(number.sum())
        for when, counts in (("before", before), ("after", after)):
            self._targets["outliers"][when] += int((counts == 0).sum())
            self._targets["short_targets"][when] += int((counts < self._k_out).sum())

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values; :meth:`helip.HardPairs.stats` says what the names mean."""
        pairs, flagged = self._ranks.tolist()
        return {
            **self._counts,
            "reasons": self._reasons,
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
    people = _rules_of_people(call, table, store, data)
    reasons = [*in_use(call), *(rule.name for rule in people)]
    k = table.k if call.k is None else call.k
    if not reasons and call.k is None:
        raise InvalidArgumentError(
            "no rule is given; give relative_margin, margin, veto, image_max, text_max, max_score, "
            "min_score, verdicts, learnt_veto or k"
        )
    if k > table.k:
        raise InvalidArgumentError(f"k is {k}, must be at most {table.k}, which the table has")
    # One that a learnt veto alone needs is no surplus one.
    surplus = any(rule.uses_by for rule in people)
    by = None if surplus and not needs_store(call) else call.by
    cosines = FilterCosines(by, table, call, call.threads or 0, call.progress)
    account = FilterAccount(table.k, k, reasons)
    writer = _core.HardPairsWriter(output_path(call.out), len(table), k)
    with ProgressBar(len(table), label="filter", unit="targets", enabled=call.progress) as bar:
        for first, pools in pool_blocks(table):
            facts = cosines.of(first, pools.ids, pools.scores)
            valid = pools.ids >= 0
            by_rule = flags(call, facts)
            unknown = facts.unknown()
            for rule in people:
                by_rule[rule.name], unknown_to_rule = rule.flags(first, pools.ids)
                unknown |= unknown_to_rule
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
    step = {name: getattr(call, name) for name in (*reasons, "match", "action", "weight", "k")}
    step |= {rule.name: rule.described() for rule in people}
    origin = {**_origin_of(table), "by": cosines.name or None}
    return writer.finish(
        fingerprint=table.fingerprint,
        data_fingerprint=table.data_fingerprint,
        options_json=json.dumps({**options, "filter": [*options.get("filter", []), step]}),
        report_json=json.dumps(
            {**report, "filter": [*report.get("filter", []), {**origin, **account.to_dict()}]}
        ),
    )


def _rules_of_people(
    call: FilterCall, table: _core.HardPairs, store: EmbeddingStore | None, data: Any
) -> list[PairRule]:
    rules: list[PairRule] = []
    if call.verdicts is not None:
        rules.append(VerdictRule(call.verdicts, table))
    if call.learnt_veto is not None:
        known = {"by": call.by, "data": data, "min_precision": call.min_precision}
        rules.append(veto_rule(call.learnt_veto, table, store, **known))
    return rules


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


def _origin_of(table: _core.HardPairs) -> dict[str, Any]:
    """Which table it was: its directory, and a digest of the manifest, which has its checksums."""
    if not table.path:
        return {"from": None}
    return {"from": {"path": table.path, "sha256": sha256_of(Path(table.path) / "manifest.json")}}
