"""What the run of a model was trained on: whether it is the very data set that it is measured on,
and how many of its rows were planned as targets."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, StorageError
from helip.common.files import read_json
from helip.evaluation.model_source import ModelSource
from helip.loading.account import target_rows_of
from helip.models.run_folder import within_run
from helip.store.data_identity import fingerprint_differences

_TOLD = 2  # keys and captions: what two fingerprints must both know


def warn_of_training_data(model: Any, data: Any) -> None:
    """Warn where ``data`` is, with all its rows, the data set of the run that ``model`` is of.

    ``model`` is a `ModelSource`, or the path of a run, of a checkpoint, or anything else, of which
    nothing is known. A run keeps the fingerprint of its data and no keys, so that data which share
    some rows with it, such as a part of it, are not told.
    """
    place = _place_of(model)
    trained = _state_of_run(place).get("options", {}).get("data")
    trained, here = str(trained or ""), str(getattr(data, "fingerprint", ""))
    known = all(
        part not in ("", "0")
        for text in (trained, here)
        for part in (text.split("-") + [""] * _TOLD)[:_TOLD]
    )
    if known and not fingerprint_differences(trained, here):
        warnings.warn(
            f"{place} was trained on all {len(data):,} rows that it is measured on; give "
            "data that were held out",
            stacklevel=4,
        )


def rows_trained_on(model: Any) -> dict[str, int]:
    """``target_rows`` of the ``rows`` of its data, of the run that ``model`` is of, as
    `warn_of_training_data` takes it; empty where that is not known."""
    found = _state_of_run(_place_of(model)).get("rows")
    return target_rows_of(found) if isinstance(found, dict) else {}


def rows_words(results: Mapping[str, Mapping[str, Any]]) -> str:
    """How many rows each of these runs planned as targets; empty where no result knows."""
    known = {name: rows for name, result in results.items() if (rows := result.get("trained_on"))}
    said = [f"{name} {n['target_rows']:,} of {n['rows']:,}" for name, n in known.items()]
    return f"Rows planned as targets: {', '.join(said)}." if said else ""


def _place_of(model: Any) -> str:
    """Where a model comes from; "" where that is not known."""
    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model)
    return (model.checkpoint or model.name_or_path) if isinstance(model, ModelSource) else ""


def _state_of_run(place: str) -> dict[str, Any]:
    """What the newest checkpoint of a run, or a checkpoint, says of it; empty for anything else."""
    if not place:
        return {}
    try:
        path = within_run(Path(place)) if Path(place).is_dir() else Path(place)
        found = read_json(path / "state.json")["state"]
    except (CorruptError, StorageError, OSError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
