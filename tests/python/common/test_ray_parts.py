"""A cluster whose nodes do not share the output is told before a part is mined."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helip.common import ray_parts
from helip.common.errors import StorageError
from helip.common.files import DirectoryLock


class Cluster:
    """What `require_shared` asks of Ray, of nodes that see the files below folders of their own.

    ``views``: address → (what stands for a node's root, or None for this machine's).
    """

    def __init__(self, views: dict[str, Path | None], root: Path) -> None:
        self._views, self._root = views, root
        strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
        self.util = SimpleNamespace(scheduling_strategies=strategies)
        self.asked: list[str] = []

    def nodes(self) -> list[dict[str, Any]]:
        alive = [
            {"NodeID": node, "NodeManagerAddress": node, "Alive": True} for node in self._views
        ]
        return [*alive, {"NodeID": "gone", "Alive": False}]

    def remote(self, **_: Any) -> Callable[[Callable[..., Any]], Any]:
        def decorate(work: Callable[..., Any]) -> Any:
            return SimpleNamespace(
                options=lambda scheduling_strategy: SimpleNamespace(
                    remote=lambda lock, contents: self._on(
                        scheduling_strategy, work, lock, contents
                    )
                )
            )

        return decorate

    def _on(self, node: str, work: Callable[..., Any], lock: str, contents: bytes) -> Any:
        self.asked.append(node)
        view = self._views[node]
        place = Path(lock) if view is None else view / Path(lock).relative_to(self._root)
        return work(str(place), contents)

    def get(self, answer: Any) -> Any:
        return answer


@pytest.fixture(autouse=True)
def no_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_parts, "LAG", 0.0)


def folder(tmp_path: Path, name: str = "out") -> Path:
    (tmp_path / name).mkdir(parents=True)
    return tmp_path / name


def test_nodes_that_share_the_output_are_all_asked(tmp_path: Path) -> None:
    out = folder(tmp_path)
    cluster = Cluster({"a": None, "b": None}, tmp_path)
    with DirectoryLock(out):
        ray_parts.require_shared(cluster, out / "lock")
    assert cluster.asked == ["a", "b"]


def test_one_node_shares_with_itself(tmp_path: Path) -> None:
    out = folder(tmp_path)
    cluster = Cluster({"a": tmp_path / "elsewhere"}, tmp_path)
    with DirectoryLock(out):
        ray_parts.require_shared(cluster, out / "lock")
    assert not cluster.asked


@pytest.mark.parametrize("there", ["nothing", "another file"])
def test_a_node_with_a_disk_of_its_own_is_named(tmp_path: Path, there: str) -> None:
    out = folder(tmp_path, "here/out")
    other = folder(tmp_path, "there/out")
    if there == "another file":  # of an earlier job of that node
        (other / "lock").write_text("pid 1 on b\n")
    cluster = Cluster({"a": None, "b": tmp_path / "there"}, tmp_path / "here")
    words = r"the node b does not see .*here/out, which all .* share; let out be on a file system"
    with DirectoryLock(out), pytest.raises(StorageError, match=words):
        ray_parts.require_shared(cluster, out / "lock")


def test_where_out_is_a_url_the_cache_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIP_CACHE", str(tmp_path / "here"))
    out = folder(tmp_path, "here/scratch/0/out")
    cluster = Cluster({"a": None, "b": tmp_path / "there"}, tmp_path / "here")
    words = "out is a URL, .* set HELIP_CACHE to one on a file system that all nodes share"
    with DirectoryLock(out), pytest.raises(StorageError, match=words):
        ray_parts.require_shared(cluster, out / "lock")
