"""LearntVeto: the probability that people would take a pair out, learnt from their verdicts.

`propose` says which pairs it is least sure of: those are worth asking people about.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Lt
from numpy.typing import NDArray

from helip import CorruptError, InvalidArgumentError, MismatchError
from helip.common.errors import needed
from helip.common.files import named_file, publish_file, read_json, write_json
from helip.common.options import Positive, Seed, Share, check, require
from helip.evaluation import wilson_interval
from helip.store import EmbeddingStore, difference_words, fingerprint_differences
from helip.verdicts import EXCLUDING, Verdicts
from helip_view.pair_features import CAPTIONS, CROSS, Floats, PairFeatures

_FORMAT = 1
_BLOCK = 1024  # neighbouring ones that are drawn together


@dataclass(frozen=True)
class Measured:
    """How well a veto does on pairs that it was not fitted on: cross-validated, with intervals."""

    threshold: float
    folds: int
    labels: int
    """Pairs with a decision that were used."""
    positives: int
    """Those of them that people took out."""
    flagged: int
    """Those that the veto would take out."""
    right: int
    """Those that both would."""
    precision: tuple[float, float, float] | None
    """right / flagged, and the limits of its 95 % interval (Wilson's, where pairs that share their
    smaller row count together); None if it flags nothing."""
    recall: tuple[float, float, float]
    """right / positives, likewise."""


class LearntVeto:
    """Logistic regression over what is known of a pair: the probability that people would say it is
    a false negative or near duplicate. Immutable.

    Its precision is measured by cross-validation on judged pairs: those that share their smaller
    row are in one fold. It holds for pairs that are like the judged ones. Where people judged what
    seemed odd to them alone, it says little of the whole table; let them judge random pairs too.
    """

    def __init__(
        self,
        features: tuple[str, ...],
        coefficients: NDArray[np.float64],
        intercept: float,
        *,
        threshold: float,
        rows: int,
        data_fingerprint: str = "",
        measured: Measured | None = None,
    ) -> None:
        """``coefficients`` [features], of the features as they are."""
        self.features = features
        """Names of what it asks of a pair; see docs/verdicts.md."""
        self.coefficients = coefficients
        self.intercept = intercept
        self.threshold = threshold
        """Probability from which on a pair is taken out."""
        self.rows = rows
        self.data_fingerprint = data_fingerprint
        self.measured = measured
        """Precision and recall; None: not measured."""

    @classmethod
    def fit(
        cls,
        verdicts: Verdicts,
        pairs: Any,
        *,
        by: EmbeddingStore | str | os.PathLike[str] | None = None,
        threshold: Share = 0.5,
        folds: int = 5,
        seed: Seed = 0,
    ) -> LearntVeto:
        """Learns from the decided pairs of ``verdicts``; ``unsure`` ones are left out.

        Args:
            pairs: the table, with its store (and with its data, for the overlap of captions).
            by: a store of the same rows by one model, such as CLIP, for its cross-scores.
            threshold: probability from which on a pair is taken out.
            folds: of the cross-validation; 0 measures nothing, and such a veto filters nothing.
            seed: of the folds.

        Raises:
            InvalidArgumentError: fewer pairs of either kind than folds; no store.
            MismatchError: verdicts on other data. UnsupportedError: scikit-learn is absent.
        """
        check("threshold", threshold, Share)
        check("folds", folds, Annotated[int, Ge(0)])
        require(folds != 1, "folds", folds, "0, or at least 2")
        check("seed", seed, Annotated[int, Ge(0), Lt(2**32)])
        rows, fingerprint = len(pairs), str(pairs.data_fingerprint)
        verdicts.refuse_other_data(rows, fingerprint)
        found = PairFeatures(pairs, pairs.store, by=by, data=pairs.data)
        decided = [
            (d.rows, d.verdict in EXCLUDING)
            for d in verdicts.decided().values()
            if d.rows[1] is not None and d.verdict != "unsure"
        ]
        subjects = np.array([rows for rows, _ in decided], dtype=np.int64).reshape(-1, 2)
        labels = np.array([label for _, label in decided], dtype=bool)
        values = found.of_pairs(subjects)
        known = ~np.isnan(values).any(axis=1)
        subjects, labels, values = subjects[known], labels[known], values[known]
        least = max(folds, 2)
        positives = int(labels.sum())
        if min(positives, len(labels) - positives) < least:
            raise InvalidArgumentError(
                f"there are {positives} pairs that people took out and {len(labels) - positives} "
                f"that they keep, must be at least {least} of both; judge more pairs, or ask for "
                "fewer folds"
            )
        coefficients, intercept = _fitted(values, labels)
        measured = None
        if folds:
            measured = _measured(values, labels, subjects[:, 0], threshold, folds, int(seed))
        return cls(
            found.names, coefficients, intercept, threshold=float(threshold), rows=rows,
            data_fingerprint=fingerprint, measured=measured,
        )  # fmt: skip

    def probabilities(self, features: Floats) -> Floats:
        """[...] of ``features`` [..., f], in the order of :attr:`features`; NaN where one is."""
        odds = features @ self.coefficients + self.intercept
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -700.0, 700.0))))

    def refuse_unmeasured(self, min_precision: float) -> None:
        """InvalidArgumentError unless the lower limit of the precision reaches the bound."""
        if self.measured is None:
            raise InvalidArgumentError(
                "the precision of this learnt veto was not measured, so it may take out good hard "
                "pairs; fit it with folds=5"
            )
        low = None if self.measured.precision is None else self.measured.precision[1]
        if low is None or low < min_precision:
            words = "it flagged no judged pair" if low is None else f"from {low:.3f}"
            raise InvalidArgumentError(
                f"min_precision is {min_precision}, and the 95 % interval of this veto's precision "
                f"does not reach it ({words}, on {self.measured.labels} judged pairs); judge more "
                "pairs, fit with a higher threshold, or accept a lower min_precision"
            )

    def refuse_other_data(self, rows: int, data_fingerprint: str) -> None:
        """MismatchError where it was learnt on other data."""
        differ = fingerprint_differences(self.data_fingerprint, data_fingerprint)
        if rows != self.rows or differ:
            raise MismatchError(
                f"the veto was learnt on other data than this{difference_words(differ)} "
                f"({self.rows:,} rows there, {rows:,} here); fit it on verdicts on this data"
            )

    def features_in(
        self,
        table: Any,
        store: EmbeddingStore | None,
        *,
        by: EmbeddingStore | str | os.PathLike[str] | None,
        data: Any,
    ) -> PairFeatures:
        """What it was learnt from, of the pairs of a table; `PairFeatures` has the arguments.

        InvalidArgumentError where that is not known here.
        """
        for name, given, names in (("by", by, CROSS), ("data", data, CAPTIONS)):
            if given is None and any(each in self.features for each in names):
                raise InvalidArgumentError(
                    f"{name} is missing, and the veto was learnt from {', '.join(names)}; give "
                    "what it was fitted with: by=STORE, or pairs.with_data(data)"
                )
        found = PairFeatures(
            table, store,
            by=by if set(CROSS) & set(self.features) else None,
            data=data if set(CAPTIONS) & set(self.features) else None,
        )  # fmt: skip
        if found.names != self.features:
            raise InvalidArgumentError(
                f"the veto was learnt from {', '.join(self.features)}, and here is "
                f"{', '.join(found.names)}; fit it again"
            )
        return found

    def rule(
        self,
        table: Any,
        store: EmbeddingStore | None,
        *,
        by: EmbeddingStore | str | os.PathLike[str] | None,
        data: Any,
        min_precision: float,
    ) -> VetoRule:
        """What ``HardPairs.filter(learnt_veto=…)`` asks of it: flags pairs of ``table``.

        Raises:
            InvalidArgumentError: its precision was not measured, or may lie under
                ``min_precision``; not what it was learnt from. MismatchError: it was learnt on
                other data.
        """
        self.refuse_unmeasured(min_precision)
        self.refuse_other_data(len(table), table.data_fingerprint)
        return VetoRule(self, self.features_in(table, store, by=by, data=data))

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "format": _FORMAT,
            "features": list(self.features),
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept,
            "threshold": self.threshold,
            "rows": self.rows,
            "data_fingerprint": self.data_fingerprint,
            "measured": None if self.measured is None else dataclasses.asdict(self.measured),
        }

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a JSON file. InvalidArgumentError: one is there, and ``overwrite`` is False."""
        with publish_file(Path(named_file(path)), overwrite=overwrite) as temporary:
            write_json(temporary, self.to_dict())

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> LearntVeto:
        """Reads what :meth:`save` wrote. CorruptError: it is something else."""
        value = read_json(Path(named_file(path)))
        try:
            if value["format"] != _FORMAT:
                raise ValueError(f"format {value['format']!r} is not {_FORMAT}")
            measured = value["measured"]
            if measured is not None:
                for name in ("precision", "recall"):
                    limits = measured[name]
                    measured[name] = None if limits is None else tuple(map(float, limits))
                    if limits is not None and len(limits) != 3:
                        raise ValueError(f"{name} must be three numbers: value, low, high")
                measured = Measured(**measured)
            features = tuple(map(str, value["features"]))
            coefficients = np.array(value["coefficients"], dtype=np.float64)
            numbers = [float(value["intercept"]), float(value["threshold"])]
            if (
                coefficients.shape != (len(features),)
                or not np.isfinite([*coefficients, *numbers]).all()
            ):
                raise ValueError("coefficients must be one finite number for each feature")
            if not 0 <= numbers[1] <= 1:
                raise ValueError(f"threshold is {numbers[1]}, must be 0 .. 1")
            return cls(
                features, coefficients, numbers[0], threshold=numbers[1], rows=int(value["rows"]),
                data_fingerprint=str(value["data_fingerprint"]), measured=measured,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(
                f"{os.fspath(path)} is not a learnt veto ({type(error).__name__}: {error}); fit it "
                "again"
            ) from error

    def __repr__(self) -> str:
        words = "not measured"
        if self.measured is not None and self.measured.precision is not None:
            value, low, high = self.measured.precision
            words = f"precision {value:.3f} [{low:.3f}, {high:.3f}]"
        return f"LearntVeto({len(self.features)} features, {words})"


class VetoRule:
    """Flags what a learnt veto would have people take out."""

    name = "learnt_veto"

    def __init__(self, veto: LearntVeto, features: PairFeatures) -> None:
        self._veto, self._features = veto, features
        self.uses_by = any(name in CROSS for name in veto.features)

    def described(self) -> dict[str, Any]:
        """For the options of the new table."""
        measured = self._veto.to_dict()["measured"]
        return {"features": list(self._veto.features), "measured": measured}

    def flags(
        self, first: int, ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of the targets from ``first`` on with ids [b, k]: flagged, and not known."""
        chance = self._veto.probabilities(self._features.of_block(first, ids))
        return chance >= self._veto.threshold, np.isnan(chance)


def _fitted(values: Floats, labels: NDArray[np.bool_]) -> tuple[Floats, float]:
    """Coefficients and intercept for ``values`` as they are; each is scaled to fit."""
    with needed("a learnt veto needs scikit-learn", "'helip[view]'"):
        from sklearn.linear_model import LogisticRegression
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(max_iter=1000).fit((values - mean) / scale, labels)
    coefficients = model.coef_[0] / scale
    return coefficients, float(model.intercept_[0] - mean @ coefficients)


def _measured(
    values: Floats,
    labels: NDArray[np.bool_],
    groups: NDArray[np.int64],
    threshold: float,
    folds: int,
    seed: int,
) -> Measured:
    from sklearn.model_selection import StratifiedGroupKFold

    flagged = np.zeros(len(labels), dtype=bool)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    if len(np.unique(groups)) < folds:
        raise InvalidArgumentError(
            f"folds is {folds}, and the judged pairs have {len(np.unique(groups))} different "
            "smaller rows; judge pairs of more targets, or ask for fewer folds"
        )
    for train, test in splitter.split(values, labels, groups):
        if len(np.unique(labels[train])) < 2:
            raise InvalidArgumentError(
                "all pairs that people took out, or all that they keep, are of one target; judge "
                "pairs of more targets"
            )
        coefficients, intercept = _fitted(values[train], labels[train])
        odds = values[test] @ coefficients + intercept
        # At a probability of the threshold: the same as comparing probabilities.
        flagged[test] = 1.0 / (1.0 + np.exp(-np.clip(odds, -700.0, 700.0))) >= threshold
    recall = _share_with_interval(flagged, labels, groups)
    assert recall is not None
    return Measured(
        threshold=float(threshold), folds=folds, labels=len(labels), positives=int(labels.sum()),
        flagged=int(flagged.sum()), right=int((flagged & labels).sum()),
        precision=_share_with_interval(labels, flagged, groups), recall=recall,
    )  # fmt: skip


def _share_with_interval(
    hits: NDArray[np.bool_], of: NDArray[np.bool_], groups: NDArray[np.int64]
) -> tuple[float, float, float] | None:
    """The share of ``hits`` among the pairs ``of`` [n], with Wilson's interval; None of nothing.

    Pairs of one group are right or wrong together, so what varies, and how many trials there are,
    is told by the groups.
    """
    if not of.any():
        return None
    _, group = np.unique(groups[of], return_inverse=True)
    right, pairs = np.bincount(group, hits[of]), np.bincount(group).astype(np.float64)
    n = pairs.sum()
    share = float(right.sum() / n)
    among = float(((right - share * pairs) ** 2).sum() / n**2)
    variance, trials = max(among, share * (1 - share) / n), float(n**2 / (pairs**2).sum())
    return (share, *wilson_interval(share, trials, variance))


@dataclass(frozen=True)
class Proposal:
    """A pair that is worth judging."""

    target: int
    hard: int
    probability: float
    """That people would take it out, by the veto."""


def propose(
    verdicts: Verdicts,
    veto: LearntVeto,
    pairs: Any,
    *,
    n: int = 20,
    by: EmbeddingStore | str | os.PathLike[str] | None = None,
    person: str | None = None,
    targets: int | None = None,
    seed: Seed = 0,
) -> list[Proposal]:
    """The ``n`` pairs of the table whose probability lies closest to the veto's threshold.

    Pairs that someone judged are left out, with ``person`` those that this person judged. (a, b)
    and (b, a) come once. In order, the least sure first; fewer where there are fewer. Of a large
    table ``targets`` bounds how many pools are looked at, to a little more: blocks of 1,024
    neighbouring targets, drawn by ``seed``. None looks at all.

    Raises:
        MismatchError: verdicts or veto of other data. InvalidArgumentError: no store, or not what
            the veto was learnt from.
    """
    check("n", n, Positive)
    check("targets", targets, Positive | None)
    check("seed", seed, Seed)
    identity = len(pairs), str(pairs.data_fingerprint)
    verdicts.refuse_other_data(*identity)
    veto.refuse_other_data(*identity)
    found = veto.features_in(pairs, pairs.store, by=by, data=pairs.data)
    judged = np.array(
        [j.rows for j in verdicts if j.hard is not None and person in (None, j.person)],
        dtype=np.int64,
    ).reshape(-1, 2)
    best = np.empty((0, 4))  # distance, low, high, probability
    for first, ids, features in found.of_table(_drawn(len(pairs), targets, seed)):
        chance = veto.probabilities(features)
        rows = np.broadcast_to(np.arange(first, first + len(ids))[:, None], ids.shape)
        use = ~np.isnan(chance)
        low, high = np.minimum(rows, ids)[use], np.maximum(rows, ids)[use]
        new = np.stack([abs(chance[use] - veto.threshold), low, high, chance[use]], axis=1)
        best = _first(np.concatenate([best, new]), judged, n)
    return [Proposal(int(low), int(high), float(p)) for _, low, high, p in best.tolist()]


def _drawn(rows: int, targets: int | None, seed: int) -> list[range] | None:
    """Blocks of targets; None: all."""
    if targets is None or targets >= rows:
        return None
    number = -(-rows // _BLOCK)
    some = np.random.default_rng(seed).choice(number, -(-targets // _BLOCK), replace=False)
    return [range(b * _BLOCK, min((b + 1) * _BLOCK, rows)) for b in np.sort(some).tolist()]


def _first(rows: np.ndarray, judged: np.ndarray, n: int) -> np.ndarray:
    """The n least distant pairs, each once, without those that are judged."""
    order = np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))
    known = {tuple(pair) for pair in judged.tolist()}
    kept = []
    for place in order.tolist():
        pair = (int(rows[place, 1]), int(rows[place, 2]))
        if pair not in known:
            known.add(pair)
            kept.append(place)
            if len(kept) == n:
                break
    return rows[kept]
