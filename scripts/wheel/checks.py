"""What an installed wheel must do. Run by test_wheel.py, outside of the source tree.

python -I checks.py FOLDER [mine]      mine: the core alone, as under an emulator
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROWS, DIM, K = 1_000, 24, 10


def embeddings() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    groups = random.normal(size=(50, DIM))
    image, text = (groups[np.arange(ROWS) % 50] + random.normal(size=(ROWS, DIM)) for _ in "ab")
    return image.astype(np.float32), text.astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def best_scores(image: np.ndarray, text: np.ndarray) -> np.ndarray:
    """The K largest scores of each row, by brute force in float64."""
    image, text = unit(image), unit(text)
    cosines = [image @ image.T, text @ text.T]
    score = np.prod([np.where((c < 0) | (c > 0.98), 0, c) for c in cosines], axis=0)
    np.fill_diagonal(score, 0)
    return -np.sort(-score, axis=1)[:, :K]


def check_mining(folder: Path) -> None:
    """The core alone: a store, its table by each kernel that can run here, and both read again."""
    import helip
    from helip import _core

    image, text = embeddings()
    with helip.EmbeddingStore.create(folder / "store", image_dim=DIM, text_dim=DIM) as writer:
        writer.append([f"key {row}" for row in range(ROWS)], image, text)
    store = helip.EmbeddingStore.open(folder / "store")
    assert len(store) == ROWS
    for kernel in _core.kernel_names():
        _core.set_kernel(kernel)
        out = folder / f"pairs.{kernel}"
        helip.mine(store, k=K, out=out, method="exact", device="cpu", progress=False)
        table = helip.HardPairs.open(out)
        assert len(table) == ROWS
        np.testing.assert_allclose(table.scores, best_scores(image, text), atol=2e-4)
        print(f"mined {ROWS} rows by kernel {kernel}, as brute force does")


def check_foreign_kernel() -> None:
    """A processor that lacks what is asked for gets one line that says so."""
    from helip import _core
    from helip.common.errors import UnsupportedError

    lacking = {"avx2", "avx512vnni", "neon"} - set(_core.kernel_names())
    for kernel in sorted(lacking):
        said = ""
        try:
            _core.set_kernel(kernel)
        except UnsupportedError as error:
            said = str(error)
        assert kernel in said and "\n" not in said, said or f"kernel {kernel} was taken"
    print(f"refused kernels: {', '.join(sorted(lacking)) or 'none to refuse'}")


def check_pictures() -> None:
    from PIL import Image

    from helip.data.image_transform import ImageTransform

    random = np.random.default_rng(3)
    small = random.integers(0, 255, size=(6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC)
    transform = ImageTransform(
        size=(48, 64), crop="squash", exact_decode=True, dtype="uint8", layout="nhwc",
    )  # fmt: skip
    for form, options in {"JPEG": {"quality": 90}, "PNG": {}, "WEBP": {"lossless": True}}.items():
        file = io.BytesIO()
        picture.save(file, form, **options)
        expected = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB")).astype(int)
        # `_core.apply` knows the compiled decoders alone; the method would turn to Pillow.
        found = transform._core.apply(file.getvalue(), seed=0, epoch=0, row=0, view=0)
        difference = np.abs(np.asarray(found).astype(int) - expected).max()
        assert difference <= 1, f"{form}: {difference} levels off"
        print(f"decoded {form}, at most {difference} levels off Pillow")


def check_training(folder: Path) -> None:
    """One step of the loss, and the operators for torch where they load."""
    import torch

    import helip
    from helip.mining.gpu.kernel import load_library

    torch.manual_seed(0)
    tower = torch.nn.Linear(16, 8)
    optimizer = torch.optim.SGD(tower.parameters(), lr=0.1)
    image, text = torch.randn(12, 16), torch.randn(12, 16)
    target = torch.arange(12) // 3 * 3
    loss = helip.HelipLoss()
    values = []
    for _ in range(2):
        out = loss(tower(image), tower(text), 10.0, target)
        optimizer.zero_grad()
        out["loss"].backward()
        optimizer.step()
        values.append(float(out["loss"].detach()))
    assert values[1] < values[0], values
    load_library()
    assert hasattr(torch.ops.helip, "product_seed"), dir(torch.ops.helip)
    print(f"one step took the loss from {values[0]:.3f} to {values[1]:.3f}; operators load")


def check_command() -> None:
    helip = Path(sys.executable).with_name("helip")
    done = subprocess.run([helip, "doctor", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert all(facts["codecs"].values()), facts["codecs"]
    done = subprocess.run([helip, "view", "x", "--data", "y"], capture_output=True, text=True)
    assert "'helip[view]'" in done.stderr and done.returncode == 1, done.stdout + done.stderr
    print(f"helip doctor: kernel {facts['machine']['kernel']}, versions {facts['versions']}")


def check_libraries() -> None:
    """No picture library is that of the system."""
    import helip

    package = Path(helip.__file__).resolve().parent
    environment = package.parent
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    names = ("libjpeg", "libpng", "libwebp", "libsharpyuv", "libturbojpeg")
    foreign = [
        path
        for path in sorted(mapped)
        if Path(path).name.startswith(names) and not path.startswith(str(environment))
    ]
    assert not foreign, foreign
    for own in ("/libhelip.so", "/libhelip_data.so"):
        assert any(path.endswith(own) and str(package) in path for path in mapped), own


def main() -> None:
    folder = Path(sys.argv[1])
    import helip

    assert "site-packages" in helip.__file__, helip.__file__
    print(f"helip {helip.__version__}, Python {sys.version.split()[0]}, {os.uname().machine}")
    check_mining(folder)
    check_foreign_kernel()
    if sys.argv[2:] != ["mine"]:
        check_pictures()
        check_training(folder)
        check_command()
    check_libraries()


if __name__ == "__main__":
    main()
