"""One call in a process of its own: its seconds, processor seconds and memory."""

from __future__ import annotations

import json
import sys
from typing import Any

from watch import Watched

_PROGRAM = """
import json, sys, time
{prepare}
print("ready", flush=True)
wall, processor = time.perf_counter(), time.process_time()
{call}
seconds = time.perf_counter() - wall, time.process_time() - processor
print(json.dumps({{"seconds": seconds[0], "processor_seconds": seconds[1]}}))
"""


def measured(prepare: str, call: str, *arguments: Any) -> dict[str, float]:
    """``seconds`` and ``processor_seconds`` of ``call``, and memory as `watch` counts it.

    ``peak_bytes`` is the most of the process during the call, ``extra_bytes`` that beyond what it
    had before. Both texts are Python, and see ``arguments`` as ``sys.argv[1:]``.
    """
    program = _PROGRAM.format(prepare=prepare, call=call)
    child = Watched([sys.executable, "-c", program, *map(str, arguments)])
    before, found = 0, {}
    for line in child.lines():
        if line == "ready\n":
            child.restart_peak()
            before = child.peak
        else:
            found = json.loads(line)
    if not found:
        raise SystemExit(child.errors)
    return {**found, "peak_bytes": child.peak, "extra_bytes": child.peak - before}
