"""A loader that is given another table of the same data."""

from __future__ import annotations

import numpy as np
import pytest

import helip
from helip.common.errors import Error, InvalidArgumentError, MismatchError
from helip.loading.loader import HardPairLoader
from helip.verdicts.verdicts import Verdicts
from support.loader_samples import drawing
from support.train_samples import Colours, table

DATA = Colours()
STRATEGIES = ["uniform", "communities", "walk"]


def make(pairs=None, **options) -> HardPairLoader:
    options = {"batch_size": 8, "seed": 5, "transform": np.asarray, "workers": 0, **options}
    return HardPairLoader(DATA, table(DATA) if pairs is None else pairs, **drawing(options))


def told(batches) -> list[dict[str, list]]:
    names = ("index", "target", "hard_rows")
    return [{n: batch[n].tolist() for n in names if n in batch} for batch in batches]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_between_epochs_the_next_one_is_made_of_it(tmp_path, strategy):
    other = table(DATA, shift=5)
    other.save(tmp_path / "pairs")
    loader = make(strategy=strategy)
    first = told(loader)
    loader.set_pairs(tmp_path / "pairs")
    second = told(loader)
    assert first == told(make(strategy=strategy))
    assert second == told(make(other, strategy=strategy, epoch=1))
    assert second != told(make(strategy=strategy, epoch=1))
    assert loader.stats() == _stats(make(other, strategy=strategy, epoch=1))


def _stats(loader: HardPairLoader) -> dict:
    list(loader)
    return loader.stats()


def test_within_an_epoch_it_begins_again():
    other, loader = table(DATA, shift=5), make()
    batches = iter(loader)
    next(batches)
    loader.set_pairs(other)
    with pytest.raises(Error, match="once at a time"):
        next(batches)
    assert told(loader) == told(make(other))


def test_a_state_of_it_goes_on_with_it():
    other, whole = table(DATA, shift=5), make(strategy="communities")
    whole.set_pairs(other)
    batches = iter(whole)
    next(batches)
    state = whole.state_dict()
    again = make(strategy="communities")
    again.set_pairs(other)
    again.load_state_dict(state)
    assert told(again) == told(batches)


def test_what_people_took_out_is_left_out_of_it_too(tmp_path):
    other = table(DATA, shift=5)
    with Verdicts.open(tmp_path / "verdicts", pairs=other) as verdicts:
        verdicts.add(0, 5, "near duplicate", person="Ada")
    loader = make(verdicts=tmp_path / "verdicts")
    assert loader.stats()["verdicts"]["hard_pairs"] == 0
    loader.set_pairs(other)
    assert loader.stats()["verdicts"]["hard_pairs"] == 1


def test_it_must_be_of_the_data_and_fit_the_options():
    loader = make(strategy="communities", rank_max=3)
    with pytest.raises(MismatchError, match="belongs to other data"):
        loader.set_pairs(table(Colours(prefix="other")))
    ids = np.roll(np.arange(24, dtype=np.int32), -1)[:, None]
    narrow = helip.HardPairs.from_arrays(
        ids, np.full((24, 1), 0.5, np.float32), data_fingerprint=DATA.fingerprint
    )
    with pytest.raises(InvalidArgumentError, match=r"rank_max = 3 must lie in 1 .. k = 1"):
        loader.set_pairs(narrow)
    assert told(loader) == told(make(strategy="communities", rank_max=3))  # which is as it was
