"""Updates are planned from a table and its store, or from the size of what is not there yet."""

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
        "added": NEW, "deleted": 2, "replaced": 0, "certified_before": 0,
        "lost": pytest.approx(lost.mean()), "rebuilt": False,
    }  # fmt: skip
    assert (plan.method, plan.rows_from, bool(plan.stages)) == (
        method, "data", method == "partition",
    )  # fmt: skip
    certificate = (ROWS + NEW) * 12 * 6 if method == "partition" else 0  # of all rows, so few
    assert plan.disk_bytes == (ROWS + NEW) * (8 * 5 + 4) + certificate
    did = helip.update(table, store, out=tmp_path / "u", threads=1, progress=False).report["update"]
    assert did["added"] == NEW and did["deleted"] == 2
    if method == "exact":
        assert plan.pairs == pytest.approx(did["pairs"], rel=0.02)


@pytest.mark.parametrize("method", ["exact", "partition"])
def test_a_table_that_is_up_to_date_takes_nothing(tmp_path: Path, method: str) -> None:
    plan = helip.plan(grown(tmp_path, added=0), update=tmp_path / method)
    assert (plan.seconds, plan.disk_bytes, plan.stages) == (0, 0, ())
    assert "up to date" in plan.reason


def test_what_is_not_there_yet_is_assumed_to_be_deleted_at_random() -> None:
    call: dict[str, Any] = {"rows": 1_000_000, "dims": (8, 8), "k": 50, "threads": 1}
    plan = helip.plan(**call, method="partition", added=20_000, deleted=1000)
    assert plan.update["lost"] == pytest.approx(1 - (1 - 1000 / 980_000) ** 50)
    assert 900 < plan.update["certified_before"] < 980
    assert plan.stages[0].name == "centres" and plan.rows_from == "dims"
    assert helip.plan(**call, method="exact", added=20_000).update["lost"] == 0


def test_fewer_new_rows_cost_less_and_more_machines_take_less_time() -> None:
    call: dict[str, Any] = {"rows": 9_000_000, "dims": (512, 512), "method": "partition"}
    call |= {"cluster_rows": 500_000, "engine": "ray", "threads": 8}
    few, many = (helip.plan(**call, added=n).seconds for n in (9000, 90_000))
    afresh = helip.plan(**call).seconds
    assert few < many < afresh
    assert helip.plan(**call, added=90_000, machines=4).seconds < 0.5 * many
    exact = {"rows": 10**6, "dims": (512, 512), "method": "exact", "threads": 1}
    few, many = (helip.plan(**exact, added=n).seconds for n in (1000, 50_000))
    assert few < many < helip.plan(**exact, device="cpu").seconds


def test_an_exact_table_of_which_most_changed_is_planned_as_mined_afresh() -> None:
    call: dict[str, Any] = {"rows": 3000, "dims": (8, 8), "k": 5, "method": "exact"}
    plan = helip.plan(**call, added=2000)
    assert plan.reason.startswith("mined afresh, because of most rows meet every row; ")
    assert plan.pairs == 3000 * 2999 and plan.update["added"] == 2000
    assert "because of skip" in helip.plan(**call, skip=2, added=3).reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 7}, "and k given as well; a table is updated with what it was mined with"),
        ({"cluster_rows": 100, "added": 3}, "cluster_rows, added given as well"),
        ({"store": None}, "give the store that was mined, as it is now"),
        ({"image": np.ones((4, 8))}, "give the store that was mined"),
        ({"machines": 2}, "engine is 'threads' and machines 2, and one process updates a table"),
        ({"engine": "local"}, "engine is 'local' and machines 1, and one process updates"),
    ],
    ids=str,
)
def test_what_an_update_does_not_take_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    call = {"store": grown(tmp_path), "update": tmp_path / "exact", **options}
    with pytest.raises(InvalidArgumentError, match=message):
        helip.plan(**call)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"added": 3}, InvalidArgumentError, "method 'auto'; tables that were mined with method"),
        ({"added": 100}, InvalidArgumentError, "must be less than rows = 100 together"),
        ({"added": -1}, InvalidArgumentError, "added is -1, must be"),
        ({"rows": None, "dims": None, "deleted": 1}, InvalidArgumentError, "give rows and dims"),
        ({"deleted": 1, "method": "partition", "skip": 2}, UnsupportedError, "skip is 2, and such"),
        ({"deleted": 1, "method": "exact", "device": "cuda"}, UnsupportedError, "device is 'cuda'"),
    ],
    ids=str,
)
def test_a_size_that_is_no_update_is_refused(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    method = {"method": "exact"} if options.get("added") in (100, -1) else {}
    with pytest.raises(kind, match=message):
        helip.plan(**{"rows": 100, "dims": (4, 4), **method, **options})


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


def test_a_graph_of_hnswlib_is_planned() -> None:
    pytest.importorskip("hnswlib", reason="hnswlib is of the extra hnswlib")
    call: dict[str, Any] = {"method": "hnsw", "graph": "hnswlib", "k": 50, "threads": 2}
    plan = helip.plan(rows=100_000, dims=(512, 768), **call)
    assert plan.memory_bytes == 100_000 * (4 * 1280 + 288)
    assert "hnswlib" in plan.reason and plan.rows_from == "dims"
    more = helip.plan(rows=200_000, dims=(512, 768), **call)
    assert 2 < more.seconds / plan.seconds < 2.2
    rows = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    given = helip.plan(image=rows, text=rows, **call)
    assert given.memory_bytes == 300 * (4 * 16 + 288) and given.rows_from == "data"
    alone = helip.plan(image=rows, modality="image", **call)
    assert alone.memory_bytes == 300 * (4 * 8 + 288)
    with pytest.raises(helip.Error, match=r"takes 5\d+.* in hnswlib, more than memory = 1000"):
        helip.plan(rows=100_000, dims=(512, 768), **call, memory=1000)
    with pytest.raises(InvalidArgumentError, match="graph is 'hnswlib' and method is 'exact'"):
        helip.plan(rows=100, dims=(4, 4), graph="hnswlib", method="exact")
