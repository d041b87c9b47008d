"""Mining of queries in a corpus: from embeddings of both to a table of hard negatives."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.files import output_path
from helip.common.parts import checked_part, part_path
from helip.common.progress import Follower, ProgressBar
from helip.common.ray_parts import (
    PARTS_PER_SLOT,
    import_ray,
    ray_running,
    see_to_parts,
    slots,
    smallest_cpus,
)
from helip.mining.call import MineCall
from helip.mining.engines.parts import agreed_parts, is_done, remove_parts
from helip.mining.engines.ray import owned
from helip.mining.inputs import checked_store, core_options, opened_same
from helip.mining.options import JobOptions, MineOptions
from helip.mining.stages.job import place_of
from helip.pairs.hard_negatives import HardNegatives
from helip.pairs.hard_pairs_part import HardPairsPart
from helip.pairs.positives import Positives, positives_of
from helip.store.embedding_store import EmbeddingStore
from helip.store.matrices import MatrixView, host_array, matrix_of

_log = logging.getLogger(__name__)

_EMPTY = MatrixView(0, 0, 0, "float32", 0, None)
# Options of `mine` that mean nothing here.
_UNUSED = (
    "store", "image", "text", "margin", "candidates", "refresh", "codes", "keep_codes",
    "checkpoint", "verdicts", "cluster_rows", "overlap", "keep_stages", "matrices",
    "channels", "score", "weights", "maxima",
)  # fmt: skip


@dataclass(frozen=True)
class _Side:
    """Queries, or their corpus."""

    store: EmbeddingStore | None
    matrices: tuple[MatrixView, MatrixView]  # image and text; without rows where it is not used

    @property
    def rows(self) -> int:
        return self.matrices[0].rows or self.matrices[1].rows


def _of_store(store: EmbeddingStore) -> _Side:
    return _Side(store, store.matrices)


def _side(given: Any, name: str, modality: str) -> _Side:
    if isinstance(given, (EmbeddingStore, str, os.PathLike)):
        return _of_store(checked_store(given, stacklevel=8))
    if isinstance(given, tuple):
        image, text = (
            matrix_of(host_array(each, f"{name} {of}"), name=f"{name} {of}")
            for each, of in zip(given, ("image", "text"), strict=True)
        )
        return _Side(None, (image, text))
    matrix = matrix_of(host_array(given, name), name=name)
    return _Side(None, (matrix, _EMPTY) if modality == "image" else (_EMPTY, matrix))


def _is_matrix(given: Any) -> bool:
    return not isinstance(given, (EmbeddingStore, str, os.PathLike, tuple))


class _Job:
    """A call whose input was looked at."""

    def __init__(self, call: MineCall) -> None:
        _refuse_unused(call)
        modality = call.modality
        for name in ("queries", "corpus"):
            given = getattr(call, name)
            if isinstance(given, tuple) and (len(given) != 2 or modality != "both"):
                raise InvalidArgumentError(
                    f"{name} is a tuple of {len(given)} and modality is {modality!r}; a tuple is "
                    "of image and text embeddings, for modality='both'"
                )
        alone = {name for name in ("queries", "corpus") if _is_matrix(getattr(call, name))}
        if alone and modality == "both":
            if len(alone) == 1:
                raise InvalidArgumentError(
                    f"{alone.pop()} is one matrix, and the other has images and texts; name the "
                    "modality that both are of: modality='image' or 'text'"
                )
            modality = "text"
            asks_for_images = call.image_max != MineOptions.image_max
            if call.collapse in ("image", "both") or (
                asks_for_images and call.text_max == MineOptions.text_max
            ):
                raise InvalidArgumentError(
                    f"image_max is {call.image_max} and collapse is {call.collapse!r}, and a "
                    "matrix alone counts as one of texts; name the modality, modality='image', or "
                    "give text_max and collapse='text'"
                )
        self.call = call
        self.path = output_path(call.out)
        self.queries = _side(call.queries, "queries", modality)
        self.corpus = _side(call.corpus, "corpus", modality)
        self.positives = positives_of(
            call.positives, self.queries.rows,
            query_store=self.queries.store, corpus_store=self.corpus.store,
        )  # fmt: skip
        rules = {**MineOptions.of(call).as_dict(), "modality": modality}
        if rules["method"] == "auto":
            rules["method"] = "exact"
        self.rules = MineOptions(**rules)
        self.input = core_input(self.queries, self.corpus, self.positives, call.relative_margin)

    @property
    def stores(self) -> tuple[EmbeddingStore, EmbeddingStore] | None:
        """Of queries and corpus; None where one of them is an array."""
        if self.queries.store is None or self.corpus.store is None:
            return None
        return self.queries.store, self.corpus.store

    def options(self, parts: int = 1) -> _core.MineOptions:
        return core_options(self.rules, self.call, parts=parts)


def core_input(
    queries: _Side, corpus: _Side, positives: Positives, relative_margin: float | None
) -> _core.NegativesInput:
    """What the core is given."""
    begins, rows = positives.views()
    return _core.NegativesInput(
        query_image=queries.matrices[0], query_text=queries.matrices[1],
        corpus_image=corpus.matrices[0], corpus_text=corpus.matrices[1],
        begins=begins, rows=rows, relative_margin=relative_margin,
        queries=queries.store and queries.store._core, corpus=corpus.store and corpus.store._core,
    )  # fmt: skip


def _refuse_unused(call: MineCall) -> None:
    for name in ("queries", "corpus"):
        if getattr(call, name) is None:
            other = "corpus" if name == "queries" else "queries"
            raise InvalidArgumentError(
                f"{name} is missing, and {other} is given; hard negatives of queries are mined in "
                "a corpus: give both"
            )
    defaults = {field.name: field.default for field in fields(MineCall)}
    for name in _UNUSED:
        value, plain = getattr(call, name), (str, int, float)
        if value is defaults[name] or (isinstance(value, plain) and value == defaults[name]):
            continue
        shown = f"{name} is {value!r}" if isinstance(value, plain) else f"{name} is given"
        raise InvalidArgumentError(
            f"{shown}, which mining queries in a corpus does not take; drop it"
        )
    if call.device not in ("auto", "cpu"):
        raise UnsupportedError(
            f'device is {call.device!r}; queries are mined on the CPU, device="cpu"'
        )
    if call.engine == "local":
        raise UnsupportedError(
            "engine is 'local', which mines partition in stages; use 'threads' or 'ray'"
        )


def mine_negatives(call: MineCall) -> HardNegatives | HardPairsPart:
    """What ``mine`` does of queries and a corpus."""
    job = _Job(call)
    there = bool(job.path) and os.path.exists(os.path.join(job.path, "manifest.json"))
    if call.part is None and there:
        return _existing(job)
    call.tell_of_disk(_log, job.queries.rows, 0)
    if call.part is not None:
        return _one_part(job)
    parts = agreed_parts(call.parts, out=job.path, method=job.rules.method)
    if call.engine == "ray":
        parts = _spread(job, parts)
    with ProgressBar(None, label="mine", unit="units", enabled=call.progress) as bar:
        follow = Follower(bar, call.on_progress)
        core = _core.mine_negatives(job.input, job.options(parts or 1), follow, job.path)
    return HardNegatives(core)


def _one_part(job: _Job) -> HardPairsPart:
    call = job.call
    assert call.part is not None
    checked_part(call.part)
    if not job.path:
        raise InvalidArgumentError("part needs a directory to write the part to; give out")
    if call.parts is not None or call.engine != "threads":
        raise InvalidArgumentError(
            f"part is {call.part}, one part of a job, and parts= and engine= are for a whole one; "
            "drop them"
        )
    with ProgressBar(None, label="mine", unit="queries", enabled=call.progress) as bar:
        follow = Follower(bar, call.on_progress)
        core = _core.mine_negatives_part(job.input, *call.part, job.options(), job.path, follow)
    return HardPairsPart(core)


def _existing(job: _Job) -> HardNegatives:
    """The table that is there, when it answers this very call."""
    if not job.call.resume or job.stores is None:
        raise InvalidArgumentError(
            f"{job.path} already holds a table; remove it or choose another path"
            + ("" if job.stores else " (bare arrays have no fingerprint to compare)")
        )
    table = HardNegatives.open(job.path)
    asked = json.loads(_core.negatives_options(job.input, job.options()))
    changed = [
        f"{name} {table.options.get(name)!r}, now {value!r}"
        for name, value in {**asked, "queries": job.stores[0].fingerprint}.items()
        if {**table.options, "queries": table.fingerprint}.get(name) != value
    ]
    if changed:
        raise MismatchError(
            f"{job.path} was mined otherwise ({'; '.join(changed)}); choose another path"
        )
    remove_parts(job.path)
    return table


def _spread(job: _Job, parts: int | None) -> int:
    """Sees to it that all parts lie beside the table, by tasks of Ray; how many they are."""
    call, stores = job.call, job.stores
    if call.on_progress is not None or stores is None or not job.path:
        raise InvalidArgumentError(
            "engine is 'ray', which reads stores of queries and corpus and writes to out, by paths "
            "that all nodes share, and tells on_progress nothing; give stores and out"
        )
    if job.rules.method != "exact":
        raise UnsupportedError(
            f"method is {job.rules.method!r}; engine 'ray' mines queries by 'exact'"
        )
    with ray_running(ray := import_ray()), owned(ray, job.path):
        each = call.threads or smallest_cpus(ray)
        count = parts or max(1, min(job.queries.rows, PARTS_PER_SLOT * slots(ray, each)))
        places = {i: part_path(os.path.abspath(job.path), i, count) for i in range(1, count + 1)}
        for index, place in places.items():
            if is_done(place):  # of this very job, or refused
                _core.mine_negatives_part(job.input, index, count, job.options(), str(place))
        opened = [(place_of(store), store.fingerprint) for store in stores]
        told = (
            *opened, ray.put(job.positives.begins), ray.put(job.positives.rows),
            call.relative_margin, job.rules.as_dict(), {"threads": each, "memory": call.memory},
        )  # fmt: skip
        see_to_parts(
            ray, _mine_part, lambda index: (*told, index, count, str(places[index])), places,
            is_done, cpus=each, label="mine", progress=call.progress,
        )  # fmt: skip
    return count


def _mine_part(
    queries: tuple[str, str], corpus: tuple[str, str], begins: np.ndarray, rows: np.ndarray,
    relative_margin: float | None, rules: dict[str, Any], machine: dict[str, Any], index: int,
    count: int, out: str,
) -> None:  # fmt: skip
    """What a task does, on its node."""
    left, right = (_of_store(opened_same(*store)) for store in (queries, corpus))
    asked = core_options(MineOptions(**rules), JobOptions(**machine))
    given = core_input(left, right, Positives(begins, rows), relative_margin)
    _core.mine_negatives_part(given, index, count, asked, str(Path(out)))
