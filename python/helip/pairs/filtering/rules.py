"""Which hard pairs of a block of targets the rules flag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helip.pairs.options import FilterRules

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_COMBINE: dict[str, Callable[[Floats, Floats], Floats]] = {
    "any": np.maximum,
    "both": np.minimum,
    "mean": lambda a, b: (a + b) / 2,
}
#: Against "any" of two cosines stands the smaller one of the own, against "both" the larger.
_AGAINST = {"any": "both", "both": "any", "mean": "mean"}
#: Rules by what they need to know.
CROSS = ("relative_margin", "margin", "veto")
WITHIN = {"image_max": "image", "text_max": "text"}
SCORE = ("max_score", "min_score")
RULES = (*CROSS, *WITHIN, *SCORE)


@dataclass(frozen=True)
class Judged:
    """What is known of the pairs of b targets; NaN where a row of the pair is zero."""

    scores: NDArray[np.float32]  # [b, k] of the table
    own: Floats | None = None  # [b, 1] c(i, i) of the targets
    others: Floats | None = None  # [b, k] c(j, j) of their hard pairs
    forth: Floats | None = None  # [b, k] c(i, j)
    back: Floats | None = None  # [b, k] c(j, i)
    image: Floats | None = None  # [b, k] cosine of both images
    text: Floats | None = None  # [b, k] cosine of both captions

    def unknown(self) -> Flags:
        """[b, k]: pairs that a rule could not look at."""
        unknown = np.zeros(self.scores.shape, dtype=bool)
        for known in (self.own, self.others, self.forth, self.back, self.image, self.text):
            if known is not None:
                unknown |= np.isnan(known)
        return unknown


def in_use(rules: FilterRules) -> list[str]:
    """Names of the rules that are given."""
    return [name for name in RULES if getattr(rules, name) is not None]


def needs_store(rules: FilterRules) -> bool:
    """Whether a rule looks at embeddings."""
    return any(name in CROSS or name in WITHIN for name in in_use(rules))


def flags(rules: FilterRules, judged: Judged) -> dict[str, Flags]:
    """Rule → [b, k]; a pair that it could not look at is not flagged."""
    found: dict[str, Flags] = {}
    if judged.forth is not None and judged.back is not None and judged.own is not None:
        near = _COMBINE[rules.match](judged.forth, judged.back)
        if rules.relative_margin is not None:
            found["relative_margin"] = near > judged.own - rules.relative_margin * abs(judged.own)
        if rules.margin is not None:
            found["margin"] = near > judged.own - rules.margin
        if rules.veto is not None and judged.others is not None:
            crosswise = _COMBINE[rules.veto](judged.forth, judged.back)
            found["veto"] = crosswise >= _COMBINE[_AGAINST[rules.veto]](judged.own, judged.others)
    if rules.image_max is not None and judged.image is not None:
        found["image_max"] = judged.image > rules.image_max
    if rules.text_max is not None and judged.text is not None:
        found["text_max"] = judged.text > rules.text_max
    if rules.max_score is not None:
        found["max_score"] = judged.scores > rules.max_score
    if rules.min_score is not None:
        found["min_score"] = judged.scores <= rules.min_score
    return found
