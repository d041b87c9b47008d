"""The pages of the viewer: each takes a request and gives an answer."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np

from helip import Error, InvalidArgumentError, UnsupportedError
from helip.common.text import number, plain
from helip.reporting import environment
from helip.store import KeyIndex
from helip_view.cards import Card, Cards, ComparedPools, Place, ShownPictures
from helip_view.maps import LAYOUTS, OF, SAMPLE, Maps
from helip_view.orders import BY_NAME
from helip_view.queries import STATES, Query, ShownOrders, step
from helip_view.search import LONGEST, CaptionSearch, Seeking
from helip_view.thumbnails import SIDE, Thumbnails, reason_of
from helip_view.verdicts import KEYS, MISMATCH, NotLearntError, TakenVerdicts


@dataclass(frozen=True)
class Asked:
    """A request that the guard let in."""

    path: Mapping[str, str] = field(default_factory=dict)
    """Parts of the path that the route names."""
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    person: str = ""
    """The name that its browser keeps."""
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    body: str | bytes = ""
    kind: str = "text/html; charset=utf-8"
    status: int = 200
    place: str = ""
    """An address of this server to go to."""
    person: str | None = None
    """A name for its browser to keep."""
    seconds: int = 0
    """How long the browser may keep it."""


def go(place: str, person: str | None = None) -> Answer:
    """To another address of this server."""
    return Answer(status=303, place=place, person=person)


_DAY = 24 * 3600
BY = ("score", "hubness", "verdict")  # what points of the map are coloured by


@dataclass(frozen=True)
class Item:
    """One place of what is shown."""

    target: int
    rank: int | None = None
    hard: int | None = None
    value: float | None = None


class Pages:
    """Answers requests. Safe to use from threads."""

    def __init__(
        self,
        cards: Cards,
        shown: ShownOrders,
        thumbnails: Thumbnails,
        taken: TakenVerdicts,
        keys: Any,
        title: str,
        search: CaptionSearch,
        seeking: Seeking,
        maps: Maps,
        pools: ComparedPools,
    ) -> None:
        self._cards, self._shown, self._thumbnails = cards, shown, thumbnails
        self._taken, self._keys, self._title, self._search = taken, keys, title, search
        self._seeking, self._maps, self._pools = seeking, maps, pools
        self._key_index: KeyIndex | None = None

    def card(self, asked: Asked) -> Answer:
        """The card at a place of a way in."""
        return self._page(Query.parse(asked.query), asked)

    def picture(self, asked: Asked) -> Answer:
        """The thumbnail of a row; where there is none, a picture that says why."""
        return picture_answer(self._thumbnails, self._row(asked.path["row"]))

    def go_to(self, asked: Asked) -> Answer:
        """The card of a row number or a key."""
        text = asked.query.get("to", "").strip()
        row = self._found(text)
        return go(Query(way="rows", at=row).url())

    def verdict(self, asked: Asked) -> Answer:
        """Keep a verdict, and go on to the next place."""
        form = asked.form
        query = _query_of(form.get("back", "/"))
        person = form.get("person", "").strip() or asked.person
        verdict = form.get("verdict", "")
        if verdict not in KEYS.values():
            raise InvalidArgumentError(f"verdict is {verdict[:40]!r}, must be one of {list(KEYS)}")
        target, hard = self._row(form.get("target", "")), form.get("hard", "")
        pair = None if hard == "" else self._row(hard)
        if not person:
            return self._page(query, asked, unsaid=form)
        about = (pair if form.get("of") == "hard" and pair is not None else target, None)
        rows = about if verdict == MISMATCH else (target, pair)
        coming = self._coming(query)
        self._taken.add(*rows, verdict, person, query.url())
        place = self._following(query, coming)
        return go(place, person if person != asked.person else None)

    def undo(self, asked: Asked) -> Answer:
        """Take back the last verdict, and show its pair."""
        back = _query_of(asked.form.get("back", "/"))
        if not asked.person:
            return go(back.url())
        undone, place = self._taken.undo(asked.person)
        if undone is None:
            return go(back.url())
        return go(place or Query(way="rows", at=undone.target, hard=undone.hard).url())

    def name(self, asked: Asked) -> Answer:
        """Keep the name of a person, who may be another from now on."""
        return go(
            _query_of(asked.form.get("back", "/")).url(), asked.form.get("person", "").strip()
        )

    def send(self, asked: Asked) -> Answer:
        """Take a picture, and show the rows that are like it."""
        found = {"picture": self._seeking.keep(asked.body)}
        if sentence := asked.query.get("sentence", "").strip():
            found["sentence"] = sentence[:LONGEST]
        return go("/seek?" + urlencode(found))

    def seek(self, asked: Asked) -> Answer:
        """The rows that are like a sentence, a picture that was sent, or both."""
        sentence, picture = (asked.query.get(name, "") for name in ("sentence", "picture"))
        by = ""
        found: list[tuple[int, float]] = []
        if sentence.strip() or picture:
            by, found = self._seeking.find(sentence, picture)
        places = [Place(at, row, score) for at, (row, score) in enumerate(found, start=1)]
        page = environment("helip_view").get_template("seek.html")
        return Answer(page.render(
            title=self._title, sentence=sentence[:LONGEST], picture=picture, by=by, found=places,
            sides=self._seeking.sides, address=lambda row: Query(way="rows", at=row).url(),
            pictures=ShownPictures(self._cards),
        ))  # fmt: skip

    def pools(self, asked: Asked) -> Answer:
        """The pools of a target by several rules, next to each other."""
        target = self._pools.of(self._row(asked.query.get("row", "")))
        page = environment("helip_view").get_template("pools.html")
        return Answer(page.render(
            title=self._title, target=target, pictures=ShownPictures(self._cards),
            address=Query(way="rows", at=target.row).url(),
        ))  # fmt: skip

    def map(self, asked: Asked) -> Answer:
        """The page of the map, which fetches the points."""
        if not self._maps.there:
            raise UnsupportedError("the map needs the store; start helip view with --store")
        page = environment("helip_view").get_template("map.html")
        return Answer(page.render(
            title=self._title, of=OF, layouts=LAYOUTS, by=BY, keys=KEYS, sample=SAMPLE,
        ))  # fmt: skip

    def points(self, asked: Asked) -> Answer:
        """float32 [N, 2], little-endian: where the rows lie; while the map is made, with status
        202, how much of it is."""
        if not self._maps.there:
            raise UnsupportedError("the map needs the store; start helip view with --store")
        if (share := self._maps.begin(asked.path["of"])) < 1:
            return Answer(f"{share:.2f}", "text/plain; charset=utf-8", status=202)
        points = self._maps.points(asked.path["of"])
        return Answer(points.astype("<f4").tobytes(), "application/octet-stream")

    def shades(self, asked: Asked) -> Answer:
        """uint8 [N]: 0 for none, else 1 … 255 by score or hubness, or the key of a verdict."""
        by = asked.path["by"]
        if by not in BY:
            raise InvalidArgumentError(f"by is {by[:40]!r}, must be one of {', '.join(BY)}")
        orders = self._shown.orders
        if by == "verdict":
            shades = np.zeros(len(self._cards.pairs), dtype=np.uint8)
            for key, verdict in KEYS.items():
                for rows in self._taken.decided(verdict):
                    shades[[row for row in rows if row is not None]] = int(key)
        else:
            shades = orders.shades(by)
        return Answer(shades.tobytes(), "application/octet-stream")

    def refusal(self, error: Exception, status: int) -> Answer:
        """A page that says what is wrong."""
        return refused("refusal.html", self._title, error, status)

    def _page(self, query: Query, asked: Asked, unsaid: Any = None) -> Answer:
        learnt = unlearnt = ""
        items: tuple[int, Any] | None = (0, None)
        try:
            items = self._items(query)
            if query.way == "next" and not _by_verdict(query):
                learnt = self._shown.proposed.learnt(query.seed).words
        except NotLearntError as error:
            unlearnt = str(error)
        waiting = items is None
        count = 0 if items is None else items[0]
        at = min(query.at, max(count - 1, 0))
        if query.state == "open" and count and query.rank is None and query.hard is None:
            at, count = self._open_place(query, at, count)
        query = replace(query, at=at)
        item = None if items is None or not count else items[1](at)
        card = None if item is None else self._card(query, item)
        hards = [] if card is None else [place.row for place in card.strip]
        page = environment("helip_view").get_template("pair.html").render(
            title=self._title, query=query, way=BY_NAME[query.way], ways=self._shown.orders.ways,
            states=STATES, count=count, item=item, card=card, waiting=waiting,
            indexed=self._search.share, failure=self._search.failure,
            before=None if unlearnt else self._beside(query, -1),
            after=None if unlearnt else self._beside(query, 1),
            learnt=learnt, unlearnt=unlearnt, said_so_far=sum(self._taken.counts().values()),
            keys=KEYS, maps=self._maps.there, sides=self._seeking.sides,
            taken=self._taken.there, person=asked.person, unsaid=unsaid,
            counts=self._taken.counts(), side=SIDE,
            said=[] if card is None else self._taken.of(
                card.target.row, None if card.hard is None else card.hard.row),
            marks={} if card is None else self._taken.ranks(card.target.row, hards),
            ring=_ring(query, card), facts=self._facts(), picture_of=self._cards.address,
        )  # fmt: skip
        return Answer(page)

    def _card(self, query: Query, item: Item) -> Card:
        if query.hard is not None:
            hard = self._row(str(query.hard))
            if hard == item.target:
                raise InvalidArgumentError(f"hard is {hard}, which is the target itself")
            return self._cards.card(item.target, None, hard)
        if query.rank is not None:
            return self._cards.card(item.target, query.rank)
        return self._cards.card(item.target, item.rank, item.hard)

    def _items(self, query: Query) -> tuple[int, Any] | None:
        """(how many, place → Item) of a query; None while captions are being indexed."""
        if _by_verdict(query):
            if (pairs := self._decided(query)) is None:
                return None
            return len(pairs), lambda at: Item(pairs[at][0], None, pairs[at][1])
        if (order := self._shown.order(query)) is None:
            return None

        def item(at: int) -> Item:
            value = None if order.values is None else float(order.values[at])
            return Item(int(order.targets[at]), order.rank(at) + 1, None, value)

        return len(order), item

    def _beside(self, query: Query, by: int) -> str | None:
        """The address of the place before or after; None at the end."""
        if _by_verdict(query):
            count = len(self._decided(query) or ())
            place = query.at + by if 0 <= query.at + by < count else None
        else:
            order = self._shown.order(query)
            wanted = self._is_open if query.state == "open" else None
            place = None if order is None else step(order, query.at, by, wanted)
        return None if place is None else query.url(at=place, rank=None, hard=None)

    def _decided(self, query: Query) -> list[tuple[int, int | None]] | None:
        """What was decided as the query says and has a row that passes its other filters, by row;
        None while captions are being indexed."""
        pairs = self._taken.decided(query.state)
        if query.q or query.region or query.low is not None or query.high is not None:
            if (order := self._shown.order(replace(query, way="rows"))) is None:
                return None
            passed = set(order.targets.tolist())
            pairs = [rows for rows in pairs if not passed.isdisjoint(rows)]
        return pairs[::-1] if query.up else pairs

    def _coming(self, query: Query) -> tuple[int, int | None] | None:
        """The pair after the one that is shown, where a verdict may take that from the list."""
        decided = self._decided(query) if _by_verdict(query) else None
        return decided[query.at + 1] if decided and query.at + 1 < len(decided) else None

    def _following(self, query: Query, coming: tuple[int, int | None] | None) -> str:
        """The address to go on to after a verdict: where ``coming`` lies now, if it is given."""
        decided = self._decided(query) if coming is not None else None
        if decided and coming in decided:
            return query.url(at=decided.index(coming), rank=None, hard=None)
        return self._beside(query, 1) or query.url()

    def _open_place(self, query: Query, at: int, count: int) -> tuple[int, int]:
        """The open pair that is nearest to a place, rather after it than before, and the number of
        places: 0 where none is open."""
        order = self._shown.order(query)
        assert order is not None
        for start, by in ((at - 1, 1), (at, -1)):
            if (place := step(order, start, by, self._is_open)) is not None:
                return place, count
        return 0, 0

    def _is_open(self, target: int, rank: int) -> bool:
        pairs = self._cards.pairs
        if rank >= int(pairs.counts[target]):
            return False
        return not self._taken.is_known(target, int(pairs.ids[target, rank]))

    def _row(self, text: str) -> int:
        size = len(self._cards.pairs)
        if not text.isascii() or not text.isdecimal() or len(text) > 18 or int(text) >= size:
            raise InvalidArgumentError(f"row is {text[:40]!r}, must be in 0 … {size - 1}")
        return int(text)

    def _found(self, text: str) -> int:
        if text.isascii() and text.isdecimal() and len(text) <= 18 and int(text) < len(self._keys):
            return int(text)
        if self._key_index is None:
            self._key_index = KeyIndex(self._keys)
        if (row := self._key_index.row(text)) is None:
            raise InvalidArgumentError(
                f"{plain(text, 80)!r} is neither a row in 0 … {len(self._keys) - 1} nor a key of "
                "the data"
            )
        return row

    def _facts(self) -> str:
        pairs = self._cards.pairs
        method = pairs.options.get("method")
        mined = f" · {method}" if method else ""
        return f"{number(len(pairs))} targets{mined} · k = {number(pairs.k)}"


def _ring(query: Query, card: Card | None) -> dict[str, str]:
    """The addresses of the hard pairs before and after in the pool, and of the pair turned."""
    if card is None or card.hard is None:
        return {}
    found = {"turn": Query(way="rows", at=card.hard.row, hard=card.target.row).url()}
    if card.rank is not None:
        if card.rank > 1:
            found["up"] = query.url(rank=card.rank - 1, hard=None)
        if card.rank < card.count:
            found["down"] = query.url(rank=card.rank + 1, hard=None)
    return found


def _by_verdict(query: Query) -> bool:
    """Whether what is shown comes from the verdicts, in place of an order of targets."""
    return query.state not in ("", "open")


def _query_of(address: str) -> Query:
    """The query of an address that a form gives; whatever else it names is left."""
    return Query.parse(dict(parse_qsl(urlsplit(address).query)))


def picture_answer(thumbnails: Thumbnails, row: int) -> Answer:
    """The thumbnail of a row; where there is none, a picture that says why."""
    try:
        return Answer(thumbnails.get(row), "image/webp", seconds=_DAY)
    except Error as error:
        return Answer(_placeholder(reason_of(error)), "image/svg+xml")


def refused(template: str, title: str, error: Exception, status: int) -> Answer:
    """A page that says what is wrong."""
    page = environment("helip_view").get_template(template)
    return Answer(page.render(title=title, words=str(error), status=status), status=status)


def _placeholder(reason: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" '
        f'height="{SIDE}"><rect width="100%" height="100%" fill="#e3dfd7"/><text x="50%" y="50%" '
        'text-anchor="middle" font-family="sans-serif" font-size="26" fill="#4c4a44">'
        f"{html.escape(reason)}</text></svg>"
    )
