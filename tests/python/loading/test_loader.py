"""HardPairLoader: batches, augmentations, resuming, quarantine. On a small data set in memory."""

from __future__ import annotations

import itertools
import json
import random

import numpy as np
import pytest
import torch
from PIL import Image

from helip.common.errors import Error, InvalidArgumentError, MismatchError, SampleError
from helip.loading.loader import HardPairLoader
from helip.pairs.hard_pairs import HardPairs
from support.loader_samples import drawing

N = 61
K = 6


class FakeData:
    """N one-colour pictures; row i is red i. ``bad`` maps rows to the errors they raise."""

    def __init__(self, rows=N, bad=None, fingerprint="a" * 32):
        self.keys = [f"key-{row}" for row in range(rows)]
        self.fingerprint = fingerprint
        self.bad = bad or {}

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, row):
        if row in self.bad:
            raise self.bad[row]
        image = Image.new("RGB", (4, 4), (row % 256, 0, 0))
        return {"key": self.keys[row], "image": image, "text": f"caption {row}", "index": row}


def ring(rows=N, k=K, data_fingerprint="a" * 32):
    """A table where the pool of row i is the k rows after it."""
    ids = (np.arange(rows)[:, None] + np.arange(1, k + 1)[None]) % rows
    scores = np.tile(np.linspace(0.9, 0.5, k, dtype=np.float32), (rows, 1))
    counts = np.full(rows, k, dtype=np.int32)
    return HardPairs.from_arrays(
        ids.astype(np.int32), scores, counts, data_fingerprint=data_fingerprint
    )


def unreadable(row):
    return SampleError("not a picture", key=f"key-{row}", reason="unreadable_image")


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def augment(image):
    """A transform that uses every random state an augmentation may use."""
    noise = torch.rand(1).item(), random.random(), np.random.rand()
    return to_tensor(image)[:, 0, 0] + torch.tensor(noise)


def make(data=None, pairs=None, **options):
    options = {"batch_size": 12, "seed": 5, "transform": to_tensor, **options}
    return HardPairLoader(data or FakeData(), pairs or ring(), **drawing(options))


def rows_of(batches):
    return [batch["index"].tolist() for batch in batches]


def targets_of(batch):
    own = batch["target"] == torch.arange(len(batch["target"]))
    return batch["index"][own].tolist()


def planned(stats):
    return stats["targets"] + stats["hard_pairs"] + stats["random_fills"]


def test_a_batch_holds_pictures_captions_rows_and_the_target_of_each_row():
    for batch in make(hard_per_target=2):
        assert batch["index"].dtype == batch["target"].dtype == torch.int64
        assert batch["image"].shape == (len(batch["index"]), 3, 4, 4)
        assert batch["image"][:, 0, 0, 0].tolist() == batch["index"].tolist()
        assert batch["text"] == [f"caption {row}" for row in batch["index"].tolist()]
        assert len(set(batch["index"].tolist())) == len(batch["index"])
        for row, served in zip(batch["index"].tolist(), batch["target"].tolist(), strict=True):
            target = batch["index"][served].item()
            assert row == target or (row - target) % N in range(1, K + 1)


def test_without_a_transform_pictures_come_as_a_list():
    batch = next(iter(make(transform=None)))
    assert [image.getpixel((0, 0))[0] for image in batch["image"]] == batch["index"].tolist()


def test_the_tokenizer_is_called_once_a_batch_with_all_captions():
    calls = []

    def tokenizer(texts):
        calls.append(texts)
        return torch.tensor([[len(text)] for text in texts])

    batches = list(make(tokenizer=tokenizer))
    assert len(calls) == len(batches)
    assert all(isinstance(text, str) for text in calls[0])
    assert batches[0]["text"].shape == (len(batches[0]["index"]), 1)


def test_every_row_is_a_target_once_an_epoch_over_all_ranks():
    loaders = [make(rank=rank, world_size=3) for rank in range(3)]
    assert len({len(loader) for loader in loaders}) == 1
    targets = [row for loader in loaders for batch in loader for row in targets_of(batch)]
    assert sorted(targets) == list(range(N))


def test_rank_and_world_size_come_from_torch_distributed_where_it_is_initialised(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    assert rows_of(make()) == rows_of(make(rank=1, world_size=3))
    assert rows_of(make()) != rows_of(make(rank=0, world_size=1))


@pytest.mark.parametrize("temperature", [None, 0.1])
def test_batches_and_augmentations_are_the_same_for_any_number_of_workers(temperature):
    alone = list(make(transform=augment, draw_temperature=temperature))
    shared = list(make(transform=augment, draw_temperature=temperature, workers=2))
    assert rows_of(alone) == rows_of(shared)
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["target"], other["target"])


def test_augmentations_differ_by_row_by_epoch_and_by_seed():
    def noise(**options):
        images, rows = {}, []
        for batch in make(transform=augment, **options):
            rows += batch["index"].tolist()
            for row, image in zip(batch["index"].tolist(), batch["image"], strict=True):
                images.setdefault(row, image[1].item())
                assert images[row] == image[1].item()  # as target and as hard pair
        return images

    first, again, later, other = noise(), noise(), noise(epoch=1), noise(seed=6)
    assert first == again
    assert len(set(first.values())) == N
    assert not set(first.values()) & set(later.values())
    assert not set(first.values()) & set(other.values())


@pytest.mark.parametrize("workers", [0, 2])
def test_the_random_state_of_the_caller_is_left_alone(workers):
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    expected = torch.rand(1).item(), random.random(), np.random.rand()
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    list(make(transform=augment, workers=workers))
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected


def test_iterating_again_goes_through_the_next_epoch():
    loader = make(epoch=3)
    assert loader.epoch == 3
    first, second = rows_of(loader), rows_of(loader)
    assert loader.epoch == 5
    assert first == rows_of(make(epoch=3))
    assert second == rows_of(make(epoch=4))
    assert first != second


def test_after_an_iteration_that_is_broken_off_the_next_epoch_begins():
    loader = make()
    next(iter(loader))
    state = loader.state_dict()
    assert rows_of(loader) == rows_of(make(epoch=1))
    loader.load_state_dict(state)
    assert rows_of(loader) == rows_of(make())[1:]
    next(iter(loader))
    loader.set_epoch(1)
    assert rows_of(loader) == rows_of(make(epoch=1))


def test_leaving_the_loop_at_the_last_batch_ends_the_epoch_too():
    loader = make()
    for _, _batch in zip(range(len(loader)), loader, strict=False):
        pass
    assert loader.state_dict()["epoch"] == 1
    assert rows_of(loader) == rows_of(make(epoch=1))


def test_set_epoch_chooses_the_epoch_of_the_next_iteration():
    loader = make()
    loader.set_epoch(7)
    assert rows_of(loader) == rows_of(make(epoch=7))
    loader.set_epoch(7)
    assert rows_of(loader) == rows_of(make(epoch=7))


def test_an_iteration_ends_with_an_error_when_another_one_starts():
    loader = make()
    old = iter(loader)
    next(old)
    assert rows_of(loader) == rows_of(make(epoch=1))
    with pytest.raises(Error, match="once at a time"):
        next(old)


@pytest.mark.parametrize("workers", [(0, 0), (2, 0), (0, 2)])
def test_resuming_in_the_middle_of_an_epoch_repeats_and_misses_nothing(workers):
    whole = rows_of(make(epoch=2)) + rows_of(make(epoch=3))
    for cut, second_cut in [(1, 2), (4, 1), (len(make()) - 1, 3)]:
        first = make(epoch=2, workers=workers[0])
        iterator = iter(first)
        seen = rows_of(next(iterator) for _ in range(cut))
        state = json.loads(json.dumps(first.state_dict()))
        iterator.close()
        second = make(workers=workers[1])
        second.load_state_dict(state)
        iterator = iter(second)
        # A second interruption, which may fall into the next epoch.
        while len(seen) < cut + second_cut:
            batch = next(iterator, None)
            if batch is None:
                iterator = iter(second)
            else:
                seen += rows_of([batch])
        third = make()
        third.load_state_dict(second.state_dict())
        while len(seen) < len(whole):
            seen += rows_of(third)
        assert seen == whole


def test_augmentations_go_on_as_if_never_interrupted():
    whole = list(make(transform=augment))
    loader = make(transform=augment)
    next(iter(loader))
    resumed = make(transform=augment)
    resumed.load_state_dict(loader.state_dict())
    for one, other in zip(whole[1:], resumed, strict=True):
        assert torch.equal(one["image"], other["image"])


def test_a_state_taken_at_the_end_of_an_epoch_resumes_at_the_next():
    loader = make()
    for _batch in loader:
        last = loader.state_dict()
    after = loader.state_dict()
    assert last == after
    for state in (last, after):
        resumed = make()
        resumed.load_state_dict(state)
        assert resumed.epoch == 1
        assert rows_of(resumed) == rows_of(make(epoch=1))


def test_set_epoch_to_the_resumed_epoch_keeps_the_place_in_it():
    loader = make(epoch=2)
    iterator = iter(loader)
    next(iterator), next(iterator)
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    resumed.set_epoch(2)
    assert rows_of(resumed) == rows_of(make(epoch=2))[2:]
    assert rows_of(resumed) == rows_of(make(epoch=3))


def test_a_resumed_epoch_starts_at_its_place_until_it_is_iterated():
    loader = make()
    next(iter(loader))
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    iter(resumed)
    resumed.set_epoch(0)
    assert rows_of(itertools.islice(resumed, 2)) == rows_of(make())[1:3]
    assert rows_of(resumed) == rows_of(make(epoch=1))


def test_one_state_serves_every_rank():
    first = make(rank=0, world_size=2)
    next(iter(first))
    second = make(rank=1, world_size=2)
    second.load_state_dict(first.state_dict())
    assert second.stats()["targets"] == 0  # what rank 0 counted is not this rank's account
    assert rows_of(second) == rows_of(make(rank=1, world_size=2))[1:]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("seed", 6),
        ("hard_per_target", 2),
        ("rank_min", 1),
        ("rank_max", 4),
        ("draw_temperature", 0.5),
        ("fraction", 0.5),
        ("short", "random"),
    ],
)
def test_a_state_of_other_options_is_refused_by_name(option, value):
    state = make().state_dict()
    loader = make(**{option: value, "rank": 0})
    with pytest.raises(MismatchError, match=rf"{option} \(state: .*, loader: {value!r}\)"):
        loader.load_state_dict(state)


def test_a_state_of_another_data_set_is_refused_with_both_fingerprints():
    state = make().state_dict()
    other = make(FakeData(fingerprint="b" * 32), ring(data_fingerprint="b" * 32))
    with pytest.raises(MismatchError, match=r"fingerprint.*aaaa.*bbbb"):
        other.load_state_dict(state)


@pytest.mark.parametrize(
    "change", [{"epoch": None}, {"counts": {"mood": 1}}, {"format": 99}, {"batches": 10_000}]
)
def test_what_is_no_state_is_refused(change):
    loader = make()
    state = {**loader.state_dict(), **change}
    with pytest.raises(InvalidArgumentError):
        loader.load_state_dict(state)
    with pytest.raises(InvalidArgumentError, match="not a state"):
        loader.load_state_dict({})
    assert rows_of(loader) == rows_of(make())


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_that_cannot_be_read_are_left_out_and_counted_by_reason(workers):
    bad = {3: unreadable(3), 20: OSError("gone"), 40: unreadable(40)}
    loader = make(FakeData(bad=bad), hard_per_target=2, workers=workers)
    clean = list(make(hard_per_target=2))
    batches = list(loader)
    left_out = 0
    for batch, full in zip(batches, clean, strict=True):
        kept = [row for row in full["index"].tolist() if row not in bad]
        left_out += len(full["index"]) - len(kept)
        assert batch["index"].tolist() == kept
        assert batch["text"] == [f"caption {row}" for row in kept]
        targets = full["index"][full["target"]].tolist()
        serves = dict(zip(full["index"].tolist(), targets, strict=True))
        for place, (row, served) in enumerate(zip(kept, batch["target"].tolist(), strict=True)):
            if serves[row] in bad:
                assert served == place
            else:
                assert batch["index"][served] == serves[row]
    stats = loader.stats()
    assert set(stats["quarantined"]) == {"unreadable_image", "error"}
    assert sum(stats["quarantined"].values()) == left_out
    assert stats["emitted"] + left_out == planned(stats)
    assert stats["targets"] == N
    assert {row["key"] for row in stats["quarantined_rows"]} == {"key-3", "key-20", "key-40"}
    assert any("gone" in row["message"] for row in stats["quarantined_rows"])


def test_a_transform_that_fails_on_a_picture_quarantines_it():
    def fussy(image):
        if image.getpixel((0, 0))[0] == 7:
            raise ValueError("too red")
        return to_tensor(image)

    loader = make(transform=fussy)
    list(loader)
    assert set(loader.stats()["quarantined"]) == {"transform"}
    assert "too red" in loader.stats()["quarantined_rows"][0]["message"]


def test_more_unreadable_rows_than_allowed_end_the_iteration_with_the_first_of_them():
    bad = {row: unreadable(row) for row in range(0, N, 4)}
    with pytest.raises(
        Error, match=r"max_quarantined = 0.1 .*key 'key-\d+'.*raise max_quarantined"
    ):
        list(make(FakeData(bad=bad)))
    loader = make(FakeData(bad=bad), max_quarantined=0.4)
    list(loader)
    assert sum(loader.stats()["quarantined"].values()) > 0.1 * planned(loader.stats())


def test_one_bad_row_early_in_an_epoch_is_no_reason_to_stop():
    first = rows_of(make(batch_size=4))[0][0]
    loader = make(FakeData(bad={first: unreadable(first)}), batch_size=4)
    assert sum(len(batch["index"]) for batch in loader) == loader.stats()["emitted"]


def test_no_bad_row_is_let_through_when_none_is_allowed():
    with pytest.raises(Error, match="max_quarantined = 0 "):
        list(make(FakeData(bad={9: unreadable(9)}), max_quarantined=0.0))


def test_a_batch_without_a_readable_row_is_an_error():
    bad = {row: unreadable(row) for row in range(N)}
    with pytest.raises(Error, match="no row of batch 0"):
        next(iter(make(FakeData(bad=bad), max_quarantined=1.0)))


def test_exhausted_memory_is_not_taken_for_a_bad_sample():
    with pytest.raises(MemoryError):
        list(make(FakeData(bad={5: MemoryError()})))


def test_the_list_of_quarantined_rows_is_bounded_and_their_number_is_not():
    rows = 600
    bad = {row: unreadable(row) for row in range(0, rows, 3)}
    loader = make(FakeData(rows, bad), ring(rows), max_quarantined=1.0)
    list(loader)
    assert len(loader.stats()["quarantined_rows"]) == 100
    assert loader.stats()["quarantined"]["unreadable_image"] >= 200


def test_stats_account_for_one_epoch_each_and_go_on_after_resuming():
    loader = make(FakeData(bad={3: unreadable(3)}))
    list(loader)
    whole = loader.stats()
    assert whole["epoch"] == 0
    assert whole["batches"] == len(loader)
    iterator = iter(loader)
    assert loader.stats()["batches"] == 0
    next(iterator)
    resumed = make(FakeData(bad={3: unreadable(3)}))
    resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert resumed.stats() == loader.stats()
    list(resumed)
    list(iterator)
    assert resumed.stats() == loader.stats()
    assert resumed.stats()["targets"] == N


def test_short_targets_are_skipped_filled_or_refused():
    ids = np.array([[1, 2], [0, -1], [-1, -1], [0, 1]], dtype=np.int32)
    scores = (ids >= 0).astype(np.float32)
    pairs = HardPairs.from_arrays(ids, scores, (ids >= 0).sum(1).astype(np.int32))
    options = {"batch_size": 6, "hard_per_target": 2}
    skipping = make(FakeData(4), pairs, **options)
    assert sorted(row for batch in skipping for row in targets_of(batch)) == [0, 3]
    assert skipping.stats()["skipped_targets"] == 2
    filling = make(FakeData(4), pairs, short="random", **options)
    assert sorted(row for batch in filling for row in targets_of(batch)) == [0, 1, 2, 3]
    assert filling.stats()["random_fills"] > 0
    assert filling.stats()["skipped_targets"] == 0
    with pytest.raises(InvalidArgumentError, match="2 of 4 targets"):
        make(FakeData(4), pairs, short="error", **options)


def test_without_pairs_batches_are_plain_and_shuffled():
    loader = HardPairLoader(FakeData(), None, batch_size=12, hard_per_target=0, transform=to_tensor)
    batches = list(loader)
    rows = [row for batch in batches for row in batch["index"].tolist()]
    assert sorted(rows) == list(range(N))
    assert rows != list(range(N))
    assert all(targets_of(batch) == batch["index"].tolist() for batch in batches)
    with pytest.raises(InvalidArgumentError, match="hard_per_target=0"):
        HardPairLoader(FakeData(), None)


def test_fraction_zero_gives_the_same_targets_without_hard_pairs():
    for batch, full in zip(make(fraction=0.0), make(), strict=True):
        assert batch["index"].tolist() == targets_of(full)


def test_a_table_of_another_data_set_is_refused_with_what_differs():
    with pytest.raises(MismatchError, match=r"the keys or their order differ"):
        make(pairs=ring(data_fingerprint="c" * 32))
    with pytest.raises(MismatchError, match=r"61 rows.*60 rows"):
        make(FakeData(60))


def test_a_table_without_a_fingerprint_is_compared_by_length_alone():
    assert rows_of(make(pairs=ring(data_fingerprint=""))) == rows_of(make())
    with pytest.raises(MismatchError, match=r"belongs to other data.*60 rows"):
        make(pairs=ring(60, data_fingerprint=""))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"epoch": -1}, "epoch is -1"),
        ({"rank_max": 0}, "rank_max is 0"),
        ({"rank_max": K + 1}, "rank_max = 7"),
        ({"draw_temperature": 0.0}, "draw_temperature is 0.0"),
        ({"draw_temperature": float("nan")}, "draw_temperature is nan"),
        ({"fraction": 2.0}, "fraction is 2"),
        ({"workers": -1}, "workers is -1"),
        ({"max_quarantined": 1.5}, "max_quarantined is 1.5"),
        ({"short": "drop"}, "drop"),
        ({"hard_per_target": -1}, "hard_per_target is -1"),
        ({"batch_size": 1}, "batch_size = 1"),
        ({"rank": 2, "world_size": 2}, "rank = 2"),
    ],
)
def test_options_outside_their_bounds_are_refused(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make(**options)
