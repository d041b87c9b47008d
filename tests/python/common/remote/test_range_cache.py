"""RangeCache: what is fetched when, what is kept, and what is dropped."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from helip.common.errors import StorageError
from helip.common.remote import range_cache
from helip.common.remote.range_cache import PAGE, Member, Pages, RangeCache

PATIENCE = 30  # seconds, where a fault would be waited for without end


class Files:
    """Bytes of shards that come when they are let."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.broken: set[int] = set()
        self.running = self.most_running = 0
        self.lock = threading.Lock()

    def __call__(self, shard: int, begin: int, end: int) -> bytes:
        with self.lock:
            self.asked.append((shard, begin, end))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        assert self.gate.wait(PATIENCE)
        with self.lock:
            self.running -= 1
        if shard in self.broken:
            raise StorageError("broken")
        return bytes((shard + place) % 251 for place in range(begin, end))


def picture(shard: int, offset: int, size: int) -> Member:
    return Member(shard, offset, size, True)


def text(shard: int, offset: int, size: int) -> Member:
    return Member(shard, offset, size, False)


def cache_of(files: Files, **options) -> RangeCache:
    return RangeCache(files, **{"in_flight": 4, "budget": 10_000, "longest": 2_000, **options})


def content(member: Member) -> bytes:
    return Files()(member.shard, member.offset, member.offset + member.size)


def test_near_members_come_by_one_range_and_each_is_read_as_it_is():
    files = Files()
    cache = cache_of(files)
    members = [picture(0, 600, 100), text(0, 710, 5), picture(0, 0, 100), picture(1, 100, 9)]
    cache.want(members, near=50)
    for member in members:
        assert bytes(cache.take(member)) == content(member)
    assert sorted(files.asked) == [(0, 0, 100), (0, 600, 715), (1, 100, 109)]
    assert cache.take(picture(0, 1, 2)) is None


def test_a_range_of_several_members_is_no_longer_than_allowed():
    files = Files()
    cache = cache_of(files, longest=250)
    cache.want([picture(0, 100 * number, 100) for number in range(5)])
    cache.take(picture(0, 400, 100))
    assert sorted(files.asked) == [(0, 0, 200), (0, 200, 400), (0, 400, 500)]


def test_what_is_on_its_way_is_not_asked_for_again():
    files = Files()
    cache = cache_of(files)
    for _ in range(3):
        cache.want([picture(0, 0, 10), text(0, 20, 10)])
    cache.take(text(0, 20, 10))
    assert files.asked == [(0, 0, 30)]


def test_only_so_many_requests_run_at_once():
    files = Files()
    cache = cache_of(files, in_flight=3)
    members = [picture(shard, 0, 10) for shard in range(40)]
    cache.want(members)
    for member in members:
        cache.take(member)
    assert files.most_running <= 3
    assert len(files.asked) == 40


def test_what_is_read_is_fetched_before_what_only_may_be():
    files = Files()
    files.gate.clear()
    cache = cache_of(files, in_flight=1)
    members = [picture(shard, 0, 10) for shard in range(9)]
    cache.want(members)
    reader = threading.Thread(target=cache.take, args=[members[-1]])
    reader.start()
    while not cache._blocks[members[-1]].started:
        reader.join(0.001)
    files.gate.set()
    reader.join(PATIENCE)
    for member in members:
        cache.take(member)
    assert [shard for shard, _, _ in files.asked[:3]] == [0, 8, 1]


def test_what_is_held_stays_within_the_budget_and_nothing_is_dropped_in_order():
    files = Files()
    cache = cache_of(files, budget=1_000)
    members = [picture(shard, 0, 100) for shard in range(100)]
    cache.want(members)
    for member in members:
        assert bytes(cache.take(member)) == content(member)
        assert cache.held <= 1_000
    assert len(files.asked) == 100
    assert cache.dropped == 0


def test_captions_that_nobody_reads_do_not_fill_the_budget():
    files = Files()
    cache = cache_of(files, budget=1_000)
    rows = [(picture(shard, 0, 100), text(shard, 100, 50)) for shard in range(50)]
    cache.want([member for row in rows for member in row])
    for image, _ in rows:
        cache.take(image)
    assert cache.dropped == 0
    assert len(files.asked) == 50


def test_what_nobody_came_for_is_dropped_counted_and_makes_room():
    files = Files()
    cache = cache_of(files, budget=1_000)
    cache.want([picture(shard, 0, 100) for shard in range(10)])
    for shard in range(10):  # all are there
        cache._blocks[picture(shard, 0, 100)].future.result(PATIENCE)
    later = [picture(shard, 0, 100) for shard in range(10, 30)]
    cache.want(later)
    for member in later:
        assert bytes(cache.take(member)) == content(member)
    assert cache.dropped == 5
    assert cache.held <= 1_000
    assert cache.take(picture(0, 0, 100)) is None


def test_a_member_larger_than_the_budget_comes_all_the_same():
    cache = cache_of(Files(), budget=1_000)
    large = picture(0, 0, 5_000)
    cache.want([large])
    assert bytes(cache.take(large)) == content(large)


def test_a_reader_waits_for_what_is_on_its_way():
    files = Files()
    files.gate.clear()
    cache = cache_of(files)
    cache.want([picture(0, 0, 10)])
    got = []
    reader = threading.Thread(target=lambda: got.append(bytes(cache.take(picture(0, 0, 10)))))
    reader.start()
    files.gate.set()
    reader.join(PATIENCE)
    assert got == [content(picture(0, 0, 10))]
    assert len(files.asked) == 1


def test_what_failed_is_raised_once_and_may_be_wanted_again():
    files = Files()
    files.broken = {0}
    cache = cache_of(files)
    cache.want([picture(0, 0, 10), picture(1, 0, 10)])
    with pytest.raises(StorageError, match="broken"):
        for _ in range(2):  # at the latest once it has failed nobody waits for it
            if cache.take(picture(0, 0, 10)) is None:
                raise StorageError("broken")
    assert bytes(cache.take(picture(1, 0, 10))) == content(picture(1, 0, 10))
    files.broken.clear()
    cache.want([picture(0, 0, 10)])
    assert bytes(cache.take(picture(0, 0, 10))) == content(picture(0, 0, 10))


def test_what_was_read_longest_ago_makes_room_first():
    files = Files()
    cache = cache_of(files, budget=300)
    members = [picture(shard, 0, 100) for shard in range(4)]
    cache.want(members[:3])
    for member in (*members[:3], members[0]):
        cache.take(member)
    cache.want(members[3:])
    cache.take(members[3])
    assert cache.take(members[1]) is None
    assert cache.take(members[0]) is not None


def test_of_a_range_that_is_mostly_gaps_the_members_alone_are_held():
    files = Files()
    cache = cache_of(files)
    members = [text(0, offset, 100) for offset in (0, 500, 1_000)]
    cache.want(members)
    for member in members:
        assert bytes(cache.take(member)) == content(member)
    assert files.asked == [(0, 0, 1_100)] and cache.held == 300


class Container:
    """A container of 40 shards, each of some more than 20 pages."""

    def __init__(self) -> None:
        self.read = Files()
        shards = [SimpleNamespace(bytes=20 * PAGE + 100)] * 40
        self.manifest = SimpleNamespace(shards=shards)


def test_pages_of_many_readers_are_right_where_no_room_is_left(monkeypatch):
    monkeypatch.setattr(range_cache, "PAGE_BYTES", 3 * PAGE)
    container = Container()
    pages, begins = Pages(container), np.array([0, 5 * PAGE - 3, 20 * PAGE + 90])

    def read(shard: int) -> bool:
        items = pages.items(shard, begins, 10)
        found = [container.read(shard, begin, begin + 10) for begin in begins.tolist()]
        return [item.tobytes() for item in items] == found

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(40)))
