"""What is said of a table or a store that belongs to other data."""

from __future__ import annotations

import pytest

from helip.common.errors import MismatchError
from helip.store.data_identity import Identity, require_same_data

OWN = Identity(1000, "aaaaaaaa-bbbbbbbb-0-0")


def test_other_data_are_refused_with_both_fingerprints_and_the_mend() -> None:
    other = Identity(1000, "aaaaaaaa-cccccccc-dddddddd-0")
    with pytest.raises(MismatchError) as raised:
        require_same_data("the table", OWN, other, "give the data that was mined")
    assert str(raised.value) == (
        "the table belongs to other data than this: the captions differ (1,000 rows with "
        "fingerprint aaaaaa-bbbbbb-0-0 there, 1,000 rows with fingerprint aaaaaa-cccccc-dddddd-0 "
        "here); give the data that was mined"
    )


def test_another_number_of_rows_is_refused_also_without_a_fingerprint() -> None:
    words = (
        r"this: the numbers of rows differ \(1,000 rows with fingerprint .* there, 7 rows here\)"
    )
    with pytest.raises(MismatchError, match=words):
        require_same_data("the table", OWN, Identity(7), "give the data that was mined")


def test_what_is_not_known_differs_from_nothing() -> None:
    for other in (Identity(1000), Identity(1000, "0-bbbbbbbb-cccccccc-0"), OWN):
        require_same_data("the table", OWN, other, "")
