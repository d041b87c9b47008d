"""A Ray cluster of two nodes, each with a raylet of its own; one dies in mid-job."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import UnsupportedError
from helip.common.parts import shares_folder
from helip.common.ray_parts import quoted_python
from support.mined_samples import files_of

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

ROWS = 25_000
CALL = {"k": 10, "recall": 0.9, "device": "cpu", "progress": False}


@pytest.fixture
def cluster() -> Iterator[Any]:
    nodes = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    ray.init(
        address=nodes.address, log_to_driver=False, logging_level="error",
        runtime_env={
            "env_vars": {"PYTHONPATH": str(Path(helip.__file__).parent.parent)},
            **quoted_python(),
        },
    )  # fmt: skip
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def done(out: Path) -> int:
    """Shares that lie there, and what all of them begin with."""
    return len(list(shares_folder(out).glob("*/manifest.json")))


@pytest.mark.parametrize("method", ["exact", "partition"])
def test_a_lost_node_costs_its_parts_and_no_byte(cluster: Any, tmp_path: Path, method: str) -> None:
    lost, _ = (cluster.add_node(num_cpus=1) for _ in range(2))
    cluster.wait_for_nodes()
    store, out = tmp_path / "s", tmp_path / "p"
    random = np.random.default_rng(0)
    centres = random.normal(size=(300, 96))[random.integers(300, size=ROWS)]
    values = centres + 0.6 * random.normal(size=(ROWS, 96))
    with helip.EmbeddingStore.create(store, image_dim=64, text_dim=32) as writer:
        writer.append([str(i) for i in range(ROWS)], values[:, :64], values[:, 64:])
    left: list[int] = []

    def lose() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and done(out) < 4:
            time.sleep(0.02)
        cluster.remove_node(lost, allow_graceful=False)
        left.append(done(out))

    loser = threading.Thread(target=lose)
    loser.start()
    pairs = helip.mine(
        store, out=out, method=method, engine="ray", parts=9, threads=1, keep_codes=True, **CALL
    )
    loser.join()
    assert 4 <= left[0] < 19  # it was lost in mid-job
    assert (store / "codes" / "manifest.json").exists()  # which all shares had begun with
    pairs.verify()
    assert pairs.report.get("partition", {}).get("exact", False) is False
    helip.mine(store, out=tmp_path / "whole", method=method, **CALL)
    assert files_of(out) == files_of(tmp_path / "whole")


def test_nodes_of_other_kernels_are_named(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    values = np.random.default_rng(0).normal(size=(5000, 14))
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=6) as writer:
        writer.append([str(i) for i in range(5000)], values[:, :8], values[:, 8:])
    monkeypatch.setattr("helip._core.kernel_name", lambda: "another")
    with pytest.raises(UnsupportedError, match=r"kernel of the node .*, and of this .* another"):
        helip.mine(tmp_path / "s", out=tmp_path / "p", method="partition", engine="ray", **CALL)
