"""Which hard pairs of a block of targets the rules flag, by the cosines that the rules need."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.progress import Follower, ProgressBar
from helip.common.remote.urls import url_of
from helip.pairs.blocks import Pools, row_blocks
from helip.pairs.options import FilterRules
from helip.store.data_identity import Identity, require_same_data
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
_CROSS = ("relative_margin", "margin", "veto")
_WITHIN = {"image_max": "image", "text_max": "text"}
_SCORE = ("max_score", "min_score")
_ONE_MODEL = (
    "images are compared with captions, so both must be of one model: helip embed DATA --out STORE "
    "--image-encoder open_clip:NAME/WEIGHTS --text-encoder open_clip:NAME/WEIGHTS"
)


class PairRule(Protocol):
    """A rule that looks at the rows of a pair."""

    name: str
    uses_by: bool
    """Whether it looks at the store ``by``."""

    def described(self) -> Any:
        """For the options of the new table."""

    def flags(self, first: int, ids: np.ndarray) -> tuple[Flags, Flags]:
        """Of the targets from ``first`` on with ids [b, k] int64: flagged, and not known."""


class PairVeto(Protocol):
    """What was learnt of pairs, such as `helip_view.LearntVeto`."""

    def rule(self, table: Any, store: Any, *, by: Any, data: Any, min_precision: float) -> PairRule:
        """Which pairs of ``table`` it takes out, by the store and the data that it was mined from
        and by another store. Raises where it was learnt on other data, or is not precise enough.
        """


def in_use(rules: FilterRules) -> list[str]:
    """Names of the rules that are given."""
    return [n for n in (*_CROSS, *_WITHIN, *_SCORE) if getattr(rules, n) is not None]


class RuleFlags:
    """Flags pairs of a table by ``rules``.

    Reads rows of ``by`` where they lie, so a store may be larger than memory; keeps 8 bytes a row
    for each of the two lengths and for c(i, i).

    Args:
        by: a store, its path, or two arrays; None where no rule compares embeddings.
        surplus: whether ``by`` may be given where no rule compares embeddings.

    Raises:
        MismatchError: other rows or keys than the table's. InvalidArgumentError: rows of two
            models where images are compared with captions; NaN or infinity.
    """

    def __init__(
        self,
        rules: FilterRules,
        by: Any,
        table: _core.HardPairs,
        *,
        surplus: bool,
        threads: int,
        progress: bool,
    ) -> None:
        self._rules = rules
        self.by: dict[str, Any] = {}  # for the manifest
        self._own: Floats | None = None  # [rows] c(i, i)
        used = [rule for rule in in_use(rules) if rule not in _SCORE]
        cross = any(rule in used for rule in _CROSS)
        if not used:
            if by is not None and not surplus:
                raise InvalidArgumentError(
                    "by is given, and no rule needs it; give relative_margin, margin, veto, "
                    "image_max or text_max, or no by"
                )
            return
        image, text = self._opened(by, table, used, cross)
        if cross and image.cols != text.cols:
            raise InvalidArgumentError(
                f"images have {image.cols} numbers and captions {text.cols}; {_ONE_MODEL}"
            )
        with ProgressBar(None, label="check", unit="rows", enabled=progress) as bar:
            self._cosines = _core.PairCosines(image, text, threads, Follower(bar))
        if cross:
            rows = np.arange(len(table), dtype=np.int64)[:, None]
            self._own = np.empty(len(table))
            for block in row_blocks(len(table), 1):
                own = self._cosines.of("image_text", block.start, rows[block])
                self._own[block] = own[:, 0]

    def of(self, first: int, pools: Pools) -> tuple[dict[str, Flags], Flags]:
        """Of the targets from ``first`` on: rule → flagged [b, k], and the pairs [b, k] with a row
        of zeros, which a rule could not look at: they are not flagged."""
        rules, ids, scores = self._rules, pools.ids, pools.scores
        found: dict[str, Flags] = {}
        seen: list[Floats] = []  # cosines that were looked at, NaN where a row is zero
        if self._own is not None:
            own = self._own[first : first + len(ids), None]
            forth = self._cosines.of("image_text", first, ids)
            back = self._cosines.of("text_image", first, ids)
            seen += own, forth, back
            near = _COMBINE[rules.match](forth, back)
            if rules.relative_margin is not None:
                found["relative_margin"] = near > own - rules.relative_margin * abs(own)
            if rules.margin is not None:
                found["margin"] = near > own - rules.margin
            if rules.veto is not None:
                others = np.where(ids >= 0, self._own[ids], np.nan)
                seen.append(others)
                crosswise = _COMBINE[rules.veto](forth, back)
                found["veto"] = crosswise >= _COMBINE[_AGAINST[rules.veto]](own, others)
        for rule, side in _WITHIN.items():
            if (most := getattr(rules, rule)) is not None:
                cosines = self._cosines.of(f"{side}_{side}", first, ids)
                seen.append(cosines)
                found[rule] = cosines > most
        if rules.max_score is not None:
            found["max_score"] = scores > rules.max_score
        if rules.min_score is not None:
            found["min_score"] = scores <= rules.min_score
        unknown = np.zeros(ids.shape, dtype=bool)
        for each in seen:
            unknown |= np.isnan(each)
        return found, unknown

    def _opened(
        self, by: Any, table: _core.HardPairs, used: list[str], cross: bool
    ) -> tuple[Any, Any]:
        made_of = Identity(len(table), table.data_fingerprint)
        mend = "row i of both must be of one sample: embed what the table was mined from"
        if by is None:
            raise InvalidArgumentError(
                f"by is missing, and {', '.join(used)} need it: a store of what the table was "
                f"mined from. {_ONE_MODEL[0].upper()}{_ONE_MODEL[1:]}"
            )
        if isinstance(by, (tuple, list)):
            image, text = (matrix_of(m, name=n) for m, n in zip(by, ("image", "text"), strict=True))
            require_same_data("the table", made_of, Identity(image.rows), mend)
            return image, text
        path = None if isinstance(by, EmbeddingStore) else os.fspath(by)
        if path and ":" in path and not Path(path).exists() and url_of(path) is None:
            raise InvalidArgumentError(
                f"by is {path!r}, an encoder; embed the data by it first, and give the store: "
                f"helip embed DATA --out STORE --image-encoder {path} --text-encoder {path}"
            )
        store = store_of(by)
        require_same_data("the table", made_of, Identity(len(store), store.keys_fingerprint), mend)
        if cross and (two := two_encoders(store)):
            raise InvalidArgumentError(
                f"{store.path} has images by {two[0]} and captions by {two[1]}; {_ONE_MODEL}"
            )
        encoder = store.metadata.get("image_encoder")
        self.by = {"path": store.path, "fingerprint": store.fingerprint, "encoder": encoder}
        return store.matrices


def two_encoders(store: EmbeddingStore) -> tuple[str, str] | None:
    """The specs of the encoders of images and of captions, where these are two models.

    Names with a colon are specs; an object without one goes by its class, which may differ.
    """
    image, text = (str(store.metadata.get(f"{side}_encoder")) for side in ("image", "text"))
    return (image, text) if image != text and ":" in image and ":" in text else None
