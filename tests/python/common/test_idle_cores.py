"""Threads for the cores that other processes leave idle, by what the system counts."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from helip.common import idle_cores as module
from helip.common import machine
from helip.common.idle_cores import idle_cores, look_again, share_cores, times_longer, watch_cores


class System:
    """Four cores, of which this process may use the last three; others use so many of each."""

    def __init__(self) -> None:
        self.now, self.others, self.own = 100.0, [0.0, 0.0, 0.0, 0.0], 0.0
        self.used, self.used_here, self.used_by_worker = [0.0] * 4, 0.0, 0.0
        self.threads_of_core = 1

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.used_here += self.own * seconds
        for core, share in enumerate(self.others):
            self.used[core] += (share + (self.own / 3 if core else 0)) * seconds

    def open(self, path: str, mode: str) -> io.BytesIO:
        if path.endswith("/thread_siblings_list"):
            return io.BytesIO(path.encode() if self.threads_of_core == 1 else b"0-3")
        if path == "/proc/7/stat":
            ticks = [round(50 * self.used_by_worker)] * 2
            fields = [*"S1234567890", *ticks, 999, 999]
            return io.BytesIO(f"7 (a ) b) {' '.join(map(str, fields))}".encode())
        assert (path, mode) == ("/proc/stat", "rb")
        lines = ["cpu  9 9 9 9 9 9 9 9 9 9"]
        for core, seconds in enumerate(self.used):  # user nice system idle iowait irq softirq steal
            ticks = round(seconds * 100)
            some = ticks // 7
            lines.append(f"cpu{core} {ticks - 4 * some} {some} {some} 77 88 {some} {some} 99 0 0")
        return io.BytesIO("\n".join([*lines, "intr 5 5"]).encode())


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    made = System()
    for name in (*machine.THREAD_VARIABLES, "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1")  # undone at the end, whatever the test sets
        monkeypatch.delenv(name)
    monkeypatch.setattr(module, "open", made.open, raising=False)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda process: {1, 2, 3}, raising=False)
    monkeypatch.setattr(module.os, "sysconf", lambda name: 100)
    monkeypatch.setattr(module.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(module.time, "process_time", lambda: made.used_here)
    monkeypatch.setattr(module.time, "sleep", made.sleep)
    monkeypatch.setattr(module, "usable_processors", lambda: 3)
    monkeypatch.setattr(module, "_last", None)
    monkeypatch.setattr(module, "_sharing", False)
    before = torch.get_num_threads()
    yield made
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("others", "own", "idle"),
    [
        ([0, 0, 0, 0], 0, 3), ([1, 0, 0, 0], 0, 3), ([0, 1, 0, 0], 0, 2),
        ([0, 1, 0.5, 0], 1.5, 1.5), ([0, 1, 1, 1], 0, 0), ([0, 0, 0, 0], 3, 3),
    ],
)  # fmt: skip
def test_cores_are_idle_that_no_other_process_uses(
    system: System, others: list[float], own: float, idle: float
) -> None:
    watch_cores()
    system.others, system.own = others, own
    system.sleep(5)
    assert idle_cores() == pytest.approx(idle, abs=0.05)
    began = system.now
    assert idle_cores() == pytest.approx(idle, abs=0.2)  # of a tenth of a second
    assert system.now == pytest.approx(began + 0.1)


def test_threads_are_those_of_idle_cores_when_a_command_begins_and_between_steps(
    system: System,
) -> None:
    system.others = [0, 1, 1, 1]
    assert share_cores() == 1
    assert torch.get_num_threads() == machine._bound == int(os.environ["OMP_NUM_THREADS"]) == 1
    for others, threads in (([0, 0, 1, 0], 2), ([1, 0, 0, 0], 3), ([0, 1, 1, 0], 1)):
        system.others = others
        system.sleep(1.9)
        before = torch.get_num_threads()
        look_again()
        assert torch.get_num_threads() == before, "within two seconds"
        system.sleep(0.2)
        look_again()
        assert torch.get_num_threads() == threads


def test_all_cores_are_taken_where_none_is_used_and_the_environment_stays(system: System) -> None:
    assert share_cores() is None
    assert machine._bound == 0 and "OMP_NUM_THREADS" not in os.environ
    system.others = [0, 1, 1, 0]
    system.sleep(3)
    look_again()
    assert torch.get_num_threads() == 1


def test_within_a_quota_only_the_cores_of_the_machine_that_are_idle_count(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "usable_processors", lambda: 1)
    for others, idle in (([0, 1, 0, 0], 1), ([0, 1, 1, 0], 1), ([0, 1, 1, 0.5], 0.5)):
        watch_cores()
        system.others = others
        system.sleep(10)
        assert idle_cores() == pytest.approx(idle, abs=0.05)


def test_two_threads_of_a_core_count_as_one(system: System) -> None:
    system.threads_of_core = 2
    torch.set_num_threads(1)
    assert share_cores() is None, "all of it is idle"
    system.sleep(3)
    look_again()
    assert torch.get_num_threads() == 1


def test_workers_of_a_loader_are_no_others(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = SimpleNamespace(pid=7)
    monkeypatch.setattr(module.multiprocessing, "active_children", lambda: [worker])
    watch_cores()
    system.others = [0, 1, 0, 0.5]
    system.sleep(10)
    system.used_by_worker = 10.0
    assert idle_cores() == pytest.approx(2.5, abs=0.05)


@pytest.mark.parametrize("name", [*machine.THREAD_VARIABLES, "LOCAL_WORLD_SIZE"])
def test_threads_that_were_set_are_kept(
    system: System, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "2")
    torch.set_num_threads(2)
    system.others = [0, 1, 1, 1]
    assert share_cores() is None
    system.sleep(3)
    look_again()
    assert torch.get_num_threads() == 2 and machine._bound == 0


def test_nothing_is_changed_where_the_system_does_not_tell(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_file(*_: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(module, "open", no_file)
    watch_cores()
    assert idle_cores() is None and share_cores() is None and times_longer(2) == 1


@pytest.mark.parametrize(
    ("used", "cores", "times"),
    # A thread beside n others on m cores has m / (n + 1) of one at least.
    [(0, 2, 1), (0, 4, 4 / 3), (1, 2, 1), (2, 2, 2), (3, 2, 8 / 3)],
)
def test_work_takes_longer_by_the_cores_that_others_leave(
    system: System, used: int, cores: int, times: float
) -> None:
    watch_cores()
    system.others = [0.0] + [used / 3] * 3
    system.sleep(10)
    assert times_longer(cores) == pytest.approx(times, rel=0.02)
