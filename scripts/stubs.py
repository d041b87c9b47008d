"""Writes python/helip/_core.pyi from the compiled module; --check compares instead."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

STUB = Path(__file__).resolve().parent.parent / "python" / "helip" / "_core.pyi"


def generate() -> str:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "pybind11_stubgen", "helip._core"),
            *("--output-dir", folder, "--exit-code"),
            "--numpy-array-use-type-var",
        ]
        subprocess.run(command, check=True, capture_output=True, text=True)
        text = (Path(folder) / "helip" / "_core.pyi").read_text(encoding="utf-8")
    for command in (["check", "--fix", "--exit-zero", "--select", "I,UP"], ["format"]):
        ruff = [
            sys.executable,
            "-m",
            "ruff",
            *command,
            "--quiet",
            "--stdin-filename",
            str(STUB),
            "-",
        ]
        done = subprocess.run(ruff, check=True, capture_output=True, text=True, input=text)
        text = done.stdout
    return text


def main() -> int:
    text = generate()
    if "--check" not in sys.argv[1:]:
        STUB.write_text(text, encoding="utf-8")
        return 0
    if STUB.read_text(encoding="utf-8") == text:
        return 0
    print(f"{STUB} is not what the module gives; run `make stubs`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
