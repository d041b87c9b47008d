"""Which options of training fit what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from helip.diagnosis.features import FeatureMeasures
from helip.diagnosis.gain import HELD, LEARNED, ExpectedGain
from helip.diagnosis.table import TableMeasures
from helip.diagnosis.windows import NEAR_COSINE, WindowMeasures
from helip.loading.strategy import community_rows_for

#: A window of ranks is drawn from where no more of it are equal captions and near duplicates.
MIXED = 0.2
#: Share of near-equal captions from which similar_captions is suggested.
SIMILAR = 0.05


@dataclass(frozen=True)
class Suggestion:
    """An option of `helip.train`, and why."""

    option: str
    value: Any
    why: str

    @property
    def flag(self) -> str:
        """The option as the shell takes it."""
        name = f"--{self.option.replace('_', '-')}"
        return name if self.value is True else f"{name} {self.value}"


def suggestions(
    table: TableMeasures,
    windows: Sequence[WindowMeasures],  # the first is the whole window
    features: FeatureMeasures | None,
    gain: ExpectedGain | None,
    batch_size: int,
) -> tuple[Suggestion, ...]:
    """Suggest how to train; without a model only what table and data tell."""
    return (
        *_batches(table, gain, batch_size),
        *_ranks(table, windows, features, gain),
        *_equal(windows),
    )


def _batches(
    table: TableMeasures, gain: ExpectedGain | None, batch_size: int
) -> Iterator[Suggestion]:
    members = next(each.members for each in table.by_chance if each.batch_size == batch_size)
    if gain is not None and gain.word == "harm likely":
        why = f"plain batches first, until {LEARNED:.0%} are found among random rows"
        yield Suggestion("control", True, why)
    elif members >= HELD:
        yield Suggestion(
            "control", True,
            f"random batches hold {members:.1f} hard pairs of each row; more rows a batch gained "
            "more on such data",
        )  # fmt: skip
    elif gain is not None and gain.word == "none":
        yield Suggestion("control", True, f"hard pairs have little to add: {gain.why}")
    elif gain is not None:
        rows = community_rows_for(table.rows, batch_size)
        why = f"the default, in communities of {rows}: whole batches of hard pairs gained most"
        yield Suggestion("strategy", "communities", why)


def _ranks(
    table: TableMeasures,
    windows: Sequence[WindowMeasures],
    features: FeatureMeasures | None,
    gain: ExpectedGain | None,
) -> Iterator[Suggestion]:
    if gain is not None and gain.word not in ("large", "some"):
        return
    known = {} if features is None else {each.first: each.within.value for each in features.ranks}
    for window in windows[1:]:
        mixed = window.equal_captions + window.near
        told = known.get(window.first)
        if mixed > MIXED:
            continue
        why = f"ranks {window.first} to {window.last}: {mixed:.0%} equal captions, near duplicates"
        why += "" if told is None else f"; {told:.0%} of targets told from seven"
        if window.first > 1:
            yield Suggestion("rank_min", window.first - 1, why)
        last = min(table.k, window.first - 1 + table.window)
        if last < table.k:
            yield Suggestion("rank_max", last, why if window.first == 1 else "as many ranks")
        return


def _equal(windows: Sequence[WindowMeasures]) -> Iterator[Suggestion]:
    equal = max(each.equal_captions for each in windows)
    if equal > 0:
        why = f"up to {equal:.1%} of a window's hard pairs have the caption of their target; "
        yield Suggestion("equal_captions", "mask", f"{why}the default")
    near = max((each.near_captions or 0.0) for each in windows)
    if near >= SIMILAR:
        why = f"up to {near:.0%} of a window's captions are nearly the target's; with --store"
        yield Suggestion("similar_captions", NEAR_COSINE, why)
