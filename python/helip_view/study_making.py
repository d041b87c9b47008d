"""Makes a study: draws its targets, their pools of each kind, and who stands on which side."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from helip import InvalidArgumentError, SampleError
from helip.common.files import named_file
from helip.common.options import ProgressOptions, keywords, require
from helip.common.progress import ProgressBar
from helip.common.sqlite_log import create, is_absent
from helip.data import captions_of
from helip.pairs import HardPairs, open_together
from helip.reporting import Similarities, pool_of
from helip.store import EmbeddingStore
from helip_view.options import Kind, StudyOptions, Type
from helip_view.study import FORMAT, Study, table_digest
from helip_view.study_questions import Question, digest_of, to_json

_SIDES: tuple[Kind, ...] = ("image", "text")  # of the store, which must be read for them
_BATCH = 256  # targets whose pools are made in one pass over the store
_TRIED = 100  # random rows of a pool that may be unreadable, for each that is wanted


@dataclass(frozen=True, kw_only=True)
class MakeStudyCall(StudyOptions, ProgressOptions):
    """What `make_study` is asked."""

    pairs: HardPairs | str | os.PathLike[str] = field(kw_only=False)
    """A table of hard pairs, or its path."""
    data: Any = None
    """Its Dataset, or what open_dataset takes; must be given."""
    store: EmbeddingStore | str | os.PathLike[str] | None = None
    """The store that was mined, or its path: must be given where kinds have image or text."""
    out: str | os.PathLike[str] | None = None
    """The file of the study; must be given."""


@keywords(MakeStudyCall)
def make_study(call: MakeStudyCall) -> Study:
    """Draw the questions of a study and write them to a new file, which is returned open.

    Targets are drawn at random of those that have ``shown`` hard pairs in the table. One whose
    pool of another kind is shorter, or that cannot be shown since a picture or caption cannot be
    read, is passed over and counted. Pools by image and by text alone follow the rules of mining:
    no near duplicate of that side, similarity above 0. Random rows are any but the target. The same
    arguments give the same bytes.

    Raises:
        InvalidArgumentError: too few targets for ``cards``; something is at ``out``; no data, or no
            store and a kind that needs one. MismatchError: table, data and store do not belong
            together. StorageError: the disk refuses.
    """
    require(call.out is not None, "out", call.out, "the file to write")
    require(call.data is not None, "data", call.data, "the data set that was mined")
    if call.store is None and (by := [kind for kind in call.kinds if kind in _SIDES]):
        raise InvalidArgumentError(
            f"store is None, and pools by {' and '.join(by)} alone need the store that was mined; "
            "give it, or other kinds"
        )
    path = Path(named_file(str(os.fspath(call.out))))  # type: ignore[arg-type]
    require(is_absent(path, FORMAT), "out", str(path), "a new file, and something is there")
    pairs, data, store = open_together(call.pairs, call.data, call.store)
    draw = _Draw(call, pairs, data, store)
    questions = draw.questions()
    about = {
        "data_fingerprint": str(getattr(data, "fingerprint", "")),
        "drawn": json.dumps({"targets": draw.known, "left_out": dict(sorted(draw.left.items()))}),
        "fingerprint": digest_of(questions),
        "options": json.dumps(StudyOptions.of(call).plain()),
        "rows": str(len(data)),
        "store": "" if store is None else store.fingerprint,
        "table": table_digest(pairs),
    }
    rows = ((each.number, each.type, each.target, to_json(each)) for each in questions)
    new = create(path, FORMAT, about, insert="INSERT INTO questions VALUES (?, ?, ?, ?)", rows=rows)
    require(new, "out", str(path), "a new file, and something is there")
    return Study.open(path, pairs=pairs, data=data)


class _Draw:
    """Draws the questions of one study."""

    def __init__(self, call: MakeStudyCall, pairs: Any, data: Any, store: Any) -> None:
        self._call, self._pairs, self._data = call, pairs, data
        self._similarities = None if store is None else Similarities(store, pairs.options)
        self._random = np.random.default_rng(call.seed)
        self._readable: dict[int, bool] = {}
        self.left: Counter[str] = Counter()
        """Targets that were passed over, by reason."""
        self.known = 0
        """Targets whose own pool is long enough."""

    def questions(self) -> list[Question]:
        """All questions, their numbers in an order that is drawn."""
        layout = self._call.layout()
        targets, found = self._targets(), []
        with ProgressBar(
            len(layout), label="study", unit="questions", enabled=self._call.progress
        ) as bar:
            for number, place in enumerate(self._random.permutation(len(layout)).tolist(), 1):
                kind, kinds = layout[place]
                found.append(self._question(number, kind, kinds, targets))
                bar.update()
        return found

    def _question(
        self, number: int, kind: Type, kinds: tuple[Kind, ...], targets: Iterator[Any]
    ) -> Question:
        """About the next target that can be shown."""
        for target, pools in targets:
            made = [self._side(target, pools, each) for each in kinds]
            sides = [side for side in made if side is not None]
            if len(sides) < len(kinds):
                self.left["random rows that cannot be read"] += 1
                continue
            shown = [self._random.permutation(side).tolist() for side in sides]
            if kind == "caption":
                shown = [side[:1] for side in shown]
            if all(map(self._can_be_read, [target, *(row for side in shown for row in side)])):
                return Question(number, kind, target, tuple(map(tuple, shown)), kinds)
            self.left["a picture or caption that cannot be read"] += 1
        raise InvalidArgumentError(self._too_few())

    def _too_few(self) -> str:
        left = ", ".join(f"{count:,} for {reason}" for reason, count in sorted(self.left.items()))
        return (
            f"cards is {self._call.cards}, and of {len(self._pairs):,} targets {self.known:,} have "
            f"the {self._call.shown} hard pairs that shown asks for"
            + (f"; passed over of these are {left}" if left else "")
            + "; ask for fewer cards, or for fewer hard pairs of each pool"
        )

    def _targets(self) -> Iterator[tuple[int, dict[str, list[int]]]]:
        """Each target once, in an order that is drawn, with its pools of all kinds but random."""
        shown = self._call.shown
        own = np.flatnonzero(np.asarray(self._pairs.counts) >= shown)
        self.known = len(own)
        order = self._random.permutation(own)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH].tolist()
            pools: dict[str, Any] = {"product": {t: pool_of(self._pairs, t, shown) for t in batch}}
            for kind in self._call.kinds:
                if kind in _SIDES and self._similarities is not None:
                    pools[kind] = self._similarities.pools(batch, kind, shown)
            for target in batch:
                rows = {kind: pool[target][0] for kind, pool in pools.items()}
                if all(len(pool) == shown for pool in rows.values()):
                    yield target, rows
                else:
                    self.left["a short pool by image or text alone"] += 1

    def _side(self, target: int, pools: dict[str, list[int]], kind: Kind) -> list[int] | None:
        return pools[kind] if kind != "random" else self._random_rows(target)

    def _random_rows(self, target: int) -> list[int] | None:
        """Rows that can be read, without the target; None where too few are found."""
        found: list[int] = []
        for row in self._random.integers(len(self._pairs), size=_TRIED * self._call.shown).tolist():
            if row != target and row not in found and self._can_be_read(row):
                found.append(row)
            if len(found) == self._call.shown:
                return found
        return None

    def _can_be_read(self, row: int) -> bool:
        if row not in self._readable:
            try:
                self._data.image(row)
                self._readable[row] = bool(captions_of(self._data, row))
            except SampleError:
                self._readable[row] = False
        return self._readable[row]
