"""A disk that fails while pictures are read: one read is one sample, a whole disk ends the job."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helip

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

ROWS = 40
FAILED = 5  # the picture of the folder whose file cannot be read
PROGRAM = """
import json, sys
import numpy as np, torch
import helip

what, source, out = sys.argv[1:]
data = helip.open_dataset(source, progress=False)
rows = len(data)
transform = helip.ImageTransform.eval(size=16)

class Texts:
    spec, dim = "own:texts", 1
    def encode(self, texts):
        return torch.tensor([[float(text) + 1.0] for text in texts])

class Images:
    spec, dim, preprocess = "own:images", 3, transform
    def encode(self, images):
        return images.mean((2, 3))

if what == "load":
    ids = ((np.arange(rows)[:, None] + 1) % rows).astype(np.int32)
    scores, counts = np.ones((rows, 1), np.float32), np.ones(rows, np.int32)
    pairs = helip.HardPairs.from_arrays(ids, scores, counts)
    loader = helip.HardPairLoader(
        data, pairs, batch_size=10, hard_per_target=0, transform=transform, workers=1,
        max_quarantined=0.3)
    read = sorted(row for batch in loader for row in batch["index"].tolist())
    failures = loader.stats()["quarantined_rows"]
else:
    store = helip.embed(
        data, out=out, image_encoder=Images(), text_encoder=Texts(), batch_size=10, workers=0,
        reader=what, max_quarantined=0.3, progress=False)
    read = np.flatnonzero(np.asarray(store.text)[:, 0]).tolist()
    failures = [json.loads(line) for line in open(out + "/quarantine.jsonl")]
print(json.dumps([read, failures]))
"""


def picture(row: int) -> bytes:
    pixels = np.random.default_rng(row).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG" if row % 4 else "BMP")  # Pillow reads every fourth
    return file.getvalue()


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    (root / "folder").mkdir()
    with tarfile.open(root / "a.tar", "w") as tar:
        for row in range(ROWS):
            for name, data in (
                (f"{row:03d}.jpg", picture(row)),
                (f"{row:03d}.txt", str(row).encode()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                (root / "folder" / name).write_bytes(data)
    helip.SampleIndex.build([root / "a.tar"]).save(root / "index")
    return root


def run(
    what: str, source: Path, file: Path, fault: str, out: Path
) -> subprocess.CompletedProcess[str]:
    """Runs it while calls on ``file`` fail; strace counts the calls of each thread."""
    call = fault.split(":")[0]
    return subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-P", file, "-e", f"trace={call}",
         "-e", f"inject={fault}", sys.executable, "-c", PROGRAM, what, source, out],
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("what", ["load", "core", "pillow"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [("error=EIO", "Input/output error"), ("retval=0", "ends within its member")],
    ids=["error", "short"],
)
def test_a_read_of_a_shard_that_fails_is_one_sample(what, fault, message, sources, tmp_path):
    shard = sources / "a.tar"
    done = run(what, sources / "index", shard, f"pread64:{fault}:when=6", tmp_path / "s")
    assert done.returncode == 0, done.stderr
    read, failures = json.loads(done.stdout)
    assert 1 <= len(failures) <= 4  # the sixth read of each thread
    for failure in failures:
        assert failure["reason"] == "io"
        assert failure["message"].startswith(
            f"sample '{failure['row']:03d}' (row {failure['row']})"
        )
        assert str(shard) in failure["message"] and message in failure["message"]
    assert sorted(read + [failure["row"] for failure in failures]) == list(range(ROWS))


@pytest.mark.parametrize("what", ["load", "core", "pillow"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [("error=EIO", "Input/output error"), ("retval=0", "changed while")],
    ids=["error", "short"],
)
def test_a_file_that_cannot_be_read_is_one_sample(what, fault, message, sources, tmp_path):
    file = sources / "folder" / f"{FAILED:03d}.jpg"
    done = run(what, sources / "folder", file, f"read:{fault}", tmp_path / "s")
    assert done.returncode == 0, done.stderr
    read, failures = json.loads(done.stdout)
    assert [failure["row"] for failure in failures] == [FAILED]
    assert failures[0]["reason"] == "io"
    assert str(file) in failures[0]["message"] and message in failures[0]["message"]
    assert sorted([*read, FAILED]) == list(range(ROWS))


@pytest.mark.parametrize("what", ["load", "core", "pillow"])
def test_a_disk_that_fails_for_good_ends_the_job_with_an_account(what, sources, tmp_path):
    fault = "pread64:error=EIO:when=8+"
    done = run(what, sources / "index", sources / "a.tar", fault, tmp_path / "s")
    assert done.returncode == 1
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("helip.common.errors.Error: ")
    assert "io" in error and "Mend the data" in error
    assert "max_quarantined" in error or "no row of batch" in error
