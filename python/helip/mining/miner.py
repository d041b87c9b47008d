"""Hard pair mining: from two embedding matrices to a table of hard pairs.

For a target i, another pair j scores ``s_image(i, j) * s_text(i, j)``, the product of two cosine
similarities, each set to zero for near duplicates (above ``image_max``, ``text_max``) and below
zero; the k pairs of largest score are i's hard pairs (HPM, arXiv 2305.05208).
"""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from typing import Any

from helip import _core
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.files import output_path
from helip.common.options import ProgressOptions, keywords
from helip.common.parts import parts_folder
from helip.common.progress import Follower, OnProgress, ProgressBar
from helip.common.remote.outputs import written_to
from helip.common.remote.urls import url_of
from helip.mining.core_options import core_options
from helip.mining.device_choice import choose_device
from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint, remove_checkpoint
from helip.mining.engines.parts import begun_parts, mine_part, number_of_parts, remove_parts
from helip.mining.inputs import InputOptions, Inputs, inputs_of, require_one_space
from helip.mining.judged import (
    mine_without,
    refuse_other_verdicts,
    refuse_part,
    remove_longer,
)
from helip.mining.options import EXACT_ROWS, HnswOptions, JobOptions, MineOptions, StageOptions
from helip.mining.report_words import shortfall_words
from helip.mining.stages.bases import is_earlier
from helip.mining.stages.running import goes_in_stages, mine_in_stages, remove_stages, stages_folder
from helip.mining.unrelated import warn_of_unrelated
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.hard_pairs_part import HardPairsPart
from helip.store.data_identity import short
from helip.store.embedding_store import EmbeddingStore
from helip.verdicts.opening import Source, exclusions_of

_log = logging.getLogger(__name__)

# Options that change the table of some methods only.
_OPTIONS_OF = {
    "seed": ("sample", "hnsw", "partition"),
    "candidates": ("sample",),
    "refresh": ("sample",),
    "recall": ("hnsw", "partition"),
}
_DEFAULT_CANDIDATES = 3_000_000  # of the core

# Where one GPU stays exact: the dense cost of 20 million pairs is minutes on a current one.
_DEVICE_EXACT_ROWS = 20_000_000


@dataclass(frozen=True, kw_only=True)
class MineCall(MineOptions, HnswOptions, StageOptions, JobOptions, InputOptions, ProgressOptions):
    """What `mine` is asked."""

    verdicts: Source | None = None
    """What people said of pairs of these rows, or the path of their file: what they took out is in
    no pool, and the next best pairs are."""
    out: str | os.PathLike[str] | None = None
    """A directory that the table is streamed to, or a URL of s3, gs or az, to which it is uploaded
    in the end; else it is kept in memory."""
    resume: bool = True
    """With out: return the table that is there if it has the same input and options, and go on
    with what an interrupted job has left; False refuses."""
    part: tuple[int, int] | None = None
    """(i, n), i from 1 to n: mine the i-th of n parts alone, to the directory out, and return a
    HardPairsPart; merge() makes the table of all n."""
    on_progress: OnProgress | None = None
    """Called now and then with a stage, what is done of it and all of it; returns False to stop the
    job with CancelledError. Where several GPUs mine, threads of theirs call it. Not by
    engine="ray", where other processes work."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on_progress is not None and not callable(self.on_progress):
            raise InvalidArgumentError(
                f"on_progress is {self.on_progress!r}, must be a function of a stage, what is done "
                "and all of it, or None"
            )

    @property
    def path(self) -> str:
        return output_path(self.out)


@keywords(MineCall)
def mine(call: MineCall) -> HardPairs:
    """Mines the hard pairs of every target.

    With a method by name the result depends on the input and on the fields of MineOptions alone:
    device, threads, memory, checkpoint, codes, parts and engine change the time, not a byte of the
    table (but an engine may put ``partition`` in stages, see below).
    What ``method="auto"`` chooses (see :func:`plan`) depends above 300,000 rows on the measured
    speed; a table that is there counts as its answer where it could be. A graph (``hnsw``) that
    falls short of ``recall`` warns. ``margin`` wants image and text embeddings of one space, such
    as CLIP's own. GPUs mine exactly, without ``margin``, ``collapse`` and deleted rows; with
    another method or these, and before :func:`prove_gpu` has passed, ``device="auto"`` is the CPU.
    A job of a store with ``out`` that would take more than an hour is committed in parts of half an
    hour each, if it can be; pairs of two parts are looked at twice.

    ``method="partition"`` with ``cluster_rows``, and by ``engine`` local or ray, mines rows
    that do not fit one cluster in stages: each row in the ``overlap`` clusters closest to it, a
    cluster at a time, then neighbours of neighbours across clusters, and more clusters while the
    measured recall is below ``recall``. The table then depends on ``cluster_rows`` and ``overlap``
    as well. What is done lies in ``OUT.stages``; what falls short of ``recall`` warns.

    ``method="hnsw"`` with ``graph="hnswlib"`` searches a graph of that package, and scores what it
    finds as the own one does. hnswlib is deterministic with ``threads=1`` alone: with more threads
    two runs may differ. It knows no ``collapse``, parts, engine, checkpoint or codes.

    With ``verdicts`` pools are mined that are longer by as many pairs as verdicts take from one of
    them, and cut to ``k`` without what is excluded: exact methods stay exact. Pairs decided to be
    false negatives or near duplicates are excluded in either order, mismatched rows altogether.
    ``skip`` counts what is left; ``collapse`` looked at all. ``report["drops"]["verdicts"]`` counts
    what was taken out; other counts of ``drops``, and the recall, are of the longer pools.

    Raises:
        InvalidArgumentError: an option out of its bound, shapes that disagree, NaN or infinity
            (with its row). MismatchError: ``out`` holds a table of something else; verdicts on
            other data.
        UnsupportedError: no such device, or an option that it does not know. StorageError: ``out``
            cannot be written, or another job is writing it; parts that are done stay.

    Examples:
        Four pairs, whose images and texts happen to have the same embeddings:

        >>> import helip, numpy as np
        >>> rows = np.float32([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> pairs = helip.mine(image=rows, text=rows, k=2, progress=False)
        >>> pairs.ids.tolist()  # of each row, the hardest first
        [[1, 3], [3, 0], [3, 1], [1, 2]]
        >>> print(pairs.scores[0].round(2))  # 0.8 * 0.8 and 0.6 * 0.6
        [0.64 0.36]
    """
    if (url := url_of(call.out)) is not None:
        return written_to(
            url, lambda path: mine(**{**call.as_dict(), "out": path}),
            HardPairs.open if call.part is None else HardPairsPart.open,
            answers=True, resumes=True, progress=call.progress,
        )  # fmt: skip
    inputs = inputs_of(call.store, call.image, call.text, call.modalities)
    source, path = inputs.store, call.path
    if call.verdicts is not None:
        return _mined_under_verdicts(inputs, call)
    if call.graph == "hnswlib":
        from helip.mining.hnswlib_graph import mine_with_hnswlib, refuse_with_hnswlib

        refuse_with_hnswlib(MineOptions.of(call), JobOptions.of(call), call.part, path)
    if source is not None:
        require_one_space(source, call.margin)
    options = core_options(call, call)
    if call.engine == "ray" and call.on_progress is not None:
        raise InvalidArgumentError(
            "on_progress is given and engine is 'ray', whose parts are mined in other processes; "
            "drop on_progress, or use engine='threads'"
        )
    _log.info("mine: %s targets, k %s, method %s", f"{inputs.rows:,}", call.k, call.method)
    if call.part is not None:
        for name, value in (("parts", call.parts), ("engine", call.engine)):
            if value not in (None, "threads"):
                raise InvalidArgumentError(
                    f"part is {call.part}, one part of a job, and {name} is {value!r}, for a whole "
                    f"one; drop {name}="
                )
        return mine_part(
            source, call.part, options,
            device=call.device, out=path, resume=call.resume, progress=call.progress,
            on_progress=call.on_progress,
        )  # fmt: skip
    if path and os.path.exists(os.path.join(path, "manifest.json")):
        table = _existing(path, source, call, resume=call.resume)
        _log.info("mine: %s is the answer already", path)
        remove_parts(path)
        remove_checkpoint(path)
        if not call.keep_stages:
            remove_stages(path)
        return table
    if call.modality == "both":
        warn_of_unrelated(inputs, stacklevel=4)
    begun = bool(path) and has_checkpoint(path)
    staged = goes_in_stages(call, rows=inputs.rows, out=path)
    for there, left in ((begun, checkpoint_folder), (staged, stages_folder)):
        if there and not call.resume and left(path).exists():
            raise InvalidArgumentError(
                f"{left(path)} is what an interrupted job has found; remove it, or go on with "
                "resume=True"
            )
    if staged and (begun or begun_parts(path)):
        folder = checkpoint_folder if begun else parts_folder
        raise MismatchError(
            f"{folder(path)} holds a job that was begun without stages; go on without "
            "cluster_rows= and engine=, or remove that folder"
        )
    if staged:
        pairs = mine_in_stages(
            source, MineOptions.of(call), StageOptions.of(call), JobOptions.of(call),
            out=path, progress=call.progress, on_progress=call.on_progress,
        )  # fmt: skip
        _warn_of_recall(pairs.report, call.recall)
        return pairs
    if call.graph == "hnswlib":
        pairs = mine_with_hnswlib(
            inputs, MineOptions.of(call), JobOptions.of(call),
            out=path, progress=call.progress, on_progress=call.on_progress,
        )  # fmt: skip
        _warn_of_recall(pairs.report, call.recall)
        return pairs
    # Rows that fit one cluster are nothing to spread.
    on_ray = call.engine == "ray" and call.method != "partition"
    parts = _on_ray(source, call) if on_ray else call.parts
    device = call.device
    of_cpus = begun or parts is not None or call.codes is not None
    if device == "auto" and (of_cpus or (path and begun_parts(path))):
        device = "cpu"
    device = choose_device(device, call, deleted=0 if source is None else len(source.deleted))
    if device == "cpu":
        parts = number_of_parts(
            parts, out=path, method=call.method, rows=0 if source is None else inputs.rows,
            estimate=lambda: _core.plan(*inputs.matrices, options),
        )  # fmt: skip
    if parts not in (None, 1):
        if device != "cpu":
            raise UnsupportedError(f"parts is {parts}, which only the CPU knows; use device='cpu'")
        options = core_options(call, call, parts=parts)
    if device != "cpu" and call.codes is not None:
        raise UnsupportedError(
            f"codes is {os.fspath(call.codes)!r}, which only the CPU knows; use device='cpu', or "
            "drop codes="
        )
    if device != "cpu" and call.method in ("auto", "exact") and inputs.rows <= _DEVICE_EXACT_ROWS:
        from helip.mining.gpu.table import mine_on_torch_device

        return mine_on_torch_device(
            inputs, call, device=device, out=path, progress=call.progress,
            on_progress=call.on_progress,
        )  # fmt: skip
    pairs = _mined(inputs, options, path, call)
    _warn_of_recall(pairs.report, call.recall)
    return pairs


def _mined_under_verdicts(inputs: Inputs, call: MineCall) -> HardPairs:
    refuse_part(call.part)
    source, path = inputs.store, call.path
    known = "" if source is None else source.data_fingerprint or source.keys_fingerprint
    exclusions = exclusions_of(call.verdicts, inputs.rows, known)
    if path and os.path.exists(os.path.join(path, "manifest.json")):
        table = _existing(path, source, call, resume=call.resume)
        refuse_other_verdicts(table, exclusions)
        remove_longer(path)
        return table
    plain = {**call.as_dict(), "store": source, "verdicts": None, "skip": 0}
    return mine_without(
        exclusions, lambda k, out: mine(**{**plain, "k": k, "out": out or None}),
        k=call.k, skip=call.skip, out=path,
    )  # fmt: skip


def _mined(inputs: Inputs, options: _core.MineOptions, path: str, call: MineCall) -> HardPairs:
    with ProgressBar(None, label="mine", unit="units", enabled=call.progress) as bar:
        follow = Follower(bar, call.on_progress)
        if inputs.store is not None:
            return HardPairs(_core.mine_store(inputs.store._core, options, follow, path))
        return HardPairs(_core.mine(*inputs.matrices, options, follow, path))


def _warn_of_recall(report: dict[str, Any], wanted: float) -> None:
    if words := shortfall_words(report, wanted):
        warnings.warn(words, stacklevel=4)


def _on_ray(source: EmbeddingStore | None, call: MineCall) -> int:
    """Has the parts mined by Ray; returns their number."""
    from helip.mining.engines.ray import mine_on_ray

    if source is None or not call.path:
        raise InvalidArgumentError(
            "engine is 'ray', which reads a store and writes to out; give both, by paths that all "
            "nodes share"
        )
    if call.device not in ("auto", "cpu"):
        raise UnsupportedError(
            f"device is {call.device!r}; engine 'ray' mines on CPUs, device='cpu'"
        )
    return mine_on_ray(
        source, MineOptions.of(call), JobOptions.of(call), out=call.path, progress=call.progress
    )


def _auto_methods(rows: int) -> tuple[str, ...]:
    """What ``auto`` may choose for so many rows."""
    return ("exact",) if rows <= EXACT_ROWS else ("exact", "partition")


def _existing(
    path: str, source: EmbeddingStore | None, call: MineCall, *, resume: bool
) -> HardPairs:
    """The table at ``path`` when it answers this very call."""
    if not resume or source is None:
        raise InvalidArgumentError(
            f"{path} already holds a table; remove it or choose another path"
            + ("" if source is not None else " (bare arrays have no fingerprint to compare)")
        )
    pairs = HardPairs.open(path)
    if pairs.fingerprint != source.fingerprint:
        earlier = is_earlier(pairs, source)
        mend = "bring it up to date with helip.update, or " if earlier else ""
        raise MismatchError(
            f"{path} was mined from the store {short(pairs.fingerprint)}, "
            f"{'which is this one as it was' if earlier else 'another than this one'}; {mend}"
            "choose another path"
        )
    found = {**HnswOptions().as_dict(), **pairs.options}  # which tables of the own graph leave out
    asked = {**MineOptions.of(call).as_dict(), **HnswOptions.of(call).as_dict()}
    # Else a table of stages is as good as one without: each says its recall.
    if call.cluster_rows is not None and goes_in_stages(call, rows=len(source), out=""):
        asked.update(cluster_rows=call.cluster_rows, overlap=call.overlap)
    if "verdicts" in found and call.verdicts is None:
        raise MismatchError(f"{path} was mined under verdicts; choose another path")
    if "filter" in found:
        raise MismatchError(f"{path} holds a table that was filtered; choose another path")
    ignored = {name for name, methods in _OPTIONS_OF.items() if found.get("method") not in methods}
    if asked["method"] == "auto" and found.get("method") in _auto_methods(len(source)):
        ignored.add("method")
    if asked["candidates"] is None:  # the default, which depends on the rows alone
        asked["candidates"] = min(len(source), _DEFAULT_CANDIDATES)
    changed = [
        f"{name} {found.get(name)!r}, now {value!r}"
        for name, value in asked.items()
        if name not in ignored and found.get(name) != value
    ]
    if changed:
        raise MismatchError(
            f"{path} was mined with other options ({'; '.join(changed)}); choose another path"
        )
    return pairs
