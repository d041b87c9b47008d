"""Options of a diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from helip.common.options import DeviceOptions, Positive, PrecisionOptions, Seed, Whole
from helip.data.options import Reader


@dataclass(frozen=True, kw_only=True)
class DiagnoseOptions(DeviceOptions, PrecisionOptions):
    """What is measured, and on how many rows."""

    batch_size: Annotated[int, Ge(2)] = 256
    """Rows of the batches that the model shall train on, of all processes together."""
    window: Positive = 50
    """Ranks of a pool, from the first, that hard pairs shall come from."""
    targets: Positive = 2000
    """Targets that are looked at, drawn at random."""
    encoded_rows: Annotated[int, Ge(64)] = 8192
    """Rows that the model encodes at most; more give narrower intervals."""
    probe: bool = False
    """Train small heads on the store's features with and without hard pairs, and compare them on
    rows held out: minutes of one core."""
    seed: Seed = 0
    """Of all draws."""
    encode_batch_size: Positive = 256
    """Rows that are encoded together."""
    reader: Reader = "auto"
    """core: C++ threads; pillow: Pillow and the model's transform; auto: the core where it can."""
    workers: Whole = 0
    """Threads of the core (0: one a processor); processes of Pillow (0: this one)."""
