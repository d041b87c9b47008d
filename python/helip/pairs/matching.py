"""Whether a data set is the one that a table was made of."""

from __future__ import annotations

from typing import Any

from helip.common.errors import MismatchError
from helip.data.opening import open_dataset
from helip.store.data_identity import difference_words, fingerprint_differences


def opened_data(data: Any) -> Any:
    """``data``, opened where it is a source; what has captions and keys is taken as it is."""
    return data if hasattr(data, "caption") and hasattr(data, "keys") else open_dataset(data)


def refuse_other_data(fingerprint: str, dataset: Any) -> None:
    """MismatchError where a table with that ``data_fingerprint``, "" if it has none, was made of
    other data."""
    if fingerprint and (differ := fingerprint_differences(fingerprint, dataset.fingerprint)):
        raise MismatchError(
            f"the table was made of other data than this{difference_words(differ)} (fingerprint "
            f"{fingerprint} then, {dataset.fingerprint} now); give the data that was mined, or "
            "mine again"
        )


def data_of(table: Any, data: Any) -> Any:
    """The open data set of a table.

    Raises:
        MismatchError: it has other samples or another number of rows than the table.
    """
    dataset = opened_data(data)
    refuse_other_data(table.data_fingerprint, dataset)
    if len(dataset) != len(table):
        raise MismatchError(
            f"row counts differ: table {len(table):,}, data set {len(dataset):,}; give the data "
            "that the table was made of"
        )
    return dataset
