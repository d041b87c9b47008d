"""What is shown at an address: its targets in their order, and the places before and after."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from helip import UnsupportedError
from helip_view.captions import CaptionSearch
from helip_view.maps import Maps
from helip_view.orders import BY_NAME, Order, Orders
from helip_view.proposed import Proposed
from helip_view.queries import Query

_KEPT = 16  # filtered orders


class ShownOrders:
    """The order of a query, filtered and turned; the last ones are kept, so that a step through one
    costs nothing. ``None`` while captions are being indexed. Safe to use from threads."""

    def __init__(
        self, orders: Orders, search: CaptionSearch, maps: Maps, proposed: Proposed
    ) -> None:
        self.orders, self._search, self._maps = orders, search, maps
        self.proposed = proposed
        self._kept: OrderedDict[Any, Order] = OrderedDict()
        self._lock = threading.Lock()

    def order(self, query: Query) -> Order | None:
        """The targets of a query. UnsupportedError for a way that this table has not."""
        way = BY_NAME[query.way]
        if not self.orders.kinds[way.needs]:
            needed = {
                "store": "--store", "model": "--model", "models": "--model twice",
                "verdicts": "--store, and --verdicts where the table is in no folder",
            }  # fmt: skip
            raise UnsupportedError(
                f"{way.title} needs what was not given; start helip view with {needed[way.needs]}"
            )
        with self._lock:
            if query.base in self._kept:
                self._kept.move_to_end(query.base)
                return self._kept[query.base]
        if (found := self._made(query)) is not None:
            with self._lock:
                self._kept[query.base] = found
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return found

    def _made(self, query: Query) -> Order | None:
        if query.way == "next":
            order = self.proposed.learnt(query.seed).order
        else:
            order = self.orders.order(query.way, query.seed)
        if query.low is None and query.high is None and not query.q and not query.region:
            return _turned(order) if query.up else order
        keep = np.ones(len(self.orders.first), dtype=bool)
        if query.q:
            if (rows := self._search.find(query.q)) is None:
                return None
            keep[:] = False
            keep[rows[rows < len(keep)]] = True
        if query.region:
            if not self._maps.there:
                raise UnsupportedError("a region needs the map; start helip view with --store")
            near = np.zeros(len(keep), dtype=bool)
            near[self._maps.inside(query.region)] = True
            keep &= near
        with np.errstate(invalid="ignore"):
            if query.low is not None:
                keep &= self.orders.first >= query.low
            if query.high is not None:
                keep &= self.orders.first <= query.high
        found = order.taken(np.flatnonzero(keep[order.targets]))
        return _turned(found) if query.up else found


def step(
    order: Order, at: int, by: int, wanted: Callable[[int, int], bool] | None = None
) -> int | None:
    """The next place from ``at`` in the direction ``by`` (1 or -1) whose target and rank are
    ``wanted``; None at the end."""
    place = at + by
    while 0 <= place < len(order):
        if wanted is None or wanted(int(order.targets[place]), order.rank(place)):
            return place
        place += by
    return None


def _turned(order: Order) -> Order:
    return Order(
        order.targets[::-1],
        None if order.values is None else order.values[::-1],
        None if order.ranks is None else order.ranks[::-1],
    )
