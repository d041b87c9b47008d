"""Numbered pieces as ranges."""

from __future__ import annotations

from helip.common.remote.runs import runs


def test_near_numbers_come_in_one_range_and_far_ones_do_not():
    assert runs([1, 2, 4, 7, 8], near=1, longest=100) == [(1, 5), (7, 9)]
    assert runs([1, 2, 4, 7, 8], near=0, longest=100) == [(1, 3), (4, 5), (7, 9)]
    assert runs([], near=1, longest=100) == []


def test_a_range_is_no_longer_than_allowed():
    assert runs(range(7), near=1, longest=3) == [(0, 3), (3, 6), (6, 7)]
