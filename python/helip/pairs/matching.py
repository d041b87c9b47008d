"""Whether a data set or a store is the one that a table was made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from helip.common.errors import MismatchError
from helip.data.opening import open_dataset
from helip.store.data_identity import (
    Identity,
    compare_rows,
    fingerprint_differences,
    refuse_another_store,
    require_same_data,
)
from helip.store.embedding_store import EmbeddingStore

_TARGETS = 32  # whose best and last score are held against a store
_SCORED = ("both", "image", "text")  # modalities whose scores a store tells
_APART = 0.03  # of a score and its value by a store: int8 is off by less


def opened_data(data: Any) -> Any:
    """``data``, opened where it is a source; what has keys and a fingerprint is taken as it is."""
    return data if hasattr(data, "fingerprint") and hasattr(data, "keys") else open_dataset(data)


def data_of(table: Any, data: Any) -> Any:
    """The open data set of a table; MismatchError where the table was made of other data."""
    dataset = opened_data(data)
    refuse_other_data(table, dataset)
    return dataset


def refuse_other_data(table: Any, dataset: Any, store: Any = None) -> None:
    """MismatchError where a table was made of other data.

    With the ``store`` that was mined it says what became of the rows.
    """
    made_of, here = Identity(len(table), table.data_fingerprint), Identity.of(dataset)
    mend = (
        "give the data that was mined; or bring the store up to date, helip embed DATA --out STORE "
        "--update, then the table, helip update PAIRS --store STORE"
    )
    if (
        store is not None
        and made_of.fingerprint
        and fingerprint_differences(made_of.fingerprint, here.fingerprint)
        and not fingerprint_differences(made_of.fingerprint, store.data_fingerprint)
    ):
        mend = f"since then {compare_rows(store, dataset, rows_now=here.rows)}; {mend}"
    require_same_data("the table", made_of, here, mend)


def refuse_other_store(table: Any, store: EmbeddingStore) -> None:
    """MismatchError where a table was made of another store.

    A table that was mined from arrays knows no fingerprint: of it the scores of some pairs are held
    against the store.
    """
    refuse_another_store(table.fingerprint, store)
    if len(table) != len(store):
        raise MismatchError(
            f"the table has {len(table):,} targets, {store!r} {len(store):,} rows; give the store "
            "that was mined"
        )
    modality = table.options.get("modality")
    if table.fingerprint or modality not in _SCORED or "filter" in table.options:
        return  # scores of another kind, or that a filter may have lowered
    counts = np.asarray(table.counts)
    filled = np.flatnonzero(counts > 0)
    some = filled[np.linspace(0, len(filled) - 1, min(_TARGETS, len(filled))).astype(int)]
    # The best and the last pair of each; all rows in one read.
    targets = np.concatenate([some, some]).astype(np.int64)
    places = np.concatenate([np.zeros_like(some), counts[some] - 1])
    hard, scores = table.ids[targets, places], table.scores[targets, places]
    rows, where = np.unique(np.concatenate([targets, hard]), return_inverse=True)
    now = np.ones(len(targets))
    for name, matrix in zip(("image", "text"), store.rows(rows), strict=True):
        if modality in ("both", name):
            units = matrix.numpy().astype(np.float64)
            units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-300)
            now *= (units[where[: len(targets)]] * units[where[len(targets) :]]).sum(axis=1)
    apart = np.abs(scores - now)
    if (others := int((apart > _APART).sum())) == 0:
        return
    at = int(apart.argmax())
    raise MismatchError(
        f"the scores of {others} of {len(targets)} pairs of the table are others by this store, "
        f"such as that of rows {targets[at]} and {hard[at]}, {scores[at]:.3f} in the table and "
        f"{now[at]:.3f} by {store.path}: its rows are others, or in another order; give the store "
        "of the arrays that were mined, or mine it"
    )
