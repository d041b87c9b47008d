"""Whether a data set is the one that a table was made of."""

from __future__ import annotations

from typing import Any

from helip.common.errors import MismatchError
from helip.data.opening import open_dataset
from helip.store.data_identity import compare_rows, difference_words, fingerprint_differences


def opened_data(data: Any) -> Any:
    """``data``, opened where it is a source; what has captions and keys is taken as it is."""
    return data if hasattr(data, "caption") and hasattr(data, "keys") else open_dataset(data)


def refuse_other_data(table: Any, dataset: Any, store: Any = None) -> None:
    """MismatchError where a table with a ``data_fingerprint`` was made of other data.

    With the ``store`` that was mined it says what became of the rows.
    """
    theirs = table.data_fingerprint
    if not theirs or not (differ := fingerprint_differences(theirs, dataset.fingerprint)):
        return
    rows = len(dataset)
    words = f"{difference_words(differ)} ({len(table):,} rows then, {rows:,} now)"
    if store is not None and not fingerprint_differences(theirs, store.data_fingerprint):
        words = f": {compare_rows(store, dataset, rows_now=rows)}"
    raise MismatchError(
        f"the table was made of other data than this{words}. Give the data that was mined; or "
        "bring the store up to date, helip embed DATA --out STORE --update, then the table, helip "
        "update PAIRS --store STORE"
    )


def data_of(table: Any, data: Any) -> Any:
    """The open data set of a table.

    Raises:
        MismatchError: it has other samples or another number of rows than the table.
    """
    dataset = opened_data(data)
    refuse_other_data(table, dataset)
    if len(dataset) != len(table):
        raise MismatchError(
            f"row counts differ: table {len(table):,}, data set {len(dataset):,}; give the data "
            "that the table was made of"
        )
    return dataset
