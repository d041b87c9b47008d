"""A table with its pictures, store and models, and the viewer's app over it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import helip
from helip_view.app import make_app
from helip_view.viewing import ViewCall, viewing

ROWS, K = 40, 6
TOKEN = "right-token"
HOST = "127.0.0.1:8765"
OWN = {"origin": f"http://{HOST}"}
#: What somebody may write into a caption to harm who looks at it.
HOSTILE = {
    3: '<script>window.harmed = 1</script><img src=x onerror="window.harmed=1">',
    4: "right to \u202eleft\u202c and \u200bzero\u200bwidth",
    5: "a very long caption " * 400,
    6: "\"><svg onload=window.harmed=1> ' {{ 7 * 7 }}",
}
BROKEN = 8  # its picture cannot be decoded
OUTLIER = 9  # its embeddings are zeros


def sides(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of pictures [ROWS, 10] and of captions [ROWS, 6]."""
    random = np.random.default_rng(seed)
    text = random.standard_normal((ROWS, 6)) + 1
    image = np.c_[text, random.standard_normal((ROWS, 4))]
    image[OUTLIER] = text[OUTLIER] = 0
    return image.astype(np.float32), text.astype(np.float32)


def write_store(path: Path, keys: list[str], image: np.ndarray, text: np.ndarray) -> Path:
    dims = {"image_dim": image.shape[1], "text_dim": text.shape[1]}
    with helip.EmbeddingStore.create(path, **dims) as writer:
        writer.append(keys, image, text)
    return path


def write_all(folder: Path) -> Path:
    """Writes pictures, store, pairs, and two stores of one CLIP each (before, after)."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    for row in range(ROWS):
        picture = pictures / f"{row:03}.png"
        Image.new("RGB", (24 + row, 16), (6 * row, 255 - 6 * row, 90)).save(picture)
        words = HOSTILE.get(row, f"shade number {row} of a red kite")
        picture.with_suffix(".txt").write_text(words, encoding="utf-8")
    (pictures / f"{BROKEN:03}.png").write_bytes(b"no picture at all")
    keys = list(helip.open_dataset(pictures).keys)
    store = write_store(folder / "store", keys, *sides())
    helip.mine(
        helip.EmbeddingStore.open(store), k=K, device="cpu", out=folder / "pairs", progress=False
    )
    for seed, name in ((11, "before"), (12, "after")):
        random = np.random.default_rng(seed)
        image, text = random.standard_normal((2, ROWS, 5)).astype(np.float32)
        write_store(folder / name, keys, image, text + 0.7 * image)
    return folder


def call_of(folder: Path, **options: Any) -> ViewCall:
    usual: dict[str, Any] = {
        "store": folder / "store",
        "model": (folder / "before", folder / "after"),
        "progress": False,
    }
    return ViewCall(folder / "pairs", folder / "pictures", **{**usual, **options})


@contextlib.contextmanager
def client_of(folder: Path, **options: Any) -> Iterator[Any]:
    """A client that has followed the address with the token."""
    from starlette.testclient import TestClient

    with viewing(call_of(folder, **options)) as pages:
        pages._search.wait(30)
        app = make_app(pages, token=TOKEN, hosts=frozenset({HOST}), cookie="helip-8765")
        client = TestClient(app, base_url=f"http://{HOST}")
        assert client.get(f"/?token={TOKEN}").status_code == 200
        yield client
