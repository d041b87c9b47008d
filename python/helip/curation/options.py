"""Options of curation: when a row is flagged, and for which reasons it is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from helip.common.options import Seed, Share, ThreadOptions, Whole, check, require

Reason = Literal[
    "unreadable",
    "equal_picture",
    "near_duplicate",
    "mismatched",
    "ambiguous_caption",
    "outlier",
    "hub",
]


@dataclass(frozen=True, kw_only=True)
class CurateOptions(ThreadOptions):
    """When a row is flagged, and which flags drop it."""

    drop: tuple[Reason, ...] = ("unreadable", "equal_picture", "near_duplicate")
    """Reasons for which the keep list drops rows; other flags are only listed. Repeatable."""
    neighbours: Annotated[int, Ge(2), Le(64)] = 8
    """Nearest rows by image, and by text, that each row is compared with."""
    duplicate_image: Share = 0.98
    """Image cosine that near duplicates reach; both similarities must."""
    duplicate_text: Share = 0.98
    """Text cosine that near duplicates reach; also that of nearly the same caption."""
    mismatch_min: Annotated[float, Gt(0.0), Le(1.0)] = 0.5
    """Probability of a wrong caption from which a row is mismatched."""
    unlike_image: Share | None = None
    """Image cosine below which two pictures are unlike; None: the median of random pairs."""
    outlier_image: Share | None = None
    """Cosine that the nearest picture of an outlier stays below; None: Tukey's fence of all rows,
    the first quartile less 1.5 interquartile ranges."""
    outlier_text: Share | None = None
    """The same of its nearest caption; an outlier stays below both."""
    hub_factor: Annotated[float, Gt(0.0)] = 10.0
    """A hub is in so many times as many pools as the average row."""
    seed: Seed = 0
    """Of the captions that are exchanged for comparison, and of random pairs."""
    examples: Whole = 12
    """Rows that the page shows for each reason."""

    def __post_init__(self) -> None:
        super().__post_init__()
        several = isinstance(self.drop, Sequence) and not isinstance(self.drop, str)
        require(several, "drop", self.drop, 'a tuple of reasons, such as ("mismatched",)')
        for each in self.drop:
            check("drop", each, Reason)
