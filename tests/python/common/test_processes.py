"""What processes of a run tell each other."""

from __future__ import annotations

import datetime
import socket
import time
from unittest import mock

import pytest
import torch.distributed as dist

from helip.common.errors import Error
from helip.common.processes import Processes
from support import process_group


def test_counts_are_added_up_over_the_processes_of_one_machine():
    class Three(Processes):
        def exchange(self, value):
            return [value, [socket.gethostname(), {"hits": 4}], ["elsewhere", {"hits": 100}]]

    assert Three().summed_here({"hits": 3, "misses": 0}) == {"hits": 7, "misses": 0}
    assert Processes().summed_here({}) == {}


def _waiting(rank: int) -> list[str]:
    """What is said of a leader that works longer than torch waits, and of one that fails."""
    limit = dist.distributed_c10d._set_pg_timeout
    limit(datetime.timedelta(seconds=1), dist.group.WORLD)
    own = Processes()
    assert own.leader_does(lambda: time.sleep(2) or "done") == (None if rank else "done")
    assert own.exchange(rank) == [0, 1]
    said = []
    for error in (KeyError("lost"), KeyboardInterrupt()):
        with pytest.raises((Error, KeyError, KeyboardInterrupt)) as caught:
            own.leader_does(mock.Mock(side_effect=error))
        said.append(f"{caught.type.__name__}: {caught.value}")
    limit(datetime.timedelta(minutes=5), dist.group.WORLD)
    return said


def _alone(rank: int) -> list[str]:
    """What is said where the other process catches an error and lives on, and where it has left."""
    own = Processes()
    own.exchange(rank)
    own.leader_does(lambda: None)
    said = []
    limit = dist.distributed_c10d._set_pg_timeout
    limit(datetime.timedelta(seconds=0.2), dist.group.WORLD)
    if rank == 0:
        with pytest.raises(Error) as caught:
            own.exchange(rank)
        said.append(str(caught.value))
        gone = mock.patch("helip.common.processes._told", side_effect=ValueError("no group"))
        with gone, pytest.raises(KeyError, match="lost"):
            own.leader_does(mock.Mock(side_effect=KeyError("lost")))
    else:
        time.sleep(0.6)
    dist.barrier = lambda: None  # they have no connection any more
    return said


def test_a_process_that_lives_on_elsewhere_holds_the_others_no_longer_than_torch_waits(tmp_path):
    first, _ = process_group.run(_alone, tmp_path)
    assert "another process has stopped" in first[0]


def test_others_wait_for_the_leader_longer_than_torch_does_and_hear_how_it_fails(tmp_path):
    first, second = process_group.run(_waiting, tmp_path)
    assert first == ["KeyError: 'lost'", "KeyboardInterrupt: "]
    heard = "Error: rank 0 failed: "
    assert second == [f"{heard}KeyError: 'lost'", f"{heard}KeyboardInterrupt"]
