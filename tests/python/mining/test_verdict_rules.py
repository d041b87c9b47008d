"""Mining under verdicts, against the table of all pairs from which the excluded ones are taken."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip import HardPairs, Verdicts
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.mining import verdict_rules
from helip.verdicts import Exclusions
from support.pair_samples import ROWS, write_store


def excluded(seed: int = 1, pairs: int = 60, rows: tuple[int, ...] = ()) -> Exclusions:
    random = np.random.default_rng(seed)
    drawn = {tuple(sorted(random.choice(ROWS, 2, replace=False).tolist())) for _ in range(pairs)}
    return Exclusions(np.array(sorted(drawn), np.int64), np.array(rows, np.int64))


def expected(whole: HardPairs, out: Exclusions, k: int, skip: int) -> list[list[int]]:
    """From the pools of all pairs, by plain loops."""
    either = {frozenset(pair) for pair in out.pairs.tolist()}
    gone = set(out.rows.tolist())
    return [
        []
        if i in gone
        else [j for j in pool.ids.tolist() if frozenset((i, j)) not in either and j not in gone][
            skip : skip + k
        ]
        for i, pool in enumerate(whole)
    ]


@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize("rows", [(), (0, 5, 6, 20)], ids=["pairs", "pairs and rows"])
def test_the_next_best_pairs_fill_the_places(
    tmp_path: Path, skip: int, rows: tuple[int, ...]
) -> None:
    store = write_store(tmp_path / "s")
    options: dict[str, Any] = {"device": "cpu", "method": "exact", "progress": False}
    whole = helip.mine(store, k=ROWS, **options)
    out = excluded(rows=rows)
    mined = helip.mine(store, k=5, skip=skip, verdicts=out, **options)
    assert [pool.ids.tolist() for pool in mined] == expected(whole, out, 5, skip)
    for pool, full in zip(mined, whole, strict=True):
        scores = dict(zip(full.ids.tolist(), full.scores.tolist(), strict=True))
        assert pool.scores.tolist() == [scores[j] for j in pool.ids.tolist()]
    assert (mined.k, mined.options["k"], mined.options["skip"]) == (5, 5, skip)
    assert mined.options["verdicts"] == out.described()
    best = np.asarray(whole.ids[:, : 5 + skip], dtype=np.int64)
    assert mined.report["drops"]["verdicts"] == int(out.flags(0, best).sum()) > 0


def test_pools_that_lost_too_many_are_mined_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict_rules, "_FEW", 1)
    store = write_store(tmp_path / "s")
    whole = helip.mine(store, k=ROWS, device="cpu", progress=False)
    # What stands first in the longest pool is mismatched.
    rows = tuple(sorted(whole.ids[int(whole.counts.argmax()), :8].tolist()))
    out = excluded(pairs=1, rows=rows)
    mined = helip.mine(
        store, k=4, verdicts=out, device="cpu", progress=False, out=tmp_path / "pairs"
    )
    assert [pool.ids.tolist() for pool in mined] == expected(whole, out, 4, 0)
    assert mined.report["mined_k"] > 4 + out.most + 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pairs", "s"]


def test_a_file_of_verdicts_is_obeyed_and_a_table_answers_for_its_own_alone(
    tmp_path: Path,
) -> None:
    store = write_store(tmp_path / "s")
    options: dict[str, Any] = {"k": 3, "device": "cpu", "progress": False}
    plain = helip.mine(store, **options)
    target, hard = 1, int(plain.ids[1, 0])
    path = tmp_path / "v"
    with Verdicts.open(path, pairs=plain) as verdicts:
        verdicts.add(hard, target, "false negative", person="Ada")
    out = tmp_path / "pairs"
    mined = helip.mine(store, verdicts=path, out=out, **options)
    assert hard not in mined[target].ids
    assert target not in mined[hard].ids
    assert len(mined[target]) == 3
    again = helip.mine(store, verdicts=path, out=out, **options)
    np.testing.assert_array_equal(again.ids, mined.ids)
    with pytest.raises(MismatchError, match="was mined under verdicts"):
        helip.mine(store, out=out, **options)
    with Verdicts.open(path) as verdicts:
        verdicts.undo("Ada")
    with pytest.raises(MismatchError, match="was mined under other verdicts"):
        helip.mine(store, verdicts=path, out=out, **options)
    with pytest.raises(UnsupportedError, match="under verdicts, and pairs that people took"):
        helip.update(out, store, progress=False)
    with pytest.raises(InvalidArgumentError, match=r"filtered by .*verdicts.* the other by"):
        mined.join(plain, progress=False)


def test_another_jobs_longer_pools_stay_whatever_the_name_of_a_table(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s")
    options: dict[str, Any] = {"k": 3, "verdicts": excluded(), "device": "cpu", "progress": False}
    own, other = tmp_path / "pairs[1].longer-7", tmp_path / "pairs1.longer-7"
    helip.mine(store, out=tmp_path / "pairs[1]", **options)
    for folder in (own, other):
        folder.mkdir()
    helip.mine(store, out=tmp_path / "pairs[1]", **options)  # it is there
    assert (own.exists(), other.exists()) == (False, True)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s")
    with helip.EmbeddingStore.create(tmp_path / "o", image_dim=8, text_dim=6) as writer:
        rows = np.ones((ROWS, 14), np.float32)
        writer.append([f"other {row}" for row in range(ROWS)], rows[:, :8], rows[:, 8:])
    other = helip.EmbeddingStore.open(tmp_path / "o")
    Verdicts.open(tmp_path / "v", pairs=other).close()
    with pytest.raises(MismatchError, match="belongs to other data than this: the keys"):
        helip.mine(store, verdicts=tmp_path / "v", progress=False)
    with pytest.raises(InvalidArgumentError, match="verdicts is 3, must be open Verdicts"):
        helip.mine(store, verdicts=3, progress=False)
    beyond = Exclusions(np.array([[0, ROWS]]), np.array([], np.int64))
    with pytest.raises(InvalidArgumentError, match=f"name rows 0 to {ROWS}, must be 0 to"):
        helip.mine(store, verdicts=beyond, progress=False)
    with pytest.raises(InvalidArgumentError, match=r"part is \(1, 2\), and verdicts are given"):
        helip.mine(store, verdicts=excluded(), part=(1, 2), out=tmp_path / "part", progress=False)


def test_what_the_user_should_know_is_told_once_and_of_the_users_line(tmp_path: Path) -> None:
    path, image = tmp_path / "s", np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    with helip.EmbeddingStore.create(path, image_dim=6, text_dim=6) as writer:
        writer.append([str(row) for row in range(300)], image, image)
        writer.commit({"complete": False})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        helip.mine(path, k=5, verdicts=excluded(), method="hnsw", recall=1.0)
    words = [str(each.message) for each in told]
    for part in ("has 300 rows so far", "image and text are the same", "below recall = 1.0"):
        assert sum(part in each for each in words) == 1, words
    assert {each.filename for each in told} == {__file__}
