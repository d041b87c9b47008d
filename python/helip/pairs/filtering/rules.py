"""Which hard pairs of a block of targets the rules flag, and the cosines that the rules need."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helip import _core
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.progress import Follower, ProgressBar
from helip.common.remote.urls import url_of
from helip.pairs.options import FilterRules
from helip.store.embedding_store import EmbeddingStore, store_of
from helip.store.matrices import matrix_of

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_COMBINE: dict[str, Callable[[Floats, Floats], Floats]] = {
    "any": np.maximum,
    "both": np.minimum,
    "mean": lambda a, b: (a + b) / 2,
}
#: Against "any" of two cosines stands the smaller one of the own, against "both" the larger.
_AGAINST = {"any": "both", "both": "any", "mean": "mean"}
#: Rules by what they need to know.
CROSS = ("relative_margin", "margin", "veto")
WITHIN = {"image_max": "image", "text_max": "text"}
SCORE = ("max_score", "min_score")
RULES = (*CROSS, *WITHIN, *SCORE)
_ONE_MODEL = (
    "images are compared with captions, so both must be of one model: helip embed DATA --out STORE "
    "--image-encoder open_clip:NAME/WEIGHTS --text-encoder open_clip:NAME/WEIGHTS"
)


@dataclass(frozen=True)
class PairFacts:
    """What is known of the pairs of b targets; NaN where a row of the pair is zero."""

    scores: NDArray[np.float32]  # [b, k] of the table
    own: Floats | None = None  # [b, 1] c(i, i) of the targets
    others: Floats | None = None  # [b, k] c(j, j) of their hard pairs
    forth: Floats | None = None  # [b, k] c(i, j)
    back: Floats | None = None  # [b, k] c(j, i)
    image: Floats | None = None  # [b, k] cosine of both images
    text: Floats | None = None  # [b, k] cosine of both captions

    def unknown(self) -> Flags:
        """[b, k]: pairs that a rule could not look at."""
        unknown = np.zeros(self.scores.shape, dtype=bool)
        for known in (self.own, self.others, self.forth, self.back, self.image, self.text):
            if known is not None:
                unknown |= np.isnan(known)
        return unknown


def in_use(rules: FilterRules) -> list[str]:
    """Names of the rules that are given."""
    return [name for name in RULES if getattr(rules, name) is not None]


def needs_store(rules: FilterRules) -> bool:
    """Whether a rule looks at embeddings."""
    return any(name in CROSS or name in WITHIN for name in in_use(rules))


def flags(rules: FilterRules, facts: PairFacts) -> dict[str, Flags]:
    """Rule → [b, k]; a pair that it could not look at is not flagged."""
    found: dict[str, Flags] = {}
    if facts.forth is not None and facts.back is not None and facts.own is not None:
        near = _COMBINE[rules.match](facts.forth, facts.back)
        if rules.relative_margin is not None:
            found["relative_margin"] = near > facts.own - rules.relative_margin * abs(facts.own)
        if rules.margin is not None:
            found["margin"] = near > facts.own - rules.margin
        if rules.veto is not None and facts.others is not None:
            crosswise = _COMBINE[rules.veto](facts.forth, facts.back)
            found["veto"] = crosswise >= _COMBINE[_AGAINST[rules.veto]](facts.own, facts.others)
    if rules.image_max is not None and facts.image is not None:
        found["image_max"] = facts.image > rules.image_max
    if rules.text_max is not None and facts.text is not None:
        found["text_max"] = facts.text > rules.text_max
    if rules.max_score is not None:
        found["max_score"] = facts.scores > rules.max_score
    if rules.min_score is not None:
        found["min_score"] = facts.scores <= rules.min_score
    return found


class FilterCosines:
    """Cosines of the pairs of a table, as far as ``rules`` need them.

    Reads rows where they lie, so a store may be larger than memory; keeps 8 bytes a row for each
    of the two lengths and for c(i, i).

    Raises:
        MismatchError: other rows or keys than the table's. InvalidArgumentError: rows of two
            models where images are compared with captions; NaN or infinity.
    """

    def __init__(
        self, by: Any, table: _core.HardPairs, rules: FilterRules, threads: int, progress: bool
    ) -> None:
        used = in_use(rules)
        self._within = [side for rule, side in WITHIN.items() if rule in used]
        self._veto = rules.veto is not None
        self.name: dict[str, Any] = {}  # for the manifest
        self._own: Floats | None = None
        cross = any(rule in used for rule in CROSS)
        if not cross and not self._within:
            if by is not None:
                raise InvalidArgumentError(
                    "by is given, and no rule needs it; give relative_margin, margin, veto, "
                    "image_max or text_max, or no by"
                )
            return
        image, text = self._open(by, table, used)
        if cross and image.cols != text.cols:
            raise InvalidArgumentError(
                f"images have {image.cols} numbers and captions {text.cols}; {_ONE_MODEL}"
            )
        with ProgressBar(None, label="check", unit="rows", enabled=progress) as bar:
            self._cosines = _core.PairCosines(image, text, threads, Follower(bar))
        if cross:
            rows = np.arange(len(table), dtype=np.int64)[:, None]
            steps = range(0, len(table), 1 << 20)
            blocks = [self._cosines.of("image_text", a, rows[a : a + (1 << 20)]) for a in steps]
            self._own = np.concatenate([np.empty((0, 1)), *blocks])[:, 0]

    def of(self, first: int, ids: np.ndarray, scores: np.ndarray) -> PairFacts:
        """Of the targets from ``first`` on, with hard pairs ``ids`` [b, k] int64."""
        known: dict[str, Floats] = {
            side: self._cosines.of(f"{side}_{side}", first, ids) for side in self._within
        }
        if self._own is not None:
            known["own"] = self._own[first : first + len(ids), None]
            known["forth"] = self._cosines.of("image_text", first, ids)
            known["back"] = self._cosines.of("text_image", first, ids)
            if self._veto:
                known["others"] = np.where(ids >= 0, self._own[ids], np.nan)
        return PairFacts(scores=scores, **known)

    def _open(self, by: Any, table: _core.HardPairs, used: list[str]) -> tuple[Any, Any]:
        if by is None:
            raise InvalidArgumentError(
                f"by is missing, and {', '.join(used)} need it: a store of what the table was "
                f"mined from. {_ONE_MODEL[0].upper()}{_ONE_MODEL[1:]}"
            )
        if isinstance(by, (tuple, list)):
            image, text = (matrix_of(m, name=n) for m, n in zip(by, ("image", "text"), strict=True))
            _check_rows(table, image.rows, "the arrays", "")
            return image, text
        if not isinstance(by, EmbeddingStore):
            _refuse_encoder(by)
        store = store_of(by)
        _check_rows(table, len(store), repr(store), store.keys_fingerprint)
        encoders = [store.metadata.get(f"{side}_encoder") for side in ("image", "text")]
        if any(rule in CROSS for rule in used):
            _check_encoders(store, encoders)
        self.name = {"path": store.path, "fingerprint": store.fingerprint, "encoder": encoders[0]}
        return store.matrices


def _refuse_encoder(path: str | os.PathLike[str]) -> None:
    if ":" in os.fspath(path) and not Path(path).exists() and url_of(path) is None:
        raise InvalidArgumentError(
            f"by is {os.fspath(path)!r}, an encoder; embed the data by it first, and give the "
            f"store: helip embed DATA --out STORE --image-encoder {path} --text-encoder {path}"
        )


def _check_rows(table: _core.HardPairs, rows: int, name: str, keys: str) -> None:
    if len(table) != rows:
        raise MismatchError(
            f"the table has {len(table):,} targets, {name} {rows:,} rows; row i of both must be of "
            "one sample: embed what the table was mined from"
        )
    own = table.data_fingerprint.partition("-")[0]  # of the keys and their order
    if own and keys and own != keys:
        raise MismatchError(
            f"the table has as many rows as {name}, but other keys or another order of them (keys "
            f"fingerprint {own}, there {keys}); embed what the table was mined "
            "from"
        )


def _check_encoders(store: EmbeddingStore, encoders: list[Any]) -> None:
    """Names with a colon are specs; an object without one goes by its class, which may differ."""
    image, text = encoders
    if image != text and all(isinstance(name, str) and ":" in name for name in encoders):
        raise InvalidArgumentError(
            f"{store.path} has images by {image} and captions by {text}; {_ONE_MODEL}"
        )
