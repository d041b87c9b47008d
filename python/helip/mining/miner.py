"""Hard pair mining: from two embedding matrices to a table of hard pairs.

For a target i, another pair j scores ``s_image(i, j) * s_text(i, j)``, the product of two cosine
similarities, each set to zero for near duplicates (above ``image_max``, ``text_max``) and below
zero; the k pairs of largest score are i's hard pairs (HPM, arXiv 2305.05208).
"""

from __future__ import annotations

import json
import os
import re
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from helip import _core
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.progress import Follower, ProgressBar
from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint, remove_checkpoint
from helip.mining.engines.parts import begun_parts, mine_part, number_of_parts, remove_parts
from helip.mining.gpu.table import mine_on_torch_device
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore
from helip.store.matrices import MatrixView, view_of

__all__ = ["Plan", "mine", "plan"]

METHODS = ("auto", "exact", "sample", "hnsw", "partition")
MODALITIES = ("both", "image", "text")
ENGINES = ("threads", "ray")

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


@dataclass(frozen=True)
class Plan:
    """What a mining job would cost on this machine, from a short measurement of its speed."""

    method: str  # "exact", "sample", "hnsw" or "partition", never "auto"
    reason: str  # why this method
    # What exact and sampled mining hold pairs against before they score them: "weight" of image to
    # text, "dimensions" [among high thresholds, of others, of the next filter], "high_share" of the
    # former, and "passed", shares of a sample's pairs (empty where it is too small for one).
    filters: dict[str, Any]
    device: str
    seconds: float
    memory_bytes: int  # buffers beyond the input
    disk_bytes: int  # the saved table
    scratch_bytes: int  # on disk while it runs, where ``memory`` is too small
    pairs: int  # ordered pairs that it decides on
    bands: int  # blocks of targets kept in memory one after another

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-able."""
        return asdict(self)


def mine(
    store: EmbeddingStore | str | os.PathLike[str] | None = None,
    *,
    image: Any = None,
    text: Any = None,
    k: int = 100,
    method: str = "auto",
    modality: str = "both",
    image_max: float = 0.98,
    text_max: float = 0.98,
    min_score: float = 0.0,
    signed: bool = False,
    margin: float | None = None,
    skip: int = 0,
    collapse: str = "none",
    candidates: int | None = None,
    refresh: int = 300_000,
    seed: int = 0,
    recall: float = 0.95,
    device: str = "auto",
    threads: int | None = None,
    memory: int | str | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = True,
    checkpoint: float = 60.0,
    parts: int | None = None,
    part: tuple[int, int] | None = None,
    engine: str = "threads",
    progress: bool = True,
) -> HardPairs:
    """Mines the hard pairs of every target.

    The result depends on the input and on the options up to ``recall`` alone: device, threads,
    memory, checkpoint, parts and engine change the time, not a byte of the table.

    Args:
        store: an EmbeddingStore or its path; or give ``image`` and ``text`` instead.
        image: [N, d_image] NumPy array (memory-mapped too) or torch tensor of any float dtype, not
            copied as a whole; need not be normalised. Rows of zeros are outliers.
        text: [N, d_text], likewise.
        k: pool size, at least 1; targets with fewer pairs of positive score are short.
        method: ``exact`` scores all pairs; ``sample`` only ``candidates`` random ones (the paper's
            FastHPM, expected recall candidates / N); ``hnsw`` searches a graph over the product
            kernel and ``partition`` compares clusters with those close to them, until the lower
            95 % limit of the measured recall reaches ``recall``; ``auto`` chooses, see
            :func:`plan`. A graph that falls short warns.
        modality: ``both``, or ``image`` / ``text`` for the single-modality baselines.
        image_max, text_max: cosine above which a pair is a near duplicate of the target.
        min_score: a score must exceed it.
        margin: drops a candidate whose caption fits the target's image, or whose image fits the
            target's caption, as well as the target's own do but for this: a false negative.
            ``max(cos(u_i, v_j), cos(u_j, v_i)) > cos(u_i, v_i) - margin``. For image and text
            embeddings of one space, such as CLIP's own.
        skip: the best pairs of each target that are passed over before its pool begins.
        collapse: ``image``, ``text`` or ``both``: of candidates that are near duplicates of each
            other in that sense, directly or by way of others, only the best enters a pool.
        signed: do not clamp similarities at zero, so that two negative ones multiply to a positive
            score; reproduces the reference implementation, and ranks unlike pairs as hard.
        candidates, refresh: ``sample``: candidates of a draw (default min(N, 3,000,000)), and the
            number of targets that one draw serves.
        seed: of ``sample``, ``hnsw`` and ``partition``.
        recall: recall@k that ``hnsw`` and ``partition`` must reach, measured on exactly solved
            targets.
        device: ``cpu``, one GPU (``cuda``, ``cuda:1``), several (``cuda:0,cuda:1``), all of them
            (``cuda:all``), or ``auto``: a GPU where there is one. GPUs mine exactly, without
            ``margin``, ``collapse`` and deleted rows; with another method or these, ``auto`` is
            the CPU.
        threads: 0 or None for all cores.
        memory: bound of the buffers in bytes or as ``"4GB"``; None for a quarter of the machine's.
        out: a directory that the table is streamed to; else it is kept in memory.
        resume: with ``out``: return the table that is there if it has the same input and options,
            and go on with what an interrupted ``hnsw`` or ``partition`` has left; False refuses.
        checkpoint: ``hnsw`` and ``partition``, of a store and with ``out``: seconds of work after
            which what was found so far is saved in ``<out>.checkpoint``, for the same call after an
            interruption; it is removed when the table is there. 0 saves after each step,
            ``math.inf`` never.
        parts: commits the job in so many parts, ranges of targets, in ``<out>.parts``; the same
            call takes them up after an interruption, and removes them when the table is there. For
            a store, ``exact`` (``auto`` is that then) and ``sample``, on the CPU. None: as begun;
            else 1, or for a job of more than an hour one for half an hour each. Pairs of two
            parts are looked at twice, so that exact mining takes up to twice as long.
        part: (i, n), i from 1 to n: mines the i-th of n parts alone, anywhere, to the directory
            ``out``, and returns a HardPairsPart; :func:`helip.merge` makes the table of all n.
        engine: ``threads`` of this process, or ``ray``: parts as tasks of a Ray cluster, of which
            ``threads`` and ``memory`` are the bounds.
        progress: a bar on a terminal.

    Raises:
        InvalidArgumentError: an option out of its bound, shapes that disagree, NaN or infinity
            (with its row). MismatchError: ``out`` holds a table of something else.
        UnsupportedError: no such device, or an option that it does not know. StorageError: ``out``
            cannot be written, or another job is writing it; parts that are done stay.
    """
    source, views, arrays = _inputs(store, image, text, modality)
    rows = views[0].rows or views[1].rows
    path = "" if out is None else os.fspath(out)
    asked = {
        "k": k, "method": method, "modality": modality, "image_max": image_max,
        "text_max": text_max, "min_score": min_score, "signed": signed, "margin": margin,
        "skip": skip, "collapse": collapse, "seed": seed,
        "candidates": candidates, "refresh": refresh, "recall": recall,
    }  # fmt: skip
    used: dict[str, Any] = {name: value for name, value in asked.items() if name != "signed"}
    used["checkpoint"] = checkpoint
    options = _options(signed_products=signed, threads=threads, memory=memory, **used)
    if part is not None:
        if parts is not None or engine != "threads":
            raise InvalidArgumentError("part is one part of a job; give no parts= or engine= to it")
        return mine_part(
            source, part, options, device=device, out=path, resume=resume, progress=progress
        )
    if out is not None and os.path.exists(os.path.join(out, "manifest.json")):
        table = _existing(path, source, asked, resume=resume)
        remove_parts(path)
        remove_checkpoint(path)
        return table
    begun = bool(path) and has_checkpoint(path)
    if begun and not resume:
        raise InvalidArgumentError(
            f"{checkpoint_folder(path)} is what an interrupted job has found; remove it, or go on "
            "with resume=True"
        )
    if engine not in ENGINES:
        raise InvalidArgumentError(f"engine is {engine!r}; use 'threads' or 'ray'")
    if engine == "ray":
        parts = _on_ray(
            source, asked, options, out=path, parts=parts, threads=threads, memory=memory,
            device=device, progress=progress,
        )  # fmt: skip
    if device == "auto" and (begun or parts is not None or (path and begun_parts(path))):
        device = "cpu"
    deleted = 0 if source is None else len(source.deleted)
    device = _device(device, method, margin=margin, collapse=collapse, deleted=deleted)
    if device == "cpu":
        parts = number_of_parts(
            parts, out=path, method=method, rows=0 if source is None else rows,
            estimate=lambda: _core.plan(*views, options),
        )  # fmt: skip
    if parts not in (None, 1):
        if device != "cpu":
            raise UnsupportedError(f"parts is {parts}, which only the CPU knows; use device='cpu'")
        options = _options(
            signed_products=signed, threads=threads, memory=memory, parts=parts, **used
        )
    if device != "cpu" and method in ("auto", "exact") and rows <= _DEVICE_EXACT_ROWS:
        rules = {
            "k": k, "modality": modality, "image_max": image_max, "text_max": text_max,
            "min_score": min_score, "signed": signed, "skip": skip,
        }  # fmt: skip
        return mine_on_torch_device(
            source, arrays, views, rules, device=device, out=path, progress=progress
        )
    with ProgressBar(None, label="mine", unit="units", enabled=progress) as bar:
        follow = Follower(bar)
        if source is not None:
            core = _core.mine_store(source._core, options, follow, path)
        else:
            core = _core.mine(views[0], views[1], options, follow, path)
    pairs = HardPairs(core)
    _warn_of_recall(pairs.report, recall)
    return pairs


def _warn_of_recall(report: dict[str, Any], wanted: float) -> None:
    if report.get("hnsw", {}).get("reached", True):
        return
    found = report["recall"]
    warnings.warn(
        f"the graph found recall {found['value']:.4f} with the lower limit {found['low']:.4f}, "
        f"below recall = {wanted}, at its greatest breadth {report['hnsw']['breadth']}; ask for "
        "less, or use method 'partition' or 'exact'",
        stacklevel=3,
    )


def plan(
    store: EmbeddingStore | str | os.PathLike[str] | None = None,
    *,
    image: Any = None,
    text: Any = None,
    k: int = 100,
    method: str = "auto",
    modality: str = "both",
    candidates: int | None = None,
    refresh: int = 300_000,
    recall: float = 0.95,
    device: str = "auto",
    threads: int | None = None,
    memory: int | str | None = None,
) -> Plan:
    """What :func:`mine` would do with these options, and what it would cost, without doing it.

    The time is extrapolated from a tenth of a second of the real work on this machine.
    """
    _, views, _ = _inputs(store, image, text, modality)
    options = _options(
        k=k, method=method, modality=modality, candidates=candidates, refresh=refresh,
        recall=recall, threads=threads, memory=memory,
    )  # fmt: skip
    chosen = _device(device, method)
    estimate = _core.plan(views[0], views[1], options)
    if chosen != "cpu" and estimate["method"] == "exact":
        estimate["reason"] += f"; on {chosen}, where the time was not measured beforehand"
    estimate["filters"] = json.loads(estimate["filters"])
    return Plan(device=chosen, **estimate)


def _inputs(
    store: Any, image: Any, text: Any, modality: str
) -> tuple[EmbeddingStore | None, tuple[MatrixView, MatrixView], tuple[Any, Any]]:
    """The store if there is one, views for the core, arrays or tensors for a device."""
    if modality not in MODALITIES:
        raise InvalidArgumentError(
            f"modality is {modality!r}; use one of {', '.join(map(repr, MODALITIES))}"
        )
    if store is not None:
        if image is not None or text is not None:
            raise InvalidArgumentError("pass a store, or image= and text=, not both")
        if not isinstance(store, EmbeddingStore):
            store = EmbeddingStore.open(store)
        return store, store.views, (store.image_tensor, store.text_tensor)
    needed = {"both": ("image", "text"), "image": ("image",), "text": ("text",)}[modality]
    given = {"image": image, "text": text}
    for name in needed:
        if given[name] is None:
            raise InvalidArgumentError(
                f"{name} is missing; pass a store, or {' and '.join(n + '=' for n in needed)}"
            )
    empty = _core.MatrixView(0, 0, 0, "float32", 0, None)
    image = _on_cpu(image) if "image" in needed else None
    text = _on_cpu(text) if "text" in needed else None
    views = (
        empty if image is None else view_of(image, name="image"),
        empty if text is None else view_of(text, name="text"),
    )
    if modality == "both" and views[0].rows != views[1].rows:
        raise InvalidArgumentError(
            f"image has {views[0].rows} rows and text {views[1].rows}; row i of both must belong "
            "to the same pair"
        )
    return None, views, (image, text)


def _on_cpu(array: Any) -> Any:
    # The exact rerank runs on the host, so a CUDA input is brought there once.
    return array.cpu() if getattr(array, "is_cuda", False) else array


def _options(
    *,
    method: str,
    candidates: int | None,
    threads: int | None,
    memory: int | str | None,
    **others: Any,
) -> _core.MineOptions:
    if method not in METHODS:
        raise InvalidArgumentError(
            f"method is {method!r}; use one of {', '.join(map(repr, METHODS))}"
        )
    for name in ("k", "skip", "refresh", "seed"):
        value = others.get(name, 0)
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise InvalidArgumentError(f"{name} is {value!r}; it must be a whole number")
        if name == "seed" and not 0 <= value < 2**64:
            raise InvalidArgumentError(f"seed is {value}; it must lie in 0 .. 2^64 - 1")
    if candidates is not None and candidates < 1:
        raise InvalidArgumentError(f"candidates is {candidates}; it must be at least 1")
    if not isinstance(others.get("checkpoint", 0.0), (int, float)):
        raise InvalidArgumentError(
            f"checkpoint is {others['checkpoint']!r}; it must be seconds, math.inf for none"
        )
    if threads is not None and threads < 0:
        raise InvalidArgumentError(f"threads is {threads}; use 0 for all cores, or a number")
    return _core.MineOptions(
        method=method, candidates=candidates or 0, threads=threads or 0,
        memory=parse_bytes(memory), **others,
    )  # fmt: skip


def _on_ray(
    source: EmbeddingStore | None, asked: dict[str, Any], options: _core.MineOptions, *,
    parts: int | None, device: str, **others: Any,
) -> int:  # fmt: skip
    """Has the parts mined by Ray; returns their number."""
    from helip.mining.engines.ray import mine_on_ray

    if source is None or not others["out"]:
        raise InvalidArgumentError(
            "engine is 'ray', which reads a store and writes to out; give both, by paths that all "
            "nodes share"
        )
    if device not in ("auto", "cpu"):
        raise UnsupportedError(f"device is {device!r}; engine 'ray' mines on CPUs, device='cpu'")
    return mine_on_ray(source, asked, options, parts=parts, **others)


def parse_bytes(size: int | str | None, *, name: str = "memory") -> int:
    """Bytes from a number or a text such as ``"4GB"`` or ``"512 MiB"``; None gives 0."""
    if size is None:
        return 0
    if isinstance(size, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([KMGT]?)(i?)B?\s*", size, re.IGNORECASE)
        if not match:
            raise InvalidArgumentError(f'{name} is {size!r}; write bytes, or "4GB", "512MiB"')
        base = 1024 if match[3] else 1000
        size = int(float(match[1]) * base ** " KMGT".index(match[2].upper() or " "))
    if size < 1:
        raise InvalidArgumentError(f"{name} is {size}; it must be at least 1 byte")
    return size


def _device(
    device: str,
    method: str,
    *,
    margin: float | None = None,
    collapse: str = "none",
    deleted: int = 0,
) -> str:
    if device == "cpu":
        return device
    import torch

    of_the_host = ""
    if method not in ("auto", "exact"):
        of_the_host = f"method is {method!r}"
    elif margin is not None:
        of_the_host = f"margin is {margin}"
    elif collapse != "none":
        of_the_host = f"collapse is {collapse!r}"
    elif deleted:
        of_the_host = f"the store has {deleted:,} deleted rows"
    if device == "auto":
        return "cuda" if not of_the_host and torch.cuda.is_available() else "cpu"
    if device.split(":")[0] != "cuda":
        raise InvalidArgumentError(
            f'device is {device!r}; use "cpu", "cuda", "cuda:0,cuda:1", "cuda:all" or "auto"'
        )
    if of_the_host:
        raise UnsupportedError(f'{of_the_host}, which only the CPU knows; use device="cpu"')
    if not torch.cuda.is_available():
        raise UnsupportedError(
            f'device is {device!r}, but torch finds no CUDA device; use device="cpu", or a CUDA '
            "build of torch"
        )
    return device


def _existing(
    path: str, source: EmbeddingStore | None, asked: dict[str, Any], *, resume: bool
) -> HardPairs:
    """The table at ``path`` when it answers this very call."""
    if not resume or source is None:
        raise InvalidArgumentError(
            f"{path} already holds a table; remove it or choose another path"
            + ("" if source is not None else " (bare arrays have no fingerprint to compare)")
        )
    pairs = HardPairs.open(path)
    if pairs.fingerprint != source.fingerprint:
        raise MismatchError(
            f"{path} was mined from the store {pairs.fingerprint}, this one is "
            f"{source.fingerprint}; choose another path"
        )
    found = pairs.options
    ignored = {name for name, methods in _OPTIONS_OF.items() if found.get("method") not in methods}
    if asked["method"] == "auto":
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
