"""What to judge next: learnt from verdicts, with its precision, or a word why nothing is."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("sklearn")

from helip import EmbeddingStore, HardPairs, Verdicts
from helip.common.errors import UnsupportedError
from helip_view import LearntVeto, propose
from helip_view import verdicts as module
from helip_view.verdicts import NotLearntError, Proposed
from support.view_samples import OWN, client_of


@pytest.fixture
def judged(folder: Path, tmp_path: Path) -> Iterator[Verdicts]:
    """The first and the last pair of every second target."""
    pairs = HardPairs.open(folder / "pairs")
    with Verdicts.open(tmp_path / "v", pairs=pairs) as verdicts:
        for target in range(0, len(pairs), 2):
            if count := int(pairs.counts[target]):
                for rank, verdict in ((0, "false negative"), (count - 1, "keep")):
                    hard = int(pairs.ids[target, rank])
                    verdicts.add(target, hard, verdict, person="Ada")
        yield verdicts


def test_the_list_is_that_of_the_veto_and_says_its_precision(
    folder: Path, judged: Verdicts
) -> None:
    pairs = HardPairs.open(folder / "pairs")
    store = EmbeddingStore.open(folder / "store")
    learnt = Proposed(pairs, store, range(10**6), judged, None).learnt(0)
    own = pairs.with_store(store)
    veto = LearntVeto.fit(judged, own)
    expected = propose(judged, veto, own, n=200)
    order = learnt.order
    shown = [
        (int(t), int(pairs.ids[t, order.rank(place)])) for place, t in enumerate(order.targets)
    ]
    assert [tuple(sorted(pair)) for pair in shown] == [(p.target, p.hard) for p in expected]
    np.testing.assert_allclose(order.values, [p.probability for p in expected], rtol=1e-6)
    measured = veto.measured
    assert measured is not None and measured.precision is not None
    value, low, high = (100 * each for each in measured.precision)
    assert f"Learnt from {measured.labels} judged pairs" in learnt.words
    assert f"{value:.0f} % [{low:.0f}, {high:.0f}] of what it would take out" in learnt.words


def test_a_number_has_one_list_until_it_is_learnt_anew(folder: Path, judged: Verdicts) -> None:
    pairs = HardPairs.open(folder / "pairs")
    proposed = Proposed(pairs, EmbeddingStore.open(folder / "store"), range(10**6), judged, None)
    first = proposed.learnt(0)
    target = int(first.order.targets[0])
    hard = int(pairs.ids[target, first.order.rank(0)])
    judged.add(target, hard, "keep", person="Ada")
    assert proposed.learnt(0) is first
    anew = proposed.learnt(1).order
    assert {target, hard} not in [
        {int(t), int(pairs.ids[t, anew.rank(place)])} for place, t in enumerate(anew.targets)
    ]


def test_too_few_verdicts_and_missing_parts_are_said(folder: Path, tmp_path: Path) -> None:
    pairs = HardPairs.open(folder / "pairs")
    store = EmbeddingStore.open(folder / "store")
    with Verdicts.open(tmp_path / "few", pairs=pairs) as verdicts:
        for target in range(5):
            verdicts.add(target, 20 + target, "keep", person="Ada")
        with pytest.raises(NotLearntError, match=r"too few verdicts .*: 0 pairs .* and 5 to keep"):
            Proposed(pairs, store, range(10**6), verdicts, None).learnt(0)
        for without in (
            Proposed(pairs, None, range(10**6), verdicts, None),
            Proposed(pairs, store, range(10**6), None, None),
        ):
            assert not without.there
            with pytest.raises(UnsupportedError, match="start helip view with --store"):
                without.learnt(0)


def test_large_tables_are_looked_at_in_part(
    folder: Path, judged: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TARGETS", 16)
    pairs = HardPairs.open(folder / "pairs")
    proposed = Proposed(pairs, EmbeddingStore.open(folder / "store"), range(10**6), judged, None)
    assert "It looks at 16 targets, drawn at random." in proposed.learnt(0).words


def test_a_person_goes_through_the_list_by_verdicts(folder: Path, judged: Verdicts) -> None:
    few = len(judged)
    with client_of(folder, verdicts=judged.path) as client:
        home = client.get("/").text
        found = re.search(r'<a href="([^"]*way=next[^"]*)"', home)
        assert found is not None
        address = html.unescape(found[1])
        assert f"seed={few}" in address
        page = client.get(address).text
        assert "What to judge next</h1>" in page
        assert f"Learnt from {few} judged pairs" in page and "chance to be taken out" in page
        target, hard = re.findall(r'name="(?:target|hard)" value="(\d+)"', page)[:2]
        answer = client.post(
            "/verdict",
            data={"target": target, "hard": hard, "verdict": "keep", "person": "Bo",
                  "back": address},
            headers=OWN, follow_redirects=False,
        )  # fmt: skip
        assert "at=1" in answer.headers["location"] and "way=next" in answer.headers["location"]
        after = client.get(answer.headers["location"]).text
        assert f"seed={few + 1}" in after  # the link that learns anew


def test_the_page_says_what_is_missing_and_where_to_begin(folder: Path, tmp_path: Path) -> None:
    with client_of(folder, verdicts=tmp_path / "none") as client:
        answer = client.get("/?way=next")
        assert answer.status_code == 200
        assert "There are too few verdicts to learn from: 0 pairs" in answer.text
        assert "way=random" in answer.text and 'class="pair"' not in answer.text
    with client_of(folder, verdicts=tmp_path / "none", store=None) as client:
        assert "way=next" not in client.get("/").text
        answer = client.get("/?way=next")
        assert answer.status_code == 409 and "start helip view with --store" in answer.text
