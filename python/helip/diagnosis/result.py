"""What a diagnosis found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helip.diagnosis.features import FeatureMeasures
from helip.diagnosis.gain import ExpectedGain
from helip.diagnosis.suggestions import Suggestion
from helip.diagnosis.table import TableMeasures
from helip.diagnosis.windows import WindowMeasures


@dataclass(frozen=True)
class ModelMeasures:
    """What was measured of a model."""

    name: str
    encoded: int  # rows
    unread: Mapping[str, int]  # rows that could not be read, by reason
    features: FeatureMeasures


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """Measures, then what is expected and suggested, then warnings; printed it is a page."""

    batch_size: int  # that the model shall train on
    seed: int
    table: TableMeasures
    windows: tuple[WindowMeasures, ...]
    unread_captions: Mapping[str, int]  # rows of the sample, by reason
    model: ModelMeasures | None
    gain: ExpectedGain | None  # None without a model, or where an accuracy cannot be measured
    suggestions: tuple[Suggestion, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-able."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        word = "without a model" if self.gain is None else f"gain={self.gain.word!r}"
        return (
            f"Diagnosis(rows={self.table.rows:,}, batch_size={self.batch_size:,}, {word}, "
            f"suggestions={len(self.suggestions)}, warnings={len(self.warnings)})"
        )

    def __str__(self) -> str:
        from helip.diagnosis.words import page

        return page(self)
