"""What hard pairs can be expected to gain, from what was measured of a model and its data.

    score = coverage x none_by_chance ^ 3/2 x (1 + known - within)

- ``coverage``: the share of a community's places that the hard pairs of its rows can fill. Where
  few rows have hard pairs, few batches differ from plain ones.
- ``none_by_chance``: the probability that a random batch holds no hard pair of a row's window, of
  the rows that have any. Where plain batches hold them already, those of hard pairs add nothing.
- ``known``: the accuracy in a random batch, as the model is or after a linear map, whichever is
  more; ``within``: that among hard pairs alone. Their difference is what the model tells apart
  among unlike rows, and not yet among those that are alike.

The power, the form and the bounds were chosen on heads and towers on icons (docs/when-it-helps.md
has the settings); LEARNED lies below all starts that gained, and above towers of random weights,
which did not.
The score orders models and data, and is no number of points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from helip.diagnosis.features import FeatureMeasures

Word = Literal["large", "some", "none", "harm likely"]

NONE_POWER = 1.5
#: Score from which the gain is called large, and from which it is called some.
LARGE = 0.55
SOME = 0.2
#: What is known below which hard batches are likely to do harm.
LEARNED = 0.1
#: Hard pairs of a target in a random batch, from which hard batches add nothing.
HELD = 1.0


@dataclass(frozen=True)
class ExpectedGain:
    """What batches of hard pairs are expected to gain over plain ones."""

    word: Word
    score: float  # 0 to 2; more is more, and no number of points
    why: str


def expected_gain(measures: FeatureMeasures) -> ExpectedGain | None:
    """Judge what was measured; None where an accuracy between or within could not be."""
    between, within = measures.between.value, measures.within.value
    if between is None or within is None:
        return None
    mapped = measures.mapped.value
    known = max(between, mapped or 0.0)
    whole = measures.none_by_chance**NONE_POWER * (1 + known - within)  # of rows with hard pairs
    score = measures.coverage * whole
    batch = f"{measures.batch_size:,} random rows"
    held = f"which hold {measures.by_chance:.2g} hard pairs of each of their rows"
    filled = f"hard pairs fill {measures.coverage:.1%} of a community's places"
    if known < LEARNED:
        word: Word = "harm likely"
        why = f"the model finds {between:.0%} among {batch}, and should find {LEARNED:.0%} first"
        why += "" if mapped is None else f"; after a linear map it finds {mapped:.0%}"
    elif measures.by_chance >= HELD or whole < SOME:
        word, why = "none", f"plain batches are hard already: {batch}, {held}"
    elif score < SOME:
        word, why = "none", f"{filled}, so that most batches would be plain ones"
    else:
        word = "large" if score >= LARGE else "some"
        found = f"{between:.0%}" if between >= known else f"{known:.0%} after a linear map"
        why = f"the model finds {found} among {batch}, {held}, and {within:.0%} among hard pairs"
        why += "" if measures.coverage == 1.0 else f"; {filled}"
    return ExpectedGain(word, score, why)
