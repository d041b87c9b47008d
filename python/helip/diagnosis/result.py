"""What a diagnosis found, and the same as a page of text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helip.common.quantities import aligned
from helip.diagnosis.advice import ExpectedGain, Suggestion
from helip.diagnosis.features import Estimate, FeatureMeasures, ModelMeasures
from helip.diagnosis.probe import ProbeFigure, ProbeGain
from helip.diagnosis.table import TableMeasures, WindowMeasures

Rows = list[tuple[str, str]]


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """Measures, then what is expected and suggested, then warnings; printed it is a page."""

    batch_size: int  # that the model shall train on
    seed: int
    table: TableMeasures
    windows: tuple[WindowMeasures, ...]
    unread_captions: Mapping[str, int]  # rows of the sample, by reason
    equal_pictures: tuple[int, int] | None  # rows with the bytes of another's picture, of so many
    model: ModelMeasures | None
    probe: ProbeGain | None  # where it was asked for
    gain: ExpectedGain | None  # None without a probe, which alone answers
    suggestions: tuple[Suggestion, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-able."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        word = "no expected gain" if self.gain is None else f"gain={self.gain.word!r}"
        return (
            f"Diagnosis(rows={self.table.rows:,}, batch_size={self.batch_size:,}, {word}, "
            f"suggestions={len(self.suggestions)}, warnings={len(self.warnings)})"
        )

    def __str__(self) -> str:
        return page(self)


def page(diagnosis: Any) -> str:
    """The whole of a Diagnosis: the table, windows of ranks, model and probe, and what follows."""
    model = diagnosis.model
    features = None if model is None else model.features
    rows = _rows_of_table(diagnosis.table)
    if diagnosis.unread_captions:
        rows.append(("unread captions", _counts(diagnosis.unread_captions)))
    if diagnosis.equal_pictures is not None:
        count, among = diagnosis.equal_pictures
        equal = f"{count:,} of {among:,} rows have a picture with the bytes of another row's"
        rows.append(("equal pictures", equal + ("; helip curate lists them" if count else "")))
    blocks = [aligned(rows), aligned(list(_rows_of_windows(diagnosis.windows, features)), "<>")]
    if features is not None:
        blocks.append(aligned([("model", _said_of_model(model)), *_rows_of_features(features)]))
    if diagnosis.probe is not None:
        blocks.append(aligned(_rows_of_probe(diagnosis.probe)))
    blocks.append(_said_of_gain(diagnosis.gain))
    if diagnosis.suggestions:
        told = [(f"  {each.flag}", each.why) for each in diagnosis.suggestions]
        blocks.append("suggested for helip train\n" + aligned(told))
    if diagnosis.warnings:
        blocks.append("\n".join(["warnings", *(f"  {each}" for each in diagnosis.warnings)]))
    return "\n\n".join(blocks)


def _rows_of_table(table: TableMeasures) -> Rows:
    held = ", ".join(f"{each.members:.2g} of {each.batch_size:,}" for each in table.by_chance)
    scores = ", ".join(f"rank {rank} {score:.3f}" for rank, score in table.scores)
    flat = "" if table.flatness is None else f"; last over first {table.flatness:.2f}"
    found = [
        ("table", f"{table.rows:,} rows, pools of {table.k}, {table.method} mining"),
        ("window", f"ranks 1 to {table.window}; {table.sampled:,} targets looked at"),
        (
            "pools",
            f"{table.empty:,} empty, {table.short:,} shorter than {table.k}"
            + (f"; they fill {table.coverage:.1%} of a community" if table.coverage < 1 else ""),
        ),
        ("by chance", f"hard pairs of a row's window in random batches: {held} rows"),
        ("median score", (scores or "no hard pairs") + flat),
    ]
    for hubs in table.hubs:
        found.append(
            (
                f"hubs, ranks 1 to {hubs.ranks}",
                f"1% of the rows fill {_percent(hubs.top_share)} "
                f"({_percent(hubs.top_share_by_chance)} by chance), skewness {hubs.skewness:.2f} "
                f"({hubs.skewness_by_chance:.2f})",
            )
        )
    return found


def _rows_of_windows(
    windows: Sequence[WindowMeasures], features: FeatureMeasures | None
) -> Iterator[list[str]]:
    known: dict[str, list[float | None]] = {
        "near duplicates": [each.near for each in windows],
        "equal captions": [each.equal_captions for each in windows],
        "equal pictures": [each.equal_pictures for each in windows],
        "near captions": [each.near_captions for each in windows],
        "near pictures": [each.near_pictures for each in windows],
    }
    shown = {name: shares for name, shares in known.items() if set(shares) != {None}}
    told = []
    if features is not None:
        told = [features.within, *(each.within for each in features.ranks)]
    yield ["ranks", "pairs", *shown, *(["accuracy within"] if told else [])]
    for place, each in enumerate(windows):
        yield [
            f"{each.first} to {each.last}",
            f"{each.pairs:,}",
            *(_percent(shares[place]) for shares in shown.values()),
            *([_estimate(told[place])] if told else []),
        ]


def _rows_of_features(features: FeatureMeasures) -> Rows:
    size = f"{features.batch_size:,}"
    found = [
        ("accuracy between", f"{_estimate(features.between)} found among {size} random rows"),
        (
            "… after a linear map",
            f"{_estimate(features.mapped)} found once other rows have aligned its features",
        ),
        ("accuracy among", f"{_estimate(features.among)} found among {size} rows in communities"),
        (
            "accuracy within",
            f"{_estimate(features.within)} found among 7 random hard pairs of ranks 1 to "
            f"{features.window}",
        ),
        ("violated", f"{_estimate(features.violated)} of these hard pairs fit as well as the own"),
    ]
    losses = [("random", features.random_loss), ("communities", features.community_loss)]
    told = ", ".join(f"{name} {loss:.3f}" for name, loss in losses if loss is not None)
    return [*found, *([("CLIP loss", f"of batches of {size}: {told}")] if told else [])]


def _rows_of_probe(probe: ProbeGain) -> Rows:
    return [
        (
            "probe",
            f"small heads on the store's features, {probe.seeds} seeds: {probe.rows:,} rows to "
            f"train on, {probe.held_out:,} held out",
        ),
        (
            "… training",
            f"{probe.steps:,} steps of {probe.batch_size:,} rows after {probe.start_steps:,} plain "
            f"ones; communities of {probe.community_rows}; {probe.seconds:.0f} s in all",
        ),
        *(
            (f"{name} of {each.candidates:,}", _said_of_figure(each))
            for name, each in (
                ("recall@1", probe.recall_held_out),
                ("recall@1", probe.recall),
                ("mean 1/rank", probe.reciprocal_rank),
            )
        ),
    ]


def _said_of_figure(found: ProbeFigure) -> str:
    points = [100 * each for each in (found.difference, found.low, found.high)]
    share = "" if found.share is None else f", {found.share:+.1%} of the control's"
    return (
        f"control {found.control:.1%}, hard pairs {found.hard_pairs:.1%}: {points[0]:+.2f} points "
        f"[{points[1]:+.2f}, {points[2]:+.2f}]{share}"
    )


def _said_of_gain(gain: ExpectedGain | None) -> str:
    if gain is None:
        return "whether hard pairs will help: not measured; only --store STORE --probe answers that"
    return (
        f"expected gain: {gain.word}: {gain.why}\n"
        "  heads on frozen features stand for the model; when-it-helps.md says how well"
    )


def _said_of_model(model: Any) -> str:
    unread = f", {_counts(model.unread)} cannot be read" if model.unread else ""
    return f"{model.name}, {model.encoded:,} rows encoded{unread}"


def _estimate(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    error = "" if estimate.error is None else f" ± {100 * estimate.error:.1f}"
    return f"{estimate.value:.1%}{error}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _counts(counts: Any) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())
