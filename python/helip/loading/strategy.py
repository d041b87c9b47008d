"""Which strategy makes the batches where the options leave it open (``strategy="auto"``), and how
large its communities are (``community_rows=None``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from helip.loading.options import PairOptions

P = TypeVar("P", bound=PairOptions)

#: What "auto" is, or was in earlier versions, where no option asks for hard pairs to be drawn.
_DEFAULTS = ("communities", "uniform", "scheduled")

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


def with_strategy(
    options: P,
    *,
    whole_table: bool,
    rows: int,
    step_rows: int,
    begun: Mapping[str, Any] | None = None,
) -> P:
    """``options`` with the strategy that "auto" stands for, the rows of a community, and None hard
    pairs a target as 1.

    That is "communities", but where hard pairs must be drawn: by what the options ask for
    (draw_temperature, hard_per_target, short="random", an order of blocks), or since there is no
    whole table by which an epoch could be put in order. Then it is "scheduled" with a schedule,
    "temperature" with a draw_temperature, else "uniform".

    rows, step_rows: of the data, and of a step of all ranks together.
    begun: the recorded options of the run that is gone on with, which stay where nothing is asked.
    """
    before = {} if begun is None else as_recorded_now(begun)
    chosen = options.strategy
    if chosen == "auto":
        drawn = _must_draw(options, whole_table)
        chosen = _drawn(options) if drawn else _open(before.get("strategy"))
    size = options.community_rows or before.get("community_rows")
    if size is None and chosen == "communities":
        size = community_rows_for(rows, step_rows)
    return dataclasses.replace(
        options, strategy=chosen, community_rows=size, hard_per_target=hard_pairs_of(options)
    )


def hard_pairs_of(options: PairOptions) -> int:
    """Hard pairs a target (p)."""
    return 1 if options.hard_per_target is None else options.hard_per_target


def as_recorded_now(options: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded ``options`` of a run with its strategy by name: earlier versions recorded "auto",
    which was "scheduled" with a schedule, "temperature" with a draw_temperature, else "uniform"."""
    if options.get("strategy") != "auto":
        return dict(options)
    schedule, temperature = options.get("schedule"), options.get("draw_temperature")
    drawn = "uniform" if temperature is None else "temperature"
    return {**options, "strategy": drawn if schedule is None else "scheduled"}


def _must_draw(options: PairOptions, whole_table: bool) -> bool:
    if options.community_rows is not None:
        return False  # refused where they cannot be
    if not whole_table:
        return True
    schedule = options.schedule
    temperatures = (options.draw_temperature, getattr(schedule, "draw_temperature", None))
    return (
        options.hard_per_target is not None
        or any(temperature is not None for temperature in temperatures)
        or options.short == "random"
        or options.order != "rows"
    )


def _drawn(options: PairOptions) -> Any:
    if options.schedule is not None:
        return "scheduled"
    return "uniform" if options.draw_temperature is None else "temperature"


def _open(begun: str | None) -> Any:
    return begun if begun in _DEFAULTS else _DEFAULTS[0]
