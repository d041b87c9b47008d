"""What a filter knows of a pair: cosines of images and captions, by a store of any model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.progress import Follower, ProgressBar
from helip.common.remote.urls import url_of
from helip.pairs.filtering.rules import CROSS, WITHIN, Floats, Judged, in_use
from helip.pairs.options import FilterRules
from helip.store.embedding_store import EmbeddingStore, store_of
from helip.store.matrices import matrix_of

_ONE_MODEL = (
    "images are compared with captions, so both must be of one model: helip embed DATA --out STORE "
    "--image-encoder open_clip:NAME/WEIGHTS --text-encoder open_clip:NAME/WEIGHTS"
)


class Judge:
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

    def judge(self, first: int, ids: np.ndarray, scores: np.ndarray) -> Judged:
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
        return Judged(scores=scores, **known)

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
