"""Units of work: any of them may run again, in any order, on any machine that shares the folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from helip.common.errors import StorageError
from helip.common.files import make_directory
from helip.mining.stages.centres import make_centres
from helip.mining.stages.certifying import certify, measure
from helip.mining.stages.job import Workplace
from helip.mining.stages.merging import merge
from helip.mining.stages.refining import refine
from helip.mining.stages.routing import route
from helip.mining.stages.rows import one_torch_thread
from helip.mining.stages.solving import solve
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import full_disk, open_unit_file

_log = logging.getLogger(__name__)

_WORK: dict[str, Callable[[Workplace, Step, int], None]] = {
    "centres": make_centres,
    "certify": certify,
    "route": route,
    "solve": solve,
    "merge": merge,
    "measure": measure,
    "refine": refine,
}


def run_unit(place: Workplace, step: Step, unit: int) -> None:
    """Does one unit of a step, unless its file is there; what it waits for must be done.

    Raises MismatchError where the file belongs to another job, StorageError with the stage, the
    unit and how to go on.
    """
    path = step.place(place.job, unit)
    words = f"stage {step.stage}, unit {unit + 1} of {step.units(place.job)}"
    begun = time.monotonic()
    try:
        if path.exists():
            open_unit_file(path, job=place.job.digest)
            return
        make_directory(path.parent)
        with one_torch_thread():
            _WORK[step.stage](place, step, unit)
    except StorageError as error:
        raise full_disk(error, words) from error
    _log.info("%s: done in %.1f s", words, time.monotonic() - begun)
