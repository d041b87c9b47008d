"""Rows like a sentence or a picture, by encoders that the store names."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helip.common.errors import InvalidArgumentError, SampleError, UnsupportedError
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore
from helip_view import search
from helip_view.app import make_app
from helip_view.search import Seeking
from helip_view.viewing import ViewCall, viewing
from support.view_samples import HOST, OWN, ROWS, TOKEN, sides, write_all

IMAGE, TEXT = sides()


class Encoder:
    """Gives the embedding of the row that a picture or a sentence names."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = torch.from_numpy(rows)

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        return torch.tensor(float(image.getpixel((0, 0))[0]))

    def encode(self, what: Any) -> torch.Tensor:
        return self._rows[[int(each) for each in what]]


@pytest.fixture
def sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seeking:
    writer = EmbeddingStore.create(tmp_path / "store", image_dim=10, text_dim=6)
    writer.append([str(row) for row in range(ROWS)], IMAGE, TEXT)
    writer.finish({"image_encoder": "a:image", "text_encoder": "a:text"})
    monkeypatch.setattr(search, "image_encoder", lambda spec: Encoder(IMAGE))
    monkeypatch.setattr(search, "text_encoder", lambda spec: Encoder(TEXT))
    return Seeking(EmbeddingStore.open(tmp_path / "store"))


def picture(row: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (row, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def cosines(rows: np.ndarray, row: int) -> np.ndarray:
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    return unit @ unit[row]


def test_a_sentence_finds_like_captions(sought: Seeking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FOUND", 5)
    words, found = sought.find(" 7 ", "")
    assert "caption" in words
    expected = cosines(TEXT, 7)
    assert [row for row, _ in found] == np.argsort(-expected)[:5].tolist()
    np.testing.assert_allclose([s for _, s in found], -np.sort(-expected)[:5], atol=1e-5)


def test_a_picture_finds_like_pictures(sought: Seeking) -> None:
    words, found = sought.find("", sought.keep(picture(12)))
    assert "picture" in words and found[0][0] == 12


def test_both_find_rows_by_the_product(sought: Seeking) -> None:
    name = sought.keep(picture(12))
    _, found = sought.find("7", name)
    product = cosines(IMAGE, 12) * cosines(TEXT, 7)
    rows = [row for row, _ in found]
    np.testing.assert_allclose([score for _, score in found], product[rows], atol=2e-3)
    assert rows[0] == int(np.argmax(product))


@pytest.mark.parametrize(
    "body", [b"", b"<svg onload=x>", b"\x89PNG\r\n\x1a\n", b"GIF89a" + b"\0" * 9], ids=range(4)
)
def test_what_is_no_picture_is_refused(sought: Seeking, body: bytes) -> None:
    with pytest.raises((SampleError, InvalidArgumentError)):
        sought.keep(body)


def test_a_bomb_is_refused_before_it_is_decoded(sought: Seeking) -> None:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    with pytest.raises(SampleError, match="pixels") as caught:
        sought.keep(buffer.getvalue())
    assert caught.value.reason == "too_large"


def test_what_is_not_known_is_said(sought: Seeking) -> None:
    with pytest.raises(InvalidArgumentError, match="send it again"):
        sought.find("", "0" * 24)
    with pytest.raises(InvalidArgumentError, match="neither"):
        sought.find("  ", "")
    nothing = Seeking(None)
    assert nothing.sides == []
    with pytest.raises(UnsupportedError, match="--store"):
        nothing.find("7", "")


def test_the_page_takes_a_sentence_and_a_picture(
    sought: Seeking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a table in memory as well, of which no verdicts are taken."""
    testclient = pytest.importorskip("starlette.testclient")
    pictures = write_all(tmp_path / "made") / "pictures"
    ids = ((np.arange(ROWS)[:, None] + [1, 2]) % ROWS).astype(np.int32)
    table = HardPairs.from_arrays(ids, np.full((ROWS, 2), 0.5))
    call = ViewCall(table, pictures, store=sought._store, progress=False)
    with viewing(call) as pages:
        app = make_app(pages, token=TOKEN, hosts=frozenset({HOST}), cookie="own")
        client = testclient.TestClient(app, base_url=f"http://{HOST}")
        page = client.get(f"/?token={TOKEN}").text
        assert 'href="/seek"' in page and 'name="state"' not in page
        assert client.post("/undo", data={"back": "/"}, headers=OWN).status_code == 200
        found = client.get("/seek?sentence=7").text
        assert "similarity of the caption" in found and "/?way=rows&amp;at=7" in found
        both = client.post("/seek?sentence=7", content=picture(12), headers=OWN)
        assert "sentence=7" in str(both.url) and "product of both" in both.text
        assert client.post("/seek", content=b"none", headers=OWN).status_code == 400
        assert client.post("/seek", content=picture(12)).status_code == 403
