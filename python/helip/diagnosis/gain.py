"""What hard pairs can be expected to gain, from what was measured of a model and its data.

    score = between x (1 - within) x none_by_chance

- ``between``: the accuracy in a random batch. A model that cannot tell unlike pairs apart yet has
  more to learn from plain batches than from hard ones.
- ``1 - within``: the share of targets that the model still takes for one of seven hard pairs, which
  is what batches of hard pairs have to teach.
- ``none_by_chance``: the probability that a random batch holds no hard pair of a target's window.
  Where plain batches hold them already, batches of hard pairs add little.

The score orders models and data, and is no number of points. It has a word by the bounds below,
which were set by hand from small models and small data (docs/results.md); of large models they say
nothing yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from helip.diagnosis.features import FeatureMeasures

Word = Literal["large", "some", "none", "harm likely"]

#: Score from which the gain is called large, and from which it is called some.
LARGE = 0.05
SOME = 0.02
#: Accuracy between below which hard batches are likely to do harm.
LEARNED = 0.2
#: Hard pairs of a target in a random batch, from which hard batches add nothing.
HELD = 1.0


@dataclass(frozen=True)
class ExpectedGain:
    """What batches of hard pairs are expected to gain over plain ones."""

    word: Word
    score: float  # 0 to 1; more is more, and no number of points
    why: str


def expected_gain(measures: FeatureMeasures) -> ExpectedGain | None:
    """Judge what was measured; None where an accuracy could not be."""
    between, within = measures.between.value, measures.within.value
    if between is None or within is None:
        return None
    score = between * (1.0 - within) * measures.none_by_chance
    batch = f"{measures.batch_size:,} random rows"
    if between < LEARNED:
        word: Word = "harm likely"
        why = f"the model finds {between:.0%} among {batch}, and should find {LEARNED:.0%} first"
    elif measures.by_chance >= HELD:
        word = "none"
        why = f"random batches hold {measures.by_chance:.1f} hard pairs of each of their rows"
    elif score >= SOME:
        word = "large" if score >= LARGE else "some"
        why = f"the model finds {between:.0%} among {batch} and {within:.0%} among 7 hard pairs"
    else:
        word = "none"
        why = f"the model finds {within:.0%} among 7 hard pairs already"
    return ExpectedGain(word, score, why)
