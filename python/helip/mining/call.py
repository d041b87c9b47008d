"""A call of `mine`, and what an engine is: who may take the call, and mines it."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from helip.common.errors import Error, InvalidArgumentError
from helip.common.files import output_path
from helip.common.options import ProgressOptions, Share
from helip.common.progress import OnProgress, tell_of_disk
from helip.mining.inputs import InputOptions, Inputs, inputs_of_call, require_one_space
from helip.mining.options import JobOptions, MineOptions, StageOptions
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore
from helip.verdicts.verdicts import Source

# Bytes of the codes of a row, and more by dimension.
_CODES, _CODES_BY_DIMENSION = 132, 2.4


@dataclass(frozen=True, kw_only=True)
class MineCall(MineOptions, StageOptions, JobOptions, InputOptions, ProgressOptions):
    """What `mine` is asked."""

    queries: Any = None
    """Instead of a store: what hard negatives are sought for, in corpus. An EmbeddingStore or its
    path, a matrix [Q, d] as image takes them, or a tuple of two, of images and texts."""
    corpus: Any = None
    """Of queries: where they are sought, likewise, in the same space."""
    positives: Any = None
    """Of queries: the rows of corpus that belong to each, left out with their near duplicates.
    [Q] or [Q, p] row numbers (-1 for none), a list of rows for each, a mapping of keys, or a file
    with the columns query-id, corpus-id and score. Equal queries share theirs."""
    relative_margin: Share | None = None
    """Of queries: leave out what scores more than (1 - relative_margin) times their least positive
    score; 0.05 is usual."""

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

    def tell_of_disk(self, log: logging.Logger, rows: int, dimensions: int) -> None:
        """Says how much the job leaves on the disk: the table, of a part its share, and codes that
        are asked for."""
        if self.out is None:
            return
        size = rows * (self.k * (4 + (8 if rows >= 2**31 else 4)) + 4)
        size //= 1 if self.part is None else self.part[1]
        places = [self.out]
        if self.codes is not None:
            size += round(rows * (_CODES + _CODES_BY_DIMENSION * dimensions))
            places.append(self.codes)
        tell_of_disk(log, "mine", size, *places, shown=self.progress)


@dataclass(frozen=True)
class MineJob:
    """A call whose input was looked at."""

    call: MineCall
    inputs: Inputs
    rows: int
    path: str
    """Of the table on this machine; "" for memory."""

    @classmethod
    def of(cls, call: MineCall) -> MineJob:
        """InvalidArgumentError for no input, or one that does not fit the options."""
        inputs = inputs_of_call(call, stacklevel=6)
        if inputs.store is not None:
            require_one_space(inputs.store, call.margin)
        return cls(call, inputs, inputs.rows, output_path(call.out))

    @property
    def store(self) -> EmbeddingStore | None:
        """None of bare arrays."""
        return self.inputs.store

    def left_behind(self, folder: Path) -> Error | None:
        """Why the job cannot begin where an interrupted one has left ``folder``."""
        if self.call.resume or not folder.exists():
            return None
        return InvalidArgumentError(
            f"{folder} is what an interrupted job has found; remove it, or go on with resume=True"
        )

    def on_ray_unfollowed(self) -> Error | None:
        """Why Ray cannot take the call, whose progress nothing would tell."""
        if self.call.engine != "ray" or self.call.on_progress is None:
            return None
        return InvalidArgumentError(
            "on_progress is given and engine is 'ray', whose parts are mined in other processes; "
            "drop on_progress, or use engine='threads'"
        )


class Engine(Protocol):
    """One way to mine. `ENGINES` of mining/miner.py lists all; the first that is asked for mines.

    All give the same table, as far as the docstring of `mine` promises it.
    """

    def is_asked(self, job: MineJob) -> bool:
        """Whether the call means this engine, or goes on with what it has left."""
        ...

    def accepts(self, job: MineJob) -> Error | None:
        """Why it cannot take the call, with the value and what to do about it; None: it can."""
        ...

    def run(self, job: MineJob) -> HardPairs:
        """Mines it."""
        ...
