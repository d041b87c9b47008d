"""What all tests need of the process that they run in."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# A shell that starts something in the background has it ignore Ctrl-C, and children inherit that.
# Tests send Ctrl-C to this process and to children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# As many threads whatever else runs: where nobody says how many, commands take those of idle cores.
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))

# The same examples each time; and a machine that does other work is no fault of a test.
settings.register_profile(
    "helip", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("helip")
