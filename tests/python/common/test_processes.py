"""What processes of a run tell each other."""

from __future__ import annotations

import socket

from helip.common.processes import Processes


def test_counts_are_added_up_over_the_processes_of_one_machine():
    class Three(Processes):
        def exchange(self, value):
            return [value, [socket.gethostname(), {"hits": 4}], ["elsewhere", {"hits": 100}]]

    assert Three().summed_here({"hits": 3, "misses": 0}) == {"hits": 7, "misses": 0}
    assert Processes().summed_here({}) == {}
