"""What a probe says of hard pairs, which options of training fit, and what to beware of.

Only a probe (`helip.diagnosis.probe`) sees rows that were not trained on, and so whether hard pairs
can be told apart on new data. Without one nothing is expected: the measures are facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from helip.diagnosis.features import FeatureMeasures, ModelMeasures
from helip.diagnosis.probe import ProbeGain
from helip.diagnosis.table import NEAR_COSINE, TableMeasures, WindowMeasures
from helip.loading.strategy import community_rows_for

Word = Literal["large", "some", "none", "harm likely"]

#: Accuracy in a random batch, as the model is or after a linear map, below which hard batches are
#: likely to do harm: towers of random weights fell behind.
LEARNED = 0.1
#: Share of the control's mean reciprocal rank from which a probe's gain is large, and some.
PROBED_LARGE = 0.1
PROBED_SOME = 0.02
#: Recall@1 of a probe below which its heads tell nothing apart; ten times guessing is as little.
PROBED_LEAST = 0.005
#: Hard pairs of a target in a random batch, from which hard batches add nothing.
HELD = 1.0
#: A window of ranks is drawn from where no more of it are equal captions and near duplicates.
MIXED = 0.2
#: Share of near-equal captions from which similar_captions is suggested.
SIMILAR = 0.05
EQUAL = 0.01  # share of hard pairs with the caption or the picture of their target
NEAR = 0.1  # share of near duplicates in a window
SHORT = 0.1  # share of targets without a hard pair, or with fewer than the table has room for
CROWDED = 5.0  # times the share of places that the top rows would hold by chance
LEFT_OUT = 0.2  # share of targets without a whole community


@dataclass(frozen=True)
class ExpectedGain:
    """What batches of hard pairs are expected to gain over plain ones."""

    word: Word
    why: str


def expected_gain(
    probe: ProbeGain | None, measures: FeatureMeasures | None = None
) -> ExpectedGain | None:
    """The word of the probe, unless the model knows too little to begin with: the probe's heads
    stand on pre-trained features. None without a probe."""
    if probe is None:
        return None
    if measures is not None and (words := _unlearned(measures)):
        return ExpectedGain("harm likely", words)
    return ExpectedGain(*_probed(probe))


def _unlearned(measures: FeatureMeasures) -> str:
    """What the model knows, where that is less than `LEARNED`; else nothing."""
    found = [each.value for each in (measures.between, measures.mapped) if each.value is not None]
    if measures.between.value is None or max(found) >= LEARNED:
        return ""
    words = f"the model finds {found[0]:.0%} among {measures.batch_size:,} random rows"
    words += f", {found[1]:.0%} after a linear map" if len(found) > 1 else ""
    return f"{words}, and should find {LEARNED:.0%} first, by plain batches"


def _probed(probe: ProbeGain) -> tuple[Word, str]:
    found, recall = probe.reciprocal_rank, probe.recall
    why = (
        "with hard pairs small heads on the store's features reach a mean reciprocal rank of "
        f"{found.hard_pairs:.1%} of held-out pairs among {found.candidates:,} rows, with plain "
        f"batches {found.control:.1%}"
    )
    if max(recall.control, recall.hard_pairs) < max(PROBED_LEAST, 10 / recall.candidates):
        return "none", f"{why}, which is next to nothing"
    share = 0.0 if found.share is None else found.share
    clear = found.low > 0 or found.high < 0
    why += "" if clear else "; the difference may be chance"
    if found.high < 0:
        return "harm likely", why
    if not clear or share < PROBED_SOME:
        return "none", why
    return "large" if share > PROBED_LARGE else "some", why


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
        *_strategy(table, gain, batch_size),
        *_ranks_to_draw(table, windows, features, gain),
        *_equal_rows(windows),
    )


def _strategy(
    table: TableMeasures, gain: ExpectedGain | None, batch_size: int
) -> Iterator[Suggestion]:
    if gain is None:
        return
    if gain.word in ("large", "some"):
        rows = community_rows_for(table.rows, batch_size)
        why = f"the default, in communities of {rows}: whole batches of hard pairs gained most"
        yield Suggestion("strategy", "communities", why)
    else:
        why = "have little to add" if gain.word == "none" else "are likely to do harm"
        yield Suggestion("control", True, f"hard pairs {why}: {gain.why}")


def _ranks_to_draw(
    table: TableMeasures,
    windows: Sequence[WindowMeasures],
    features: FeatureMeasures | None,
    gain: ExpectedGain | None,
) -> Iterator[Suggestion]:
    if gain is not None:
        if gain.word in ("large", "some") and table.window < table.k:
            yield Suggestion("rank_max", table.window, "the ranks that the probe gained by")
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


def _equal_rows(windows: Sequence[WindowMeasures]) -> Iterator[Suggestion]:
    equal = max(each.equal_captions for each in windows)
    if equal > 0:
        why = f"up to {equal:.1%} of a window's hard pairs have the caption of their target; "
        yield Suggestion("equal_captions", "mask", f"{why}the default")
    near = max((each.near_captions or 0.0) for each in windows)
    if near >= SIMILAR:
        why = f"up to {near:.0%} of a window's captions are nearly the target's; with --store"
        yield Suggestion("similar_captions", NEAR_COSINE, why)


def warnings(
    table: TableMeasures,
    windows: Sequence[WindowMeasures],
    model: ModelMeasures | None,
    batch_size: int,
) -> tuple[str, ...]:
    """A sentence for each finding that is out of the ordinary, with its figure."""
    of_model = () if model is None else _of_model(model, batch_size)
    return (*_of_table(table, batch_size), *_of_windows(windows), *of_model)


def _of_table(table: TableMeasures, batch_size: int) -> Iterator[str]:
    chance = next(each for each in table.by_chance if each.batch_size == batch_size)
    if chance.members >= HELD:
        yield (
            f"the data are small for the batch: {batch_size:,} of {table.rows:,} random rows hold "
            f"{chance.members:.1f} hard pairs of each row"
        )
    if table.empty >= SHORT * table.rows:
        yield f"{table.empty:,} of {table.rows:,} targets have no hard pair"
    elif table.short >= SHORT * table.rows:
        yield f"{table.short:,} of {table.rows:,} pools are shorter than {table.k}"
    if table.saturated:
        yield (
            f"pools are saturated: rank {table.window} scores {table.flatness:.2f} of rank 1; "
            "mine with a larger k, or by other encoders"
        )
    for hubs in table.hubs:
        if hubs.top_share >= CROWDED * hubs.top_share_by_chance:
            yield (
                f"hubs: 1% of the rows fill {hubs.top_share:.0%} of the first {hubs.ranks} ranks, "
                f"{hubs.top_share_by_chance:.1%} by chance; helip report shows them"
            )


def _of_windows(windows: Sequence[WindowMeasures]) -> Iterator[str]:
    for each in windows[1:]:
        ranks = f"of the hard pairs in ranks {each.first} to {each.last}"
        if each.equal_captions >= EQUAL:
            yield (
                f"{each.equal_captions:.1%} {ranks} have their target's caption: mined with a "
                "text_max below 0.98, or by helip filter, they would be left out"
            )
        if (each.equal_pictures or 0.0) >= EQUAL:
            yield f"{each.equal_pictures:.1%} {ranks} show their target's picture"
        if each.near >= NEAR:
            yield f"{each.near:.0%} {ranks} are near duplicates by their score: rank_min passes on"


def _of_model(model: ModelMeasures, batch_size: int) -> Iterator[str]:
    features = model.features
    if features.batch_size < batch_size:
        yield (
            f"measured in batches of {features.batch_size:,} rows, not {batch_size:,}; "
            "encoded_rows sets how many can be encoded"
        )
    asked = features.within.n + features.left_out
    if features.left_out >= LEFT_OUT * asked:
        yield (
            f"{features.left_out:,} of {asked:,} targets have fewer than seven hard pairs in the "
            "window, and were left out of the accuracy within"
        )
    if model.unread:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in model.unread.items())
        yield f"rows that cannot be read: {reasons}"
    if words := _unlearned(features):
        yield words
    if features.random_loss is None:
        yield "the model has no logit_scale, so no loss was measured"
