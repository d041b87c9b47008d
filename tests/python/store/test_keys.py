"""Keys by row, and rows by key."""

from __future__ import annotations

from helip.store.keys import KeyIndex


class _SameHash(str):
    __slots__ = ()

    def __hash__(self) -> int:
        return 7


def test_each_key_is_found_at_its_row() -> None:
    keys = [f"key {row}" for row in range(1000)]
    index = KeyIndex(keys)
    assert [index.row(key) for key in keys] == list(range(1000))
    assert index.row("key 1000") is None
    assert KeyIndex([]).row("key") is None


def test_keys_of_one_hash_are_told_apart_by_their_text() -> None:
    keys = [_SameHash(name) for name in "bca"]
    index = KeyIndex(keys)
    assert [index.row(key) for key in keys] == [0, 1, 2]
    assert index.row(_SameHash("d")) is None
