"""When a call goes in stages."""

from __future__ import annotations

import pytest

from helip.mining.engines.stages import asks_for_stages


@pytest.mark.parametrize(
    ("method", "cluster_rows", "engine", "asked"),
    [
        ("partition", None, "threads", False),
        ("partition", 500, "threads", True),
        ("partition", None, "local", True),
        ("partition", 500, "ray", True),
        ("partition", None, "ray", False),  # in shares
        ("exact", None, "ray", False),  # likewise
    ],
)
def test_stages_are_of_partition(
    method: str, cluster_rows: int | None, engine: str, asked: bool
) -> None:
    assert asks_for_stages(method, cluster_rows, engine) is asked
