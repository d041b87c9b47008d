"""Progress of jobs: records of their beginning and end, callbacks, and nothing on the root."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common import progress
from helip.common.progress import Follower, ProgressBar
from helip.common.quantities import bytes_words

IMAGE, TEXT = np.random.default_rng(0).normal(size=(2, 40, 8)) + 0.4


def test_importing_and_mining_leave_the_root_logger_alone() -> None:
    code = (
        "import logging, numpy as np, helip\n"
        "assert [type(h) for h in logging.getLogger('helip').handlers] == [logging.NullHandler]\n"
        "rows = np.random.default_rng(0).normal(size=(40, 8)) + 0.4\n"
        "helip.mine(image=rows, text=rows[::-1].copy(), k=3)\n"
        "assert logging.getLogger().handlers == []\n"
        "assert len(logging.getLogger('helip').handlers) == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_job_logs_its_beginning_and_its_end_under_its_module(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        helip.mine(image=IMAGE, text=TEXT, k=3, progress=False)
    assert caplog.records
    assert [r.name for r in caplog.records] == [
        "helip.mining.miner",
        "helip.mining.engines.threads",
    ]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "mine: 40 targets, k 3, method auto"
    assert said[1].startswith("mine: done, 40 units in ")
    assert len(said) == 2


def test_a_job_that_stops_says_how_far_it_was(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(KeyboardInterrupt),
        ProgressBar(9000, label="embed", enabled=False) as bar,
    ):
        bar.restart(9000, label="embed", done=1000)
        bar.update(500)
        raise KeyboardInterrupt
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "embed: begins, 9,000 rows"
    assert said[-1].startswith("embed: stopped, 1,500 rows in ")
    bar.close()
    assert len(caplog.records) == len(said)


def test_a_follower_passes_on_what_it_shows_and_what_is_false_stops() -> None:
    seen: list[tuple[str, int, int]] = []
    answers = iter([None, np.bool_(True), True, False, np.bool_(False), 0])

    def on_progress(stage: str, done: int, total: int) -> bool | None:
        seen.append((stage, done, total))
        return next(answers)

    with ProgressBar(None, label="mine", enabled=False) as bar:
        follow = Follower(bar, on_progress)
        assert [follow("mine", done, 6) for done in range(6)] == [True] * 3 + [False] * 3
        assert Follower(bar)("mine", 6, 6)
    assert seen == [("mine", done, 6) for done in range(6)]


def test_a_job_that_leaves_much_on_the_disk_says_so_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, sides = 40 * (8 * 3 + 4), {"image": IMAGE, "text": TEXT, "k": 3, "progress": False}
    queries = {"queries": IMAGE, "corpus": TEXT, "k": 3, "progress": False}
    codes = round(40 * (132 + 2.4 * 16))
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=8) as writer:
        writer.append([str(row) for row in range(40)], IMAGE, TEXT)
    stored = {"store": tmp_path / "s", "k": 3, "progress": False}
    for least in (table, table + 1, codes + table + 1):
        monkeypatch.setattr(progress, "_MUCH", least)
        for name, call, size in (
            ("table", sides, table),
            ("negatives", queries, table),
            ("codes", {**stored, "codes": tmp_path / "c"}, table + codes),
            ("part", {**stored, "part": (1, 2)}, table // 2),
        ):
            caplog.clear()
            with caplog.at_level(logging.INFO):
                helip.mine(**call, out=tmp_path / f"{name}-{least}")
            said = [r.getMessage() for r in caplog.records if "writes about" in r.getMessage()]
            place = f"{tmp_path / name}-{least}"
            place += f" and {tmp_path / 'c'}" * (name == "codes")
            expected = [f"mine: writes about {bytes_words(size)} to {place}"]
            assert said == (expected if size >= least else [])
    caplog.clear()
    monkeypatch.setattr(progress, "_MUCH", 1)
    with caplog.at_level(logging.INFO):
        helip.mine(**sides)  # to memory
    assert "writes" not in caplog.text


@pytest.mark.parametrize("shown", [True, False])
def test_what_is_written_is_a_line_where_progress_is_shown(
    shown: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("helip.test")
    monkeypatch.setattr(progress, "_plain_lines", True)
    progress.tell_of_disk(log, "mine", 10**9, "PAIRS", shown=shown)
    progress.tell_of_disk(log, "mine", 10**9 - 1, "PAIRS", shown=shown)
    told = "mine: writes about 1.0 GB to PAIRS\n"
    assert capsys.readouterr() == ("", told if shown else "")
