"""Numbers of bytes as people write them."""

from __future__ import annotations

import pytest

from helip.common.errors import InvalidArgumentError
from helip.common.sizes import parse_bytes


def test_sizes_are_read_with_their_units() -> None:
    assert parse_bytes("4GB") == 4_000_000_000
    assert parse_bytes("512 MiB") == 512 << 20
    assert parse_bytes("1.5k") == 1500
    assert parse_bytes(7) == 7
    assert parse_bytes(None) == 0


@pytest.mark.parametrize("size", ["lots", "4XB", "", -1, 0])
def test_what_is_no_size_is_refused(size: object) -> None:
    with pytest.raises(InvalidArgumentError, match="memory is"):
        parse_bytes(size)
