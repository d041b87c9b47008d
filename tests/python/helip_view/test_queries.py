"""Addresses say what is shown: read and written, they are the same."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from helip_view.orders import BY_NAME
from helip_view.queries import STATES, Query

WORDS = st.text(max_size=60).map(lambda text: " ".join(text.split()))
NUMBERS = st.none() | st.floats(-2, 2, allow_nan=False)
QUERIES = st.builds(
    Query,
    way=st.sampled_from(sorted(BY_NAME)),
    at=st.integers(0, 10**9),
    rank=st.none() | st.integers(1, 1000),
    hard=st.none() | st.integers(0, 10**9),
    q=WORDS.filter(lambda text: text.isprintable()),
    low=NUMBERS,
    high=NUMBERS,
    up=st.booleans(),
    seed=st.integers(0, 10**9),
    state=st.sampled_from(STATES),
    region=st.sampled_from(["", "joint:0,0;1,0;1,1"]),
)


@given(QUERIES)
def test_an_address_is_read_as_it_was_written(query: Query) -> None:
    address = query.url()
    assert address.isascii() and address.startswith("/") and not address.startswith("//")
    assert Query.parse(dict(parse_qsl(urlsplit(address).query))) == query


def test_what_is_usual_is_left_out() -> None:
    assert Query().url() == "/"
    assert Query(way="hubs", at=3).url(at=4) == "/?way=hubs&at=4"
    assert Query(way="hubs", rank=2).url(rank=None) == "/?way=hubs"
