"""The operator helip::product_topk, and the library that brings it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from helip import device


@pytest.fixture(scope="module", autouse=True)
def _library():
    # An installed package has the library; a build tree names it.
    device.load_library(os.environ.get("HELIP_TORCH_LIBRARY"))


def step(rows, columns, *, row_ids=None, column_ids=None, c=3, margin=0.0, **options):
    m, n = len(rows), len(columns)
    arguments = {"image_max": 1.0, "text_max": 1.0, "min_score": 0.0, "signed": False}
    return torch.ops.helip.product_topk(
        rows,
        columns,
        torch.full((n,), margin),
        None,
        None,
        None,
        torch.arange(m) if row_ids is None else row_ids,
        torch.arange(100, 100 + n) if column_ids is None else column_ids,
        options.pop("best_scores", torch.full((m, c), -torch.inf)),
        options.pop("best_ids", torch.full((m, c), -1)),
        **(arguments | options),
    )


def test_operator_merges_into_the_running_best_and_leaves_its_inputs():
    best = torch.tensor([[0.5, 0.2, -torch.inf]])
    best_ids = torch.tensor([[7, 8, -1]])
    columns = torch.tensor([[0.3], [0.9], [-0.4]])
    scores, ids = step(torch.ones(1, 1), columns, best_scores=best, best_ids=best_ids)
    assert ids.tolist() == [[101, 7, 100]]
    assert scores.tolist() == [pytest.approx([0.9, 0.5, 0.3])]
    assert best.tolist() == [pytest.approx([0.5, 0.2, -float("inf")])]


def test_operator_drops_self_duplicates_nonpositive_and_nan():
    columns = torch.tensor([[0.5], [0.99], [-0.1], [0.0], [float("nan")], [float("inf")], [0.4]])
    ids = torch.tensor([0, 1, 2, 3, 4, 5, 6])
    scores, ids = step(torch.ones(1, 1), columns, column_ids=ids, image_max=0.98)
    assert ids.tolist() == [[6, -1, -1]]
    assert scores[0, 1:].tolist() == [-float("inf")] * 2


def test_operator_keeps_what_its_margin_cannot_rule_out():
    columns = torch.tensor([[0.985], [-0.005], [0.995], [-0.02]])
    _, ids = step(torch.ones(1, 1), columns, margin=0.01, image_max=0.98, c=4)
    assert ids.tolist() == [[100, 101, -1, -1]]


@pytest.mark.parametrize(
    "change",
    [
        {"row_ids": torch.zeros(2)},
        {"row_ids": torch.zeros(1, dtype=torch.int64)},
        {"best_scores": torch.zeros(2, 0)},
        {"min_score": -1.0},
        {"rows": torch.ones(2, 5)},
        {"rows": torch.ones(2, 4, dtype=torch.float64)},
    ],
)
def test_operator_refuses_tensors_that_do_not_fit(change):
    arguments = {"rows": torch.ones(2, 4), "columns": torch.ones(3, 4)} | change
    with pytest.raises(RuntimeError, match="product_topk"):
        step(arguments.pop("rows"), arguments.pop("columns"), **arguments)


def test_the_library_needs_no_cpp_symbol_of_torch():
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    paths = [Path(p) for p in torch.ops.loaded_libraries if "libhelip_torch" in p]
    assert paths
    for path in paths:
        listing = subprocess.run(
            [nm, "-DC", "--undefined-only", path], check=True, capture_output=True, text=True
        ).stdout
        assert "torch_call_dispatcher" in listing
        namespaces = ("at::", "c10::", "torch::")
        assert [line for line in listing.splitlines() if any(n in line for n in namespaces)] == []
