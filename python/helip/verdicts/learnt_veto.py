"""LearntVeto: the probability that people would take a pair out, learnt from their verdicts."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Lt
from numpy.typing import NDArray

from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError, needed
from helip.common.files import named_file, publish_file, read_json, write_json
from helip.common.options import Seed, Share, check, require
from helip.common.proportions import wilson_interval
from helip.store.data_identity import difference_words, fingerprint_differences
from helip.store.embedding_store import EmbeddingStore
from helip.verdicts.decisions import EXCLUDING
from helip.verdicts.features import CAPTIONS, CROSS, Floats, PairFeatures
from helip.verdicts.verdicts import Verdicts, identity_of

_FORMAT = 1


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
        verdicts.refuse_other_data(*identity_of(pairs))
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
        rows, fingerprint = identity_of(pairs)
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


def _fitted(values: Floats, labels: NDArray[np.bool_]) -> tuple[Floats, float]:
    """Coefficients and intercept for ``values`` as they are; each is scaled to fit."""
    with needed("a learnt veto needs scikit-learn", "helip[judge]"):
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
    recall = _share(flagged, labels, groups)
    assert recall is not None
    return Measured(
        threshold=float(threshold), folds=folds, labels=len(labels), positives=int(labels.sum()),
        flagged=int(flagged.sum()), right=int((flagged & labels).sum()),
        precision=_share(labels, flagged, groups), recall=recall,
    )  # fmt: skip


def _share(
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
