"""Drops of a report: how many pairs each rule kept out of the pools."""

from __future__ import annotations

import numpy as np

#: As the core numbers them, from 1 on, and names them in reports.
RULES = ("image_duplicate", "text_duplicate", "margin", "collapsed")


def count_rules(rules: np.ndarray) -> dict[str, int]:
    """How many pairs each rule kept out."""
    counts = np.bincount(rules, minlength=len(RULES) + 1)
    return {name: int(count) for name, count in zip(RULES, counts[1:], strict=True)}
