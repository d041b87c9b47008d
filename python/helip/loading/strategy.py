"""What a batch strategy is, and which one makes the batches where the options leave it open
(``strategy="auto"``, and ``community_rows=None``)."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any, TypeVar

from helip.loading.options import PairOptions

P = TypeVar("P", bound=PairOptions)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Strategy:
    """What others ask of a strategy; how it makes batches, the core knows."""

    #: Targets serve each other, so that a batch may hold nothing but targets.
    among_targets: bool = False
    #: It places rows without pairs: a batch holds targets alone, so that a row that is no target
    #: would not be trained on.
    targets_alone: bool = False
    #: A batch says by ``hard_rows`` which rows are hard pairs of each; else ``target`` says it.
    gives_hard_rows: bool = False
    #: Options of its own, which change no batch of another.
    options: tuple[str, ...] = ()


#: By the names of `PairOptions.strategy`.
STRATEGIES = {
    "uniform": Strategy(),
    "temperature": Strategy(),
    "scheduled": Strategy(),
    "shared": Strategy(among_targets=True),
    "walk": Strategy(among_targets=True, targets_alone=True, options=("walk_rows", "restart")),
    "communities": Strategy(
        among_targets=True, targets_alone=True, gives_hard_rows=True, options=("community_rows",)
    ),
}

#: Rows of a community where an epoch has as many steps: the more, the fewer hard pairs random
#: batches hold. Measured on icons (docs/results.md): 8 were best with 120 steps (16 as good), 16
#: with 480, 32 with 844 (128 as good).
_ROWS_BY_STEPS = ((640, 32), (240, 16), (0, 8))


def community_rows_for(rows: int, step_rows: int) -> int:
    """The default rows of a community, of ``rows`` in the data and ``step_rows`` in a step.

    More than 8 are at most a quarter of a step.
    """
    steps = rows / step_rows
    most = max(8, step_rows // 4)
    return min(most, next(size for least, size in _ROWS_BY_STEPS if steps >= least))


def with_strategy(options: P, *, whole_table: bool, rows: int, step_rows: int) -> P:
    """``options`` with the strategy that "auto" stands for, the rows of a community, what becomes
    of short targets, and None hard pairs a target as 1.

    That is "communities", but where hard pairs must be drawn: by what the options ask for
    (draw_temperature, hard_per_target, an order of blocks), or since there is no whole table by
    which an epoch could be put in order. Then it is "scheduled" with a schedule, "temperature" with
    a draw_temperature, else "uniform". The log says which it is, and why.

    rows, step_rows: of the data, and of a step of all ranks together.
    """
    chosen = options.strategy
    if chosen == "auto":
        why = _why_drawn(options, whole_table)
        chosen = _drawn(options) if why else "communities"
        if hard_pairs_of(options):
            why = why or "no option asks for hard pairs to be drawn"
            _log.info("batches: strategy %s, since %s", chosen, why)
    size = options.community_rows
    if size is None and chosen == "communities":
        size = community_rows_for(rows, step_rows)
    short: Any = "keep" if STRATEGIES[chosen].targets_alone else "skip"
    return dataclasses.replace(
        options,
        strategy=chosen,
        community_rows=size,
        hard_per_target=hard_pairs_of(options),
        short=options.short or short,
    )


def hard_pairs_of(options: PairOptions) -> int:
    """Hard pairs a target (p)."""
    return 1 if options.hard_per_target is None else options.hard_per_target


def makes_communities(options: PairOptions) -> bool:
    """Whether batches of options from `with_strategy` hold communities, at any time of a run."""
    some = options.fraction > 0 or options.schedule is not None
    return options.strategy == "communities" and hard_pairs_of(options) > 0 and some


def _why_drawn(options: PairOptions, whole_table: bool) -> str:
    """What asks for hard pairs to be drawn; empty where nothing does."""
    if options.community_rows is not None:
        return ""  # refused where they cannot be
    if not whole_table:
        return "there is no whole table to put an epoch in order by"
    asked = {
        "hard_per_target": options.hard_per_target,
        "draw_temperature": options.draw_temperature,
        "draw_temperature of the schedule": getattr(options.schedule, "draw_temperature", None),
        "order": None if options.order == "rows" else options.order,
    }
    given = [f"{name} is {value}" for name, value in asked.items() if value is not None]
    return " and ".join(given)


def _drawn(options: PairOptions) -> Any:
    if options.schedule is not None:
        return "scheduled"
    return "uniform" if options.draw_temperature is None else "temperature"
