"""Whether hard pairs will help a model on its data, from a sample of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from helip.common.errors import InvalidArgumentError
from helip.common.options import keywords
from helip.data.dataset import Dataset
from helip.data.equal_pictures import equal_files
from helip.diagnosis.advice import expected_gain, suggestions, warnings
from helip.diagnosis.draws import (
    COMMUNITY,
    RANKS,
    Communities,
    Draws,
    Ints,
    RowGroups,
    draw,
    equal,
    planned_batches,
)
from helip.diagnosis.features import FeatureMeasures, ModelMeasures, compare
from helip.diagnosis.options import DiagnoseOptions
from helip.diagnosis.probe import ProbeGain, probe_gain
from helip.diagnosis.result import Diagnosis
from helip.diagnosis.table import measure_table, measure_windows, pool_sizes, sample_of
from helip.evaluation.encoding import Subject, encode
from helip.evaluation.options import EvaluateOptions
from helip.loading.strategy import community_rows_for
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.opening import open_together
from helip.store.embedding_store import EmbeddingStore

#: Random batches and batches of communities are of so many rows at most, of those encoded.
BATCH_PART = 8
TARGET_PART = 20
PLANNED = 2
#: Rows that a probe takes at most, and whose pictures are compared by their bytes.
PROBED = 100_000
FILES = 100_000


@dataclass(frozen=True, kw_only=True)
class DiagnoseCall(DiagnoseOptions):
    """What `diagnose` is asked."""

    pairs: HardPairs | str | os.PathLike[str] = field(kw_only=False)
    """A table of hard pairs, or its path."""
    data: Any = field(kw_only=False)
    """The data set that it was mined from, or what open_dataset takes."""
    model: Any = field(default=None, kw_only=False)
    """The model that shall be trained: a ModelBundle, a name or path for create_model, or an
    open_clip model together with transform and tokenizer. None: the data and the table alone."""
    store: EmbeddingStore | str | os.PathLike[str] | None = None
    """The store that was mined, which tells near duplicates of captions and of pictures, and whose
    features a probe trains on."""
    transform: Callable[[Any], torch.Tensor] | None = None
    """In place of the model's own."""
    tokenizer: Callable[[list[str]], torch.Tensor] | None = None
    """In place of the model's own."""
    progress: bool = True
    """A bar on a terminal."""


@keywords(DiagnoseCall)
def diagnose(call: DiagnoseCall) -> Diagnosis:
    """Tell before training whether hard pairs will help a model on its data.

    Measures the table, its duplicates and, with a model, what that tells apart in random batches
    and among hard pairs, all on random samples; says which options to train with, and what to
    beware of. With ``probe`` small heads try hard pairs out on rows held out, which no other
    measure sees: that alone tells what gain is to be expected. docs/when-it-helps.md defines each
    measure.

    The same arguments give the same result. The model's mode and device are restored. Raises
    MismatchError when table, data and store do not belong together, and InvalidArgumentError where
    the model gives NaN, and of a probe for what `helip.diagnosis.probe_gain` refuses.
    """
    if call.probe and call.store is None:
        raise InvalidArgumentError(
            "probe=True trains on the features of the store that was mined; give store=PATH"
        )
    pairs, data, store = open_together(call.pairs, call.data, call.store)
    if not isinstance(data, Dataset):
        raise InvalidArgumentError(
            f"data is a {type(data).__name__}, whose rows cannot be chosen; open it with "
            "open_dataset"
        )
    table = measure_table(
        pairs, batch_size=call.batch_size, window=call.window, targets=call.targets, seed=call.seed
    )
    groups = RowGroups(data)
    windows = measure_windows(
        pairs, data, sample_of(len(pairs), call.targets, call.seed), window=call.window,
        store=store, groups=groups, seed=call.seed,
    )  # fmt: skip
    members = np.minimum(pool_sizes(pairs), table.window)
    model = None if call.model is None else _measured(call, pairs, data, groups, members)
    features = None if model is None else model.features
    probe = _probed(call, pairs, store, groups) if call.probe else None
    gain = expected_gain(probe, features)
    return Diagnosis(
        batch_size=call.batch_size,
        seed=call.seed,
        table=table,
        windows=windows,
        unread_captions=dict(groups.unread),
        equal_pictures=equal_files(data, FILES, call.seed),
        model=model,
        probe=probe,
        gain=gain,
        suggestions=suggestions(table, windows, features, gain, call.batch_size),
        warnings=warnings(table, windows, model, call.batch_size),
    )


def _probed(
    call: DiagnoseCall, pairs: HardPairs, store: EmbeddingStore, groups: RowGroups
) -> ProbeGain:
    """Of the whole table, or of random rows of a large one, whose pools are thinner then."""
    rows = np.sort(sample_of(len(pairs), PROBED, call.seed))
    home = np.full(len(pairs), -1)
    home[rows] = np.arange(len(rows))
    ids = np.asarray(pairs.ids[rows])
    image, text = store.rows(rows)
    return probe_gain(
        image, text, np.where(ids < 0, -1, home[ids]), groups.of(rows),
        batch_size=call.batch_size, window=call.window,
        community_rows=community_rows_for(len(pairs), call.batch_size), seed=call.seed,
        progress=call.progress,
    )  # fmt: skip


def _measured(
    call: DiagnoseCall,
    pairs: HardPairs,
    data: Dataset,
    groups: RowGroups,
    members: Ints,
) -> ModelMeasures:
    subject = Subject.of(
        call.model,
        call.transform,
        call.tokenizer,
        EvaluateOptions(
            device=call.device,
            precision=call.precision,
            batch_size=call.encode_batch_size,
            reader=call.reader,
            workers=call.workers,
        ),
        progress=call.progress,
    )
    rows = len(data)
    budget = Budget.of(call.encoded_rows, call.batch_size, rows)
    plain = sample_of(rows, budget.plain, call.seed)
    targets = plain[: budget.targets]
    ranks = max(call.window, RANKS[-1][1])
    drawn = draw(
        np.asarray(pairs.ids[targets])[:, :ranks].astype(np.int64),
        targets,
        plain,
        lambda one, others: equal(
            groups.of(one), groups.of(others.ravel()).reshape(*others.shape, -1)
        ),
        batch_size=budget.batch_size,
        window=call.window,
        ranked=budget.ranked,
        planned=planned_batches(
            pairs, batch_size=budget.batch_size, window=call.window, count=PLANNED, seed=call.seed
        ),
        seed=call.seed,
    )
    image, text, read, numbered, unread = encode_rows(subject, data, drawn)
    features: FeatureMeasures = compare(
        image, text, groups.of(read), numbered, rows=rows, batch_size=call.batch_size,
        members=members, logit_scale=_logit_scale(subject.model),
    )  # fmt: skip
    return ModelMeasures(name=subject.name, encoded=len(image), unread=unread, features=features)


def _logit_scale(model: Any) -> float | None:
    """As the loss takes it; None of a model that has none."""
    scale = getattr(model, "logit_scale", None)
    return None if scale is None else float(torch.as_tensor(scale).detach().float().exp())


@dataclass(frozen=True)
class Budget:
    """How many rows are asked about, within a bound on those that are encoded."""

    batch_size: int
    targets: int  # with a community of the window
    ranked: int  # of these, with one of each other window
    plain: int  # random rows, the targets among them

    @classmethod
    def of(cls, encoded_rows: int, batch_size: int, rows: int) -> Budget:
        size = max(2, min(batch_size, rows, encoded_rows // BATCH_PART))
        targets = max(1, min(rows, encoded_rows // TARGET_PART))
        plain = min(rows, max(targets, size))
        left = encoded_rows - PLANNED * size - plain - targets * (COMMUNITY - 1)
        ranked = max(1, min(targets, left // ((COMMUNITY - 1) * len(RANKS))))
        return cls(size, targets, ranked, plain)


def encode_rows(
    subject: Subject, data: Any, drawn: Draws
) -> tuple[torch.Tensor, torch.Tensor, Ints, Draws, Mapping[str, int]]:
    """Encode the pictures and first captions of the rows of ``drawn``.

    Returns both features, float32 [M, d], of the rows [M] that can be read, ``drawn`` with numbers
    that count them, and how many others there are, by reason.
    """
    rows = drawn.rows()
    with subject.ready():
        found = encode(subject, data.subset(rows), np.arange(len(rows)), captions=True)
        place = found.place
        kept = [row for row in sorted(found.captions) if row in place]
        captions = [found.captions[row][0] for row in kept]
        distinct = list(dict.fromkeys(captions))
        number = {caption: at for at, caption in enumerate(distinct)}
        text = subject.texts(distinct, subject.progress)[[number[each] for each in captions]]
    image = found.features[[place[row] for row in kept]]
    home = np.full(len(rows), -1, dtype=np.int64)
    home[kept] = np.arange(len(kept))
    reasons: dict[str, int] = dict(found.skipped(data)["reasons"])
    return image, text, rows[kept], _renumbered(drawn, rows, home), reasons


def _renumbered(drawn: Draws, rows: Ints, home: Ints) -> Draws:
    """``drawn`` with the numbers ``home`` [M] of its ``rows`` [M], ascending."""

    def numbers(chosen: Ints) -> Ints:
        return home[np.searchsorted(rows, chosen)]

    def communities(each: Communities) -> Communities:
        return replace(each, rows=numbers(each.rows))

    return Draws(
        tuple(map(numbers, drawn.random)),
        communities(drawn.window),
        tuple(map(communities, drawn.ranks)),
        tuple(map(numbers, drawn.planned)),
    )
