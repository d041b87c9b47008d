"""Opening data runs no program, connects to nothing, and reads nothing beside what it was given."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import helip
from support.data_samples import write_tar

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

OPENER = """
import sys
import helip
# With the libraries that each needs.
helip.EmbeddingStore, helip.HardPairs, helip.SampleIndex, helip.PairIndex, helip.open_dataset
open("/proc/self/comm").close()  # what comes behind this is the opening
folder = sys.argv[1]
store = helip.EmbeddingStore.open(folder + "/store")
store.verify()
pairs = helip.HardPairs.open(folder + "/pairs")
pairs.verify()
index = helip.SampleIndex.open(folder + "/samples")
index.verify()
data = helip.open_dataset(folder + "/samples", progress=False)
assert data.caption(0) == "a caption"
helip.PairIndex.open(folder + "/index")
"""

#: Places of the system that reading may look at: never data.
SYSTEM = re.compile(r"/(proc|sys|dev|etc|usr|lib)\b")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("opened")
    values = np.random.default_rng(0).normal(size=(60, 12)) + 0.3
    with helip.EmbeddingStore.create(root / "store", image_dim=8, text_dim=4) as writer:
        writer.append([str(i) for i in range(60)], values[:, :8], values[:, 8:])
    helip.mine(root / "store", k=3, out=root / "pairs", device="cpu", progress=False)
    helip.PairIndex.build(root / "store", progress=False).save(root / "index")
    write_tar(root / "s.tar", {"a.jpg": b"no picture", "a.txt": b"a caption"})
    helip.SampleIndex.build(root / "s.tar", out=root / "samples", progress=False)
    return root


def test_opening_and_verifying_stays_in_its_folder(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    subprocess.run(
        ["strace", "-f", "-qq", "-y", "-o", log, "-e", "trace=%network,execve,openat,open,creat",
         sys.executable, "-c", OPENER, folder],
        check=True, timeout=300, capture_output=True,
    )  # fmt: skip
    calls = log.read_text().splitlines()
    begun = next(i for i, call in enumerate(calls) if "/proc/self/comm" in call)
    behind = calls[begun + 1 :]
    assert any("manifest.json" in call for call in behind)
    code = {str(Path(sys.prefix)), str(Path(sys.base_prefix)), str(Path(helip.__file__).parent)}
    for call in behind:
        assert not re.search(r"\b(execve|connect|bind|listen|sendto|socket)\(", call), call
        opened = re.search(r'"(/[^"]*)"', call)
        if opened is None or call.rstrip().endswith("ENOENT (No such file or directory)"):
            continue
        path = opened[1]
        inside = path.startswith(str(folder)) or SYSTEM.match(path)
        # A module of the package that is imported when it is first used.
        inside = inside or any(path.startswith(place) for place in code)
        assert inside, call
        writes = re.search(r"O_WRONLY|O_RDWR|O_CREAT", call)
        assert not writes or path == "/dev/null", f"opening for reading writes: {call}"
