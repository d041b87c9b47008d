"""Options of the viewer and of studies, and how the cards of a study are balanced."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from helip.common.options import Options, Positive, Seed, Whole, check, require
from helip.common.quantities import parse_bytes

Kind = Literal["product", "image", "text", "random"]
#: Which of the pools is harder; whether a caption is also right.
Type = Literal["harder", "caption"]

KINDS: tuple[Kind, ...] = ("product", "image", "text", "random")
TYPES: tuple[Type, ...] = ("harder", "caption")
Port = Annotated[int, Ge(0), Le(65_535)]

_VIEW_BYTES = 4 * 10**9
_FEWEST_VIEW_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class ViewOptions(Options):
    """Where the viewer is served, and what it may keep."""

    host: str = "127.0.0.1"
    """Address to listen on; another than loopback lets others in who know the token."""
    port: Port = 8765
    """Where it is taken, the next free one is; 0: any."""
    browser: bool = True
    """Open the page in a browser, where there is one."""
    view_cache: int | str | None = None
    """Bytes of orders and features of models that are kept, or such as "10GB"; None:
    4 GB. What was used longest ago goes first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.view_cache_bytes >= _FEWEST_VIEW_BYTES, "view_cache", self.view_cache,
            "16MiB or more",
        )  # fmt: skip

    @property
    def view_cache_bytes(self) -> int:
        """``view_cache`` as a number."""
        return parse_bytes(self.view_cache, name="view_cache") or _VIEW_BYTES


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Options):
    """What a study asks."""

    cards: Positive = 200
    """Questions, each about a target of its own: about half of each type."""
    kinds: tuple[Kind, ...] = KINDS
    """Of pools: the table's own (product), by image similarity alone, by text similarity alone,
    random rows; repeatable."""
    choices: Annotated[int, Ge(2), Le(4)] = 2
    """Pools side by side."""
    shown: Annotated[int, Ge(1), Le(12)] = 4
    """Hard pairs of each pool: the first by rank, in an order drawn anew."""
    seed: Seed = 0
    """Of all that is drawn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        several = isinstance(self.kinds, Sequence) and not isinstance(self.kinds, str)
        require(several, "kinds", self.kinds, f"two or more of {', '.join(KINDS)}")
        for each in self.kinds:
            check("kinds", each, Kind)
        distinct = len(self.kinds) == len(set(self.kinds)) >= 2
        require(distinct, "kinds", self.kinds, f"two or more of {', '.join(KINDS)}, each once")
        bound = f"at most {len(self.kinds)}, as many as there are kinds"
        require(self.choices <= len(self.kinds), "choices", self.choices, bound)
        least, step = self._block + len(self.kinds), len(self.kinds)
        balanced = self.cards >= least and self.cards % step == 0
        words = f"a multiple of {step} from {least} on, so that each kind is asked equally often"
        require(balanced, "cards", self.cards, words)

    @property
    def _block(self) -> int:
        """Fewest questions in which each order of kinds side by side comes once."""
        return math.perm(len(self.kinds), self.choices)

    def layout(self) -> list[tuple[Type, tuple[Kind, ...]]]:
        """(type, kinds from the first side to the last) of each card, balanced and in no drawn
        order: each kind, each pair of kinds and each side equally often."""
        rounds = max(1, self.cards // 2 // self._block)
        orders = list(itertools.permutations(self.kinds, self.choices))
        found: list[tuple[Type, tuple[Kind, ...]]] = [("harder", order) for order in orders]
        found *= rounds
        rest = (self.cards - len(found)) // len(self.kinds)
        return found + [("caption", (kind,)) for kind in self.kinds for _ in range(rest)]


@dataclass(frozen=True, kw_only=True)
class StudyResultOptions(Options):
    """How the answers of a study are counted."""

    people: tuple[str, ...] = ()
    """Those whose answers count, by name; none: of all. Repeatable."""
    bootstrap: Whole = 1000
    """Resamples of targets, where several answers share one; 0: no such intervals."""
    seed: Seed = 0
    """Of the resamples."""

    def __post_init__(self) -> None:
        super().__post_init__()
        several = isinstance(self.people, Sequence) and not isinstance(self.people, str)
        require(several, "people", self.people, "a tuple of names, or empty for all")
