"""Features of all rows by a model: what cross-scores of pictures and captions are computed of."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.array_cache import ArrayCache
from helip.common.errors import InvalidArgumentError
from helip.common.machine import core_threads
from helip.common.progress import ProgressBar
from helip.evaluation.encoding import Subject
from helip.evaluation.model_source import GivenModel
from helip.evaluation.options import EvaluateOptions
from helip.store.data_identity import Identity, require_same_data
from helip.store.embedding_store import EmbeddingStore
from helip.store.matrices import MatrixView, matrix_of


class ModelFeatures:
    """Cosines of the pictures and captions of all rows by one model, ``name`` in words.

    A row that could not be read has features of zeros, and cosines that are NaN.
    """

    def __init__(
        self,
        name: str,
        digest: str,
        image: MatrixView,
        text: MatrixView,
        rows: Any,
        store: EmbeddingStore | None = None,
    ) -> None:
        if image.cols != text.cols:
            raise InvalidArgumentError(
                f"{name} has pictures of {image.cols} numbers and captions of {text.cols}, so it "
                "is of two encoders; cross-scores need a store that one CLIP made, or a model"
            )
        self.name, self.digest = name, digest
        self.store = store
        """That it is made of; None for a model that encoded the data."""
        self._count = image.rows
        self._rows = rows  # (row numbers) -> both float32
        self._cosines = _core.PairCosines(image, text, core_threads())

    @classmethod
    def of(cls, given: Any, data: Any, cache: ArrayCache, *, progress: bool) -> ModelFeatures:
        """Of a store of a CLIP, or of what `create_model` takes: that model encodes all rows of
        ``data`` once, and its features are kept.

        Raises MismatchError for a store of other data.
        """
        if isinstance(given, EmbeddingStore) or is_store(given):
            store = given if isinstance(given, EmbeddingStore) else EmbeddingStore.open(given)
            of_store = Identity(len(store), store.data_fingerprint or store.keys_fingerprint)
            require_same_data(
                f"the store {store.path}",
                of_store,
                Identity.of(data),
                "give the store of this data",
            )
            own = Path(store.path).name, store.fingerprint
            return cls(*own, *store.matrices, store.rows, store)
        model = GivenModel(given)
        name = str(getattr(given, "name", given))
        if not (known := model.files or model.weights):
            raise InvalidArgumentError(f"model {name} has weights without a digest")
        digest = hashlib.blake2b(known.encode(), digest_size=16).hexdigest()
        found = cache.arrays(
            f"features-{digest}", lambda: _encoded(model.bundle, data, progress=progress)
        )
        image, text = found["image"], found["text"]
        views = (
            matrix_of(np.ascontiguousarray(image), name=name),
            matrix_of(np.ascontiguousarray(text), name=name),
        )
        return cls(Path(name).name, digest, *views, rows=lambda rows: (image[rows], text[rows]))

    def scores(self, sides: str, first: int, ids: np.ndarray) -> np.ndarray:
        """float64 [b, k]: of the targets from ``first`` on with ``ids`` [b, k] int64; ``sides`` is
        such as image_text, picture of the target with captions of ``ids``."""
        return self._cosines.of(sides, first, ids)

    def forth(self, first: int, ids: np.ndarray) -> np.ndarray:
        """float64 [b, k]: picture of each target from ``first`` on with the captions ``ids``, less
        that with its own caption."""
        return self._cosines.of("image_text", first, ids) - self._own(first, len(ids))

    def gaps(self, first: int, ids: np.ndarray) -> np.ndarray:
        """float64 [b, k]: the greater of both cross-scores, less the target's own score."""
        both = (self._cosines.of(side, first, ids) for side in ("image_text", "text_image"))
        return np.fmax(*both) - self._own(first, len(ids))

    def nearest(self, target: int, count: int) -> tuple[list[int], list[float]]:
        """The rows whose captions fit the picture of the target best, and their cosines; it is not
        among them, and ties come by row. Looks at all rows."""
        rows = np.arange(self._count, dtype=np.int64)[None]
        scores = self._cosines.of("image_text", target, rows)[0]
        scores = np.where(np.isnan(scores), -np.inf, scores)
        scores[target] = -np.inf
        some = np.argpartition(-scores, min(count, len(scores) - 1))[:count]
        some = some[np.lexsort((some, -scores[some]))]
        some = some[~np.isinf(scores[some])]
        return some.tolist(), scores[some].tolist()

    def square(self, target: int, hard: int) -> np.ndarray:
        """float64 [2, 2]: picture of the target and of the hard pair (rows) with caption of the
        target and of the hard pair (columns)."""
        image, text = (_unit(np.asarray(each)) for each in self._rows([target, hard]))
        cosines: np.ndarray = image @ text.T
        return cosines

    def _own(self, first: int, count: int) -> np.ndarray:
        rows = np.arange(first, first + count, dtype=np.int64)[:, None]
        return self._cosines.of("image_text", first, rows)


def is_store(given: Any) -> bool:
    """Whether a model is given as the path of a store that it made."""
    if not isinstance(given, (str, os.PathLike)):
        return False
    folder = Path(given)
    return (folder / "manifest.json").is_file() and not (folder / "open_clip_config.json").exists()


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    found: np.ndarray = rows / np.where(norms == 0, np.nan, norms)
    return found


def _encoded(bundle: Any, data: Any, *, progress: bool) -> dict[str, np.ndarray]:
    """Features float32 [N, d] of the pictures and of the first captions of all rows."""
    subject = Subject.of(bundle, None, None, EvaluateOptions(), progress=False)
    rows = np.arange(len(data))
    reader = subject.rows_of(data, rows, rows, captions=True)
    found: dict[str, np.ndarray] = {}

    def put(side: str, places: list[int], features: Any) -> None:
        block = features.numpy()
        if side not in found:
            found[side] = np.zeros((len(data), block.shape[1]), dtype=np.float32)
        found[side][places] = block

    label = f"encode with {subject.name}"
    with subject.ready(), ProgressBar(len(data), label=label, enabled=progress) as bar:
        for batch in reader:
            if batch.pixels is not None:
                put("image", batch.pictures, subject.images(batch.pixels))
            if batch.captions:
                texts = [captions[0] for captions in batch.captions.values()]
                put("text", list(batch.captions), subject.texts(texts))
            bar.update(batch.rows)
    if len(found) < 2:
        raise InvalidArgumentError("no row of the data set could be read; check the data set")
    return found
