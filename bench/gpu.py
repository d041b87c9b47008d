"""Everything of helip that needs a GPU, in one command of at most ten minutes: ``make gpu``.

    python bench/gpu.py --out gpu.json          (--dry: what a CPU can do of it)

Runs the tests marked gpu, then mining at 200,000 and 1,000,000 pairs, beside the algorithm of the
method's released code and, where they are installed, faiss on a GPU and cuVS, and a training step
of a ViT-B/32. Every part has a limit of time and may fail alone. One JSON, one table; the exit
status is that of the worst part.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]


def parts_of(dry: bool, folder: Path) -> dict[str, tuple[int, list[str]]]:
    """Name -> seconds that it may take, and its command."""
    python, bench = sys.executable, ROOT / "bench"
    tests = [python, "-m", "pytest", "-m", "gpu", *(["--collect-only"] if dry else []), "-q"]
    step = [python, str(bench / "training_step.py"), "--out", str(folder / "training.json")]
    small = ["--model", "tiny", "--rows", "8", "--steps", "4", "--warm", "1", "--repeats", "1"]
    exact = [python, str(bench / "exact.py"), "--k", "50", "--dims", "1280x384", "--repeats", "1"]
    if dry:
        exact += ["--cache", str(noise(folder))]
    parts = {
        "tests": (150, [*tests, str(ROOT / "tests" / "python")]),
        "training": (90, step + (small if dry else [])),
    }
    if not dry:
        # From now on device="auto" mines on this GPU.
        proof = "import helip.mining; print(helip.mining.prove_gpu())"
        parts["proof"] = (30, [python, "-c", proof])
        # Real embeddings, which exact.py would make in its own time
        grow = "from grown import grown_folder; from pathlib import Path\n"
        grow += "for rows in (200_000, 1_000_000):\n"
        grow += "    grown_folder(Path('.cache/bench'), (1280, 384), rows)"
        parts["embeddings"] = (120, [python, "-c", f"import sys; sys.path[0] = 'bench'\n{grow}"])
    for rows, limit in ((2_000, 60),) if dry else ((200_000, 90), (1_000_000, 120)):
        sides = ["helip"] if dry else ["helip-gpu", *rivals(rows)]
        out = ["--rows", str(rows), "--out", str(folder / f"mining-{rows}.json")]
        parts[f"mining-{rows}"] = (limit, [*exact, *out, "--sides", *sides])
    return parts


def rivals(rows: int) -> list[str]:
    """What mines beside helip on the GPU, where it is installed; the CPU where that is quick."""
    found = ["reference-gpu", *(["helip"] if rows <= 200_000 else [])]
    if importlib.util.find_spec("faiss") and hasattr(importlib.import_module("faiss"), "knn_gpu"):
        found.append("faiss-gpu")
    return [*found, *(["cuvs"] if importlib.util.find_spec("cuvs") else [])]


def noise(folder: Path) -> Path:
    """A cache of bench/exact.py with rows of noise where real embeddings would be."""
    place = folder / "cache" / "1280x384-2000"
    place.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for name, width in (("image", 1280), ("text", 384)):
        rows = random.normal(size=(2_000, width)).astype(np.float32)
        np.save(place / f"{name}.npy", rows / np.linalg.norm(rows, axis=1, keepdims=True))
    return place.parent


def run(name: str, limit: int, command: list[str], folder: Path) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit, cwd=ROOT
        )
        status, said = done.returncode, (done.stdout + done.stderr)[-4000:]
    except subprocess.TimeoutExpired:
        status, said = 124, f"took more than {limit} seconds"
    file = folder / f"{name}.json"
    return {
        "status": status,
        "seconds": time.perf_counter() - began,
        "result": json.loads(file.read_text()) if file.exists() else None,
        "tail": said if status or name in ("tests", "proof") else "",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--dry", action="store_true", help="what a CPU can do of it")
    options = parser.parse_args()
    if not options.dry and not torch.cuda.is_available():
        print("torch sees no GPU; --dry does what a CPU can", file=sys.stderr)
        return 2
    folder = options.out.resolve().parent / f"{options.out.stem}-parts"
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "device": "none" if options.dry else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "dry": options.dry,
    }
    worst = 0
    for name, (limit, command) in parts_of(options.dry, folder).items():
        part = found[name] = run(name, limit, command, folder)
        worst = max(worst, part["status"])
        verdict = "ok" if part["status"] == 0 else f"failed ({part['status']})"
        print(f"{name:>16}  {verdict:12}  {part['seconds']:6.1f} s", flush=True)
        if part["status"]:
            print(part["tail"], file=sys.stderr)
    options.out.write_text(json.dumps(found, indent=2))
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
