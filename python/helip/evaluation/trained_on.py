"""Whether a model is measured on the very data set that its run was trained on."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, StorageError
from helip.common.files import read_json
from helip.evaluation.model_source import ModelSource
from helip.models.run_folder import within_run
from helip.store.data_identity import fingerprint_differences

_TOLD = 2  # keys and captions: what two fingerprints must both know


def warn_of_training_data(model: Any, data: Any) -> None:
    """Warn where ``data`` is, with all its rows, the data set of the run that ``model`` is of.

    ``model`` is a `ModelSource`, or the path of a run, of a checkpoint, or anything else, of which
    nothing is known. A run keeps the fingerprint of its data and no keys, so that data which share
    some rows with it, such as a part of it, are not told.
    """
    if isinstance(model, (str, os.PathLike)):
        model = ModelSource(os.fspath(model))
    if not isinstance(model, ModelSource):
        return
    place = model.checkpoint or model.name_or_path
    trained, here = _fingerprint_of_run(Path(place)), str(getattr(data, "fingerprint", ""))
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


def _fingerprint_of_run(place: Path) -> str:
    """Of the data that a run or a checkpoint was trained on; "" where that is not known."""
    try:
        path = within_run(place) if place.is_dir() else place
        found = read_json(path / "state.json")["state"]["options"]["data"]
    except (CorruptError, StorageError, OSError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""
