"""What verdicts take out of pools, against plain sets of pairs."""

from __future__ import annotations

import numpy as np

from helip.verdicts import Exclusions


def exclusions(pairs: list[tuple[int, int]], rows: list[int] = []) -> Exclusions:  # noqa: B006
    ordered = sorted({(min(p), max(p)) for p in pairs})
    return Exclusions(np.array(ordered, np.int64).reshape(-1, 2), np.array(rows, np.int64))


def test_pairs_are_flagged_in_either_order_and_mismatched_rows_everywhere() -> None:
    random = np.random.default_rng(0)
    rows = 30
    pairs = [tuple(random.choice(rows, 2, replace=False).tolist()) for _ in range(40)]
    mismatched = [3, 17]
    found = exclusions(pairs, mismatched)
    ids = random.integers(-1, rows, (rows, 9))
    either = {frozenset(pair) for pair in pairs}
    for first in (0, 11, 29):
        for place, target in enumerate(range(first, rows)):
            expected = [
                j >= 0
                and (frozenset((target, j)) in either or j in mismatched or target in mismatched)
                for j in ids[target].tolist()
            ]
            assert found.flags(first, ids[first:])[place].tolist() == expected
    assert found.most == max(sum(row in pair for pair in either) for row in range(rows))


def test_rows_have_a_group_in_common_where_they_are_a_pair_and_nowhere_else() -> None:
    pairs = [(0, 1), (1, 2), (2, 0), (2, 3), (5, 4), (2, 9)]  # a chain, a triangle, a star
    found = exclusions(pairs)
    index = np.array([9, 2, 7, 0, 1, 3, 4, 5, 11])
    groups = found.groups(index)
    assert groups.dtype == np.int64
    assert groups.shape == (len(index), found.columns[2])
    equal = ((groups[:, None] == groups[None]) & (groups != 0)[:, None]).any(axis=2)
    either = {frozenset(pair) for pair in pairs}
    for a, row in enumerate(index.tolist()):
        for b, other in enumerate(index.tolist()):
            if a != b:
                assert equal[a, b] == (frozenset((row, other)) in either)


def test_nothing_excluded_is_nothing_flagged() -> None:
    found = exclusions([])
    assert found.most == 0
    assert not found.flags(0, np.array([[1, 2], [0, -1]])).any()
    assert found.groups(np.arange(3)).shape == (3, 0)
    assert found.described()["digest"] != exclusions([(0, 1)]).digest
    assert exclusions([], [1]).digest != exclusions([], [2]).digest
