"""Candidates: lists of rows that a target is yet to be compared with."""

from __future__ import annotations

import numpy as np


def distinct(rows: np.ndarray) -> np.ndarray:
    """[b, c] each row of a list once, sorted, -1 for none; columns without a row are left out."""
    rows = np.sort(rows, axis=1)
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = -1
    return most_there(rows)


def most_there(rows: np.ndarray) -> np.ndarray:
    """[b, c] sorted, without the columns that are -1 in every row."""
    rows = np.sort(rows, axis=1)
    there = (rows >= 0).any(axis=0)
    return rows[:, rows.shape[1] - int(there.sum()) :]


def without(candidates: np.ndarray, pools: np.ndarray) -> np.ndarray:
    """``candidates`` [b, c] less those that are in the pool [b, k] of their target."""
    both = np.concatenate([candidates, pools], axis=1)
    order = np.argsort(both, axis=1, kind="stable")
    ordered = np.take_along_axis(both, order, axis=1)
    twice = np.zeros(both.shape, dtype=bool)
    twice[:, :-1] = ordered[:, :-1] == ordered[:, 1:]  # the candidate comes before the pool's
    known = np.zeros_like(twice)
    np.put_along_axis(known, order, twice, axis=1)
    return np.where(known[:, : candidates.shape[1]], -1, candidates)
