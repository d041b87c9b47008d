"""helip batches: a plan of batches, and what inspect and verify say of it."""

from __future__ import annotations

import json
import sys

import numpy as np

import helip


def test_a_plan_is_written_shown_and_verified(run, store, tmp_path):
    run("mine", store, "-k", 5, "--out", tmp_path / "p", "--device", "cpu")
    plan = tmp_path / "plan"
    code, out, err = run(
        "batches", tmp_path / "p", "--batch-size", 16, "--epochs", 2, "--out", plan
    )
    assert code == 0 and f"next: helip inspect {plan}" in err
    assert "2 of 60 rows of data" in out and "by communities" in out
    assert run("inspect", plan)[1] == out
    facts = json.loads(run("inspect", plan, "--json")[1])
    assert facts["digest"] == helip.BatchPlan.open(plan).digest and facts["rows"] == 120
    assert run("verify", plan)[0] == 0
    code, _, err = run("inspect", plan, "--row", 3)
    assert code == 2 and "is no table of hard pairs" in err


def test_parquet_without_its_library_leaves_no_plan(run, store, tmp_path, monkeypatch):
    run("mine", store, "-k", 5, "--out", tmp_path / "p", "--device", "cpu")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = run("batches", tmp_path / "p", "--out", tmp_path / "plan", "--parquet")
    assert code != 0 and "helip[data]" in err
    assert not (tmp_path / "plan").exists()


def test_labels_are_written_shown_verified_and_planned_with(run, store, tmp_path):
    pairs, labels = tmp_path / "p", tmp_path / "labels"
    run("mine", store, "-k", 5, "--out", pairs, "--device", "cpu")
    np.save(tmp_path / "w.npy", np.full((60, 5), 0.5, np.float32))
    code, out, err = run("label", pairs, "--weights", tmp_path / "w.npy", "--out", labels)
    assert code == 0 and "next: helip train DATA --model MODEL" in err
    assert f"--soft-labels {labels}" in err
    assert "60 of 60 rows" in out
    assert run("inspect", labels)[1] == out
    assert run("verify", labels)[0] == 0
    code, _, err = run("inspect", labels, "--row", 3)
    assert code == 2 and "is no table of hard pairs" in err
    plan = tmp_path / "plan"
    assert run("batches", pairs, "--soft-labels", labels, "--out", plan)[0] == 0
    digest = helip.SoftLabels.open(labels).digest
    assert helip.BatchPlan.open(plan).options["soft_labels"] == digest


def test_rows_that_equal_captions_leave_out_are_shown(run, tmp_path):
    ids = np.roll(np.arange(60), 1)[:, None].astype(np.int32)
    pairs = helip.HardPairs.from_arrays(ids, np.ones((60, 1), np.float32))
    plan = helip.plan_batches(
        pairs, out=tmp_path / "plan", batch_size=20, data={"text": ["x", "y", "z"] * 20},
        unique="caption", progress=False,
    )  # fmt: skip
    left_out = 60 - len(plan.rows_of(0))
    assert left_out > 40
    assert f"{left_out} rows left out" in run("inspect", plan.path)[1]


def test_a_table_that_is_not_there_is_named(run, tmp_path):
    code, _, err = run("batches", tmp_path / "nowhere", "--batch-size", 4, "--out", tmp_path / "p")
    assert code == 1 and err.startswith("helip: there is no table of hard pairs at ")
