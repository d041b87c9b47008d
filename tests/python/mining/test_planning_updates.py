"""Updates are planned from a table and its store."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError

ROWS, NEW = 400, 40


def grown(path: Path, *, added: int = NEW, deleted: tuple[int, ...] = ()) -> helip.EmbeddingStore:
    """A store of ROWS rows and a table of each method, before so many came and went."""
    values = np.random.default_rng(0).normal(size=(ROWS + NEW, 16)).astype(np.float32) + 0.4
    with helip.EmbeddingStore.create(path / "s", image_dim=8, text_dim=8) as writer:
        first = values[:ROWS]
        writer.append([str(x) for x in range(ROWS)], first[:, :8].copy(), first[:, 8:].copy())
    for method in ("exact", "partition"):
        helip.mine(path / "s", k=5, method=method, device="cpu", out=path / method, progress=False)
    with helip.EmbeddingStore.append_to(path / "s") as writer:
        last = values[ROWS : ROWS + added]
        keys = [str(x) for x in range(ROWS, ROWS + added)]
        writer.append(keys, last[:, :8].copy(), last[:, 8:].copy())
        writer.delete(list(deleted))
    return helip.EmbeddingStore.open(path / "s")


@pytest.mark.parametrize("method", ["exact", "partition"])
def test_what_came_and_went_is_read_from_the_store(tmp_path: Path, method: str) -> None:
    store = grown(tmp_path, deleted=(3, 7))
    plan = helip.plan(store, update=tmp_path / method, threads=1)
    table = helip.HardPairs.open(tmp_path / method)
    there = np.setdiff1d(np.arange(ROWS), (3, 7))
    lost = np.isin(table.ids[there], (3, 7)).any(axis=1) & (table.counts[there] == 5)
    assert plan.update == {
        "added": NEW, "deleted": 2, "replaced": 0, "lost": pytest.approx(lost.mean()),
        "rebuilt": False,
    }  # fmt: skip
    assert (plan.method, plan.seconds) == (method, None)
    assert bool(plan.stages) == (method == "partition")
    assert plan.disk_bytes == (ROWS + NEW) * (8 * 5 + 4)
    did = helip.update(table, store, out=tmp_path / "u", threads=1, progress=False).report["update"]
    assert did["added"] == NEW and did["deleted"] == 2
    if method == "exact":
        assert plan.pairs == pytest.approx(did["pairs"], rel=0.02)


@pytest.mark.parametrize("method", ["exact", "partition"])
def test_a_table_that_is_up_to_date_takes_nothing(tmp_path: Path, method: str) -> None:
    plan = helip.plan(grown(tmp_path, added=0), update=tmp_path / method)
    assert (plan.seconds, plan.disk_bytes, plan.stages) == (0, 0, {})
    assert "up to date" in plan.reason


def test_an_exact_table_of_which_most_changed_is_planned_as_mined_afresh(tmp_path: Path) -> None:
    store = grown(tmp_path, deleted=tuple(range(0, ROWS, 2)))
    plan = helip.plan(store, update=tmp_path / "exact")
    assert plan.reason.startswith("mined afresh, because of most rows meet every row; ")
    assert plan.update["added"] == NEW and plan.seconds is not None
    first = helip.mine(
        store, k=5, method="exact", skip=2, device="cpu", out=tmp_path / "skipped", progress=False
    )
    with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
        writer.delete([1])
    assert "because of skip" in helip.plan(tmp_path / "s", update=first).reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 7}, "and k given as well; a table is updated with what it was mined with"),
        ({"graph": "hnswlib", "cluster_rows": 100}, "graph, cluster_rows given as well"),
        ({"store": None}, "give the store that was mined, as it is now"),
        ({"image": np.ones((4, 8))}, "give the store that was mined"),
        ({"engine": "local"}, "engine is 'local', and one process updates a table"),
    ],
    ids=str,
)
def test_what_an_update_does_not_take_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    call = {"store": grown(tmp_path), "update": tmp_path / "exact", **options}
    with pytest.raises(InvalidArgumentError, match=message):
        helip.plan(**call)


def test_a_table_that_cannot_be_updated_is_refused(tmp_path: Path) -> None:
    store = grown(tmp_path)
    sampled = helip.mine(store, k=5, method="sample", candidates=100, device="cpu", progress=False)
    with pytest.raises(UnsupportedError, match="was mined with method 'sample', and tables"):
        helip.plan(store, update=sampled)
    other = grown(tmp_path / "other", added=0)
    table = helip.mine(other, k=5, method="exact", device="cpu", progress=False)
    with warnings.catch_warnings(), pytest.raises(MismatchError, match="never was that store"):
        helip.plan(grown(tmp_path / "third", deleted=(1,)), update=_of_another(table))


def _of_another(table: helip.HardPairs) -> helip.HardPairs:
    return helip.HardPairs.from_arrays(
        table.ids, table.scores, fingerprint="0" * 32, options=table.options
    )
