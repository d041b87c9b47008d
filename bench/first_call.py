"""What `helip.mine` of NumPy arrays calls before the core, and how long the first call takes.

    python bench/first_call.py [--runs 9]

Counts the Python functions of helip that are called until the first call of a `_core` function that
mines, and times `import helip` and `helip.mine` of four rows in fresh processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

_COUNTED = """
import json, os, sys
import numpy as np
import helip
from helip import _core
rows = np.float32([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
if {warm}:
    helip.mine(image=rows, text=rows, k=2, progress=False)
else:
    helip.mine  # its modules are loaded, nothing is called
package = os.path.dirname(helip.__file__) + os.sep
calls, files, reached = 0, set(), False
def watch(frame, event, argument):
    global calls, reached
    if event == "c_call" and getattr(argument, "__name__", "") in ("mine", "mine_store"):
        reached = True
    if event != "call" or reached or not frame.f_code.co_filename.startswith(package):
        return
    calls += 1
    files.add(frame.f_code.co_filename)
sys.setprofile(watch)
helip.mine(image=rows, text=rows, k=2, progress=False)
sys.setprofile(None)
assert reached
print(json.dumps({{"calls": calls, "files": len(files), "torch": "torch" in sys.modules}}))
"""

_TIMED = """
import time
import numpy as np
begun = time.perf_counter()
import helip
rows = np.float32([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
helip.mine(image=rows, text=rows, k=2, progress=False)
print(time.perf_counter() - begun)
"""


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="fresh processes that are timed")
    runs = parser.parse_args().runs
    for name, warm in (("first", False), ("later", True)):
        found = json.loads(_run(_COUNTED.format(warm=warm)))
        print(
            f"{name} call: {found['calls']} functions of {found['files']} files before the core; "
            f"torch is {'' if found['torch'] else 'not '}loaded"
        )
    seconds = sorted(float(_run(_TIMED)) for _ in range(runs))
    print(
        f"import helip to helip.mine of 4 rows, cold: median {statistics.median(seconds):.2f} s, "
        f"least {seconds[0]:.2f} s, of {runs} runs"
    )


if __name__ == "__main__":
    main()
