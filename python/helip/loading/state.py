"""What a loader's state holds, and which states a loader can go on from.

The targets of an epoch have one order, and those that all ranks were given before a step are the
first so many of it. So a place in an epoch is a number of targets, and what is left can be gone
through in batches of another size, by another number of ranks. Where nothing of that has changed,
the batches are those of the run that was not interrupted: for this a state also has where the
present division into batches began (``begin``), and how many of its batches were handed over.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.loading.account import EpochCounts
from helip.loading.readers.batch import PlannedBatch

_log = logging.getLogger(__name__)
_FORMAT = 2
#: They cut an epoch into batches; its targets and their order are the same with others.
_DIVISION = ("batch_size", "targets_per_batch", "world_size")


@dataclasses.dataclass(frozen=True)
class LoaderState:
    """A place in an epoch, and whose it is."""

    epoch: int
    begin: int  # targets of the epoch, over all ranks, before batch 0
    batches: int  # handed over since
    targets: int  # of the epoch, over all ranks, handed over
    rank: int
    options: dict[str, Any]  # the loader's identity
    counts: EpochCounts
    plans: Sequence[
        PlannedBatch
    ] = ()  # made, but not handed over, that only a growing table repeats

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            **vars(self),
            "options": dict(self.options),
            "counts": dataclasses.asdict(self.counts),
            "plans": [_dict_of(plan) for plan in self.plans],
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> LoaderState:
        """Raises InvalidArgumentError for what is no state, or one of another format."""
        try:
            form, epoch, batches = state["format"], int(state["epoch"]), int(state["batches"])
            options, rank = dict(state["options"]), int(state["rank"])
            counts = EpochCounts(**state["counts"])
            plans = [_plan_of(plan, epoch) for plan in state.get("plans", ())]
            begin, targets = int(state["begin"]), int(state["targets"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgumentError(
                f"not a state of HardPairLoader ({type(error).__name__}: {error}); pass what its "
                "state_dict() returned"
            ) from error
        if form != _FORMAT:
            raise InvalidArgumentError(
                f"a loader state of format {form} cannot be read here (format {_FORMAT}); "
                "resume with the version of helip that wrote it"
            )
        if min(epoch, begin, batches) < 0:
            raise InvalidArgumentError(
                f"a state at epoch {epoch}, batch {batches} after {begin} targets has a negative "
                "number; pass what state_dict() returned"
            )
        return cls(epoch, begin, batches, targets, rank, options, counts, plans)

    def divides_as(self, own: Mapping[str, Any]) -> bool:
        """Whether a loader of identity ``own`` cuts an epoch into the same batches."""
        return all(self.options.get(name) == own[name] for name in _DIVISION)

    def place_for(
        self,
        own: Mapping[str, Any],
        targets_before: Callable[[int, int], int],
    ) -> tuple[int, int]:
        """(begin, batches) from which a loader of identity ``own`` goes on.

        ``targets_before(step, begin)`` is that of its sampler.
        """
        if not self.divides_as(own):
            return self.targets, 0
        if targets_before(self.batches, self.begin) != self.targets:
            raise InvalidArgumentError(
                f"a state at batch {self.batches} after {self.begin} targets cannot have "
                f"{self.targets} targets behind it; pass what state_dict() returned"
            )
        return self.begin, self.batches


def warn_without_pairs(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """For the options of a state that an older version wrote, which do not tell its table."""
    if "pairs" not in state and own.get("pairs") is not None:
        _log.warning(
            "the state does not say of which table of hard pairs it is, as those of older versions "
            "of helip; with another table than before, rows would come twice and others never"
        )


def refuse_another_loader(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raises MismatchError that names what differs, the division into batches aside; a table that
    the state does not tell is a warning."""
    warn_without_pairs(state, own)
    state = {"pairs": own["pairs"], **state}
    differing = [
        f"{name} (state: {state.get(name)!r}, loader: {value!r})"
        for name, value in own.items()
        if name not in _DIVISION and state.get(name) != value
    ]
    if differing:
        raise MismatchError(
            "the state belongs to another loader; it differs in "
            + ", ".join(differing)
            + "; make the loader with the options of the state (batch_size, targets_per_batch, "
            "world_size and workers may be others), or start the epoch anew"
        )


def _dict_of(plan: PlannedBatch) -> dict[str, Any]:
    rows = {"index": plan.index.tolist(), "target": plan.target.tolist()}
    return {"step": plan.step, **rows, "planned": plan.planned}


def _plan_of(state: Mapping[str, Any], epoch: int) -> PlannedBatch:
    index, target = (np.array(state[name], dtype=np.int64) for name in ("index", "target"))
    return PlannedBatch(epoch, int(state["step"]), index, target, dict(state["planned"]))
