"""The parts of bench/experiments that decide what its tables say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from helip_demo.data import Picture


def _run(value: float, ranks: list[int]) -> dict[str, Any]:
    return {"figures": {"held-out": value}, "ranks": {"variants I→T": ranks}}


def test_the_interval_of_a_mean_over_seeds_is_students(experiments: Any) -> None:
    summary = experiments("summary")
    found = summary.mean([0.1, 0.2, 0.6])
    # t(0.975, 2) = 4.302653, standard deviation 0.264575.
    half = 4.302653 * 0.264575 / math.sqrt(3)
    assert found["value"] == pytest.approx(0.3)
    assert found["high"] - found["value"] == pytest.approx(half, rel=1e-5)
    assert math.isnan(summary.mean([0.1])["low"])


def test_a_difference_is_taken_seed_by_seed(experiments: Any) -> None:
    summary = experiments("summary")
    a = {seed: _run(value, [1]) for seed, value in enumerate((0.2, 0.5, 0.9))}
    b = {seed: _run(value, [1]) for seed, value in enumerate((0.1, 0.4, 0.8))}
    found = summary.difference(a, b, "held-out")
    assert found["value"] == pytest.approx(0.1)
    assert found["high"] - found["low"] < 1e-9


def test_the_bootstrap_over_queries_is_of_the_mean_over_seeds(experiments: Any) -> None:
    summary = experiments("summary")
    ranks = [1] * 60 + [2] * 40
    a = {0: _run(0, ranks), 1: _run(0, [1] * 100)}
    b = {0: _run(0, [2] * 100), 1: _run(0, [2] * 100)}
    found = summary.over_queries(a, b)
    assert found["value"] == pytest.approx(0.8)
    # Queries gain 1 or 0.5: the standard error of their mean is 0.5 * sqrt(0.24 / 100).
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 0.0245, rel=0.15)


def test_no_held_out_emoji_is_trained_on_in_any_hand(experiments: Any) -> None:
    sets = experiments("emoji_sets")
    names = [f"{who} {what}" for what in ("cook", "judge", "pilot", "singer", "farmer", "diver")
             for who in ("man", "woman", "person", "boy", "girl", "adult", "mx")]  # fmt: skip

    def drawn(vendor: str) -> list[Picture]:
        return [
            Picture(f"1f{n:03x}", name, name.split()[1], "person", f"{vendor}{name}".encode())
            for n, name in enumerate(names)
        ]

    of = {vendor: drawn(vendor) for vendor in sets.VENDORS}
    # One designer drew a held-out emoji as they drew one that is trained on.
    plain = sets.divide(of)
    held = next(row for row in plain["heldout-variants"] if row.key.startswith("google/"))
    trained = plain["train"][0]
    vendor, key = held.key.split("/")
    of[vendor] = [
        Picture(p.key, p.caption, p.concept, p.group, trained.png) if p.key == key else p
        for p in of[vendor]
    ]
    splits = sets.divide(of)

    captions = {name: {row.caption for row in rows} for name, rows in splits.items()}
    concepts = {name: {row.concept for row in rows} for name, rows in splits.items()}
    assert splits["heldout-variants"] and splits["heldout-concepts"]
    for name in ("heldout-variants", "heldout-concepts"):
        assert not captions[name] & captions["train"]
    assert not concepts["heldout-concepts"] & concepts["train"]
    assert concepts["heldout-variants"] <= concepts["train"]
    assert [row.key for row in splits["left-out"]] == [held.key]
    assert sum(map(len, splits.values())) == 3 * len(names)
    keys = [row.key for rows in splits.values() for row in rows]
    assert len(set(keys)) == len(keys)


def test_what_is_kept_depends_on_what_is_done_and_not_on_its_name(
    experiments: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, variants = experiments("runs"), experiments("variants")
    setting = experiments("setting")
    monkeypatch.setattr(setting, "data", lambda split: type("Data", (), {"fingerprint": "f"}))
    Variant, pool = variants.Variant, setting.POOL
    same = Variant("HELIP"), Variant("p = 1", {"hard_per_target": 1}, dict(pool))
    assert runs.identity(same[0], 0) == runs.identity(same[1], 0)
    assert runs.identity(same[0], 0) != runs.identity(same[0], 1)
    for other in (
        Variant("HELIP", {"gamma": 0.5}),
        Variant("HELIP", pool={**pool, "k": 20}),
        Variant("HELIP", start="slip"),
        Variant("HELIP", {"control": True}),
        Variant("HELIP", pool={"memory": 100}),
    ):
        assert runs.identity(other, 0) != runs.identity(same[0], 0)
    # A control takes no pool, so that there is one for all of them.
    control = {"control": True}
    assert runs.identity(Variant("a", control), 0) == runs.identity(
        Variant("b", control, {**pool, "modality": "text"}), 0
    )


def test_a_result_is_kept_whole_or_not_at_all(
    experiments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = experiments("setting")
    monkeypatch.setattr(setting, "CACHE", tmp_path)
    made = []

    def fails(folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("disk")

    def works(folder: Path) -> None:
        made.append(folder)
        (folder / "whole").write_text("")

    with pytest.raises(OSError, match="disk"):
        setting.cached("runs", {"a": 1}, fails)
    first = setting.cached("runs", {"a": 1}, works)
    assert setting.cached("runs", {"a": 1}, works) == first and len(made) == 1
    assert sorted(path.name for path in first.iterdir()) == ["identity.json", "whole"]
    assert setting.cached("runs", {"a": 2}, works) != first


def test_random_pools_hold_other_rows_each_once(experiments: Any) -> None:
    ids = experiments("pools").random_pools(60, 20, 0)
    assert ids.shape == (60, 20)
    for row, pool in enumerate(ids):
        assert row not in pool and len(set(pool)) == 20
    assert set(ids.ravel()) == set(range(60))


def test_a_table_compares_each_variant_with_what_it_is_held_to(experiments: Any) -> None:
    summary = experiments("summary")
    results = {
        "a": {0: _run(0.10, [2, 2]), 1: _run(0.12, [2, 2])},
        "b": {0: _run(0.30, [1, 1]), 1: _run(0.32, [1, 1])},
        "c": {0: _run(0.35, [1, 1]), 1: _run(0.37, [1, 1])},
    }
    cells = summary.table(results, {"b": "a", "c": "b"}, ("held-out",))
    assert cells[0] == ["", "held-out", "gain over", "in held-out, over seeds", "over queries"]
    assert cells[1] == ["a", "11.0", "", "", ""]
    assert cells[2][:4] == ["b", "31.0", "a", "+20.00 [+20.00, +20.00]"]
    assert cells[3][:4] == ["c", "36.0", "b", "+5.00 [+5.00, +5.00]"]
    assert cells[2][4] == "+100.00 [+100.00, +100.00]" and cells[3][4].startswith("+0.00")


def test_pages_hold_the_tables_of_the_results(experiments: Any) -> None:
    records = experiments("records")
    for page in records.PAGES:
        text = page.read_text(encoding="utf-8")
        assert text == records.rendered(text), page.name


def test_a_table_on_a_page_is_replaced_by_that_of_its_result(
    experiments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = experiments("records")
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    table = [["", "recall", "gain"], ["control", "1.5", ""], ["HELIP", "2.0", "+0.5 [+0.1, +0.9]"]]
    records.write("some", {"title": "Some", "table": table, "runs": {"control": {"0": {"a": 0.5}}}})
    assert records.read("some")["runs"]["control"]["0"] == {"a": 0.5}
    page = "Before.\n\n<!-- table some -->\nold\n<!-- end -->\n\nAfter: 5.\n"
    assert records.rendered(page) == (
        "Before.\n\n<!-- table some -->\n|  | recall | gain |\n| --- | ---: | --- |\n"
        "| control | 1.5 |  |\n| HELIP | 2.0 | +0.5 [+0.1, +0.9] |\n<!-- end -->\n\nAfter: 5.\n"
    )


def test_the_plan_of_all_experiments_counts_their_runs(
    experiments: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = experiments("run")
    for family in run.FAMILIES:
        monkeypatch.setattr(family, "done", lambda variant, seed: False)
        monkeypatch.setattr(family, "identity", lambda variant, seed: [id(variant), seed])
    names = list(run.FAMILY_OF)
    run.plan(names, {name: [0, 1] for name in names}, 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == names
    towers = next(line for line in lines if line.startswith("icons-towers")).split()
    runs = str(2 * len(run.experiment_of("icons-towers").variants))
    assert towers[1:4] == [runs, "of", runs] and int(towers[7]) > 30


def test_a_gain_is_the_mean_difference_seed_by_seed_and_of_one_seed_has_no_interval(
    experiments: Any,
) -> None:
    summary = experiments("summary")
    runs = {
        "a": {seed: {"test": {"mean": value}} for seed, value in enumerate((0.3, 0.5, 0.4))},
        "b": {seed: {"test": {"mean": value}} for seed, value in enumerate((0.2, 0.3, 0.1))},
    }
    found = summary.gain({"runs": runs, "part": "test"}, "a", "b")
    half = 4.303 * 0.1 / 3**0.5  # Student's t of two degrees, standard deviation 0.1
    assert found["value"] == pytest.approx(0.2)
    assert found["high"] - found["value"] == pytest.approx(half, rel=1e-3)
    assert summary.points(found) == "+20.00 [-4.84, +44.84]"
    one = {name: {0: of[0]} for name, of in runs.items()}
    assert summary.points(summary.gain({"runs": one, "part": "test"}, "a", "b")) == "+10.00"
