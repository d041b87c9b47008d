"""The report of a table without its data: captions, keys or numbers, and never a picture."""

from __future__ import annotations

import re
from html import unescape

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError, StorageError, UnsupportedError
from helip.common.text import cosine
from support.pair_samples import ROWS, cosines, mined, sides, write_store

CAPTIONS = [f"caption number {row}" for row in range(ROWS)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store") / "s")


@pytest.fixture(scope="module")
def pairs(store):
    return mined(store)


def page(pairs, tmp_path, **options):
    path = helip.report(pairs, out=tmp_path / "page.html", **options)
    html = path.read_text(encoding="utf-8")
    assert "<img" not in html
    assert 'role="img" aria-label="Row' not in html  # nor a placeholder of one
    return html, " ".join(unescape(re.sub(r"<[^>]*>", " ", html.split("</style>")[1])).split())


def test_captions_alone_stand_for_target_and_hard_pairs(pairs, tmp_path):
    html, words = page(pairs, tmp_path, captions=CAPTIONS, rows=[5], hard=3)
    article = html[html.index("<article") : html.index("</article>")]
    shown = re.findall(r"caption number \d+", article)
    assert shown == [CAPTIONS[5], *(CAPTIONS[row] for row in pairs.ids[5, :3])]
    assert f"score {pairs.scores[5, 0]:.2f}" in words
    assert f"{ROWS} targets" in words
    assert "captioned pictures" not in words


@pytest.mark.parametrize("form", ["generator", "series", "missing"])
def test_captions_are_taken_as_other_libraries_hold_them(form, pairs, tmp_path):
    captions = [*CAPTIONS]
    if form == "generator":
        captions = (text for text in CAPTIONS)
    elif form == "series":
        captions = pytest.importorskip("pandas").Series(CAPTIONS, index=range(100, 100 + ROWS))
    else:
        captions[5] = None
    _, words = page(pairs, tmp_path, captions=captions, rows=[5], hard=2)
    assert CAPTIONS[pairs.ids[5, 0]] in words
    assert ("no caption" in words) == (form == "missing")


def test_a_part_of_a_table_is_refused_before_a_page_is_written(store, tmp_path):
    part = helip.mine(store, k=3, out=tmp_path / "part", part=(2, 2), progress=False)
    with pytest.raises(UnsupportedError, match="a part is not a table; merge the parts"):
        helip.report(part, out=tmp_path / "page.html", captions=["x"] * len(part))
    assert not (tmp_path / "page.html").exists()


def test_without_anything_else_rows_have_their_numbers(pairs, tmp_path):
    _, words = page(pairs, tmp_path, rows=[5], hard=2)
    first, second = pairs.ids[5, :2].tolist()
    for text in ("row 5", f"row {first} score", f"row {second} score", "Statistics", "Provenance"):
        assert text in words
    assert "no caption" not in words


def test_a_store_names_rows_by_its_keys_and_adds_similarities(pairs, store, tmp_path):
    html, words = page(pairs, tmp_path, store=store, target=["k5"], hard=2)
    other = int(pairs.ids[5, 0])
    image, text = (cosines(rows, 5, np.array([other]))[0] for rows in sides())
    figures = f"image {cosine(image)} text {cosine(text)} product {cosine(image * text)}"
    assert f"k{other} {figures}" in words
    assert "row 5 · k5" in words
    assert "Image only" in words and "Text only" in words
    assert 'class="frame bare"' in html


def test_an_empty_caption_is_told_and_counted(pairs, tmp_path):
    captions = [*CAPTIONS]
    captions[5] = "  "
    _, words = page(pairs, tmp_path, captions=captions, rows=[5])
    assert "no caption" in words
    assert "1 sample on this page could not be read: missing caption (1)." in words


def test_a_file_of_captions_has_one_a_line(pairs, tmp_path):
    file = tmp_path / "captions.txt"
    captions = [*CAPTIONS]
    captions[3] = "<b>a line\u2028of its own"
    file.write_text("\n".join(captions) + "\n", encoding="utf-8")
    given, _ = page(pairs, tmp_path, captions=captions, rows=[3])
    read, _ = page(pairs, tmp_path, captions=str(file), rows=[3])
    assert read == given
    assert "<b>a line" not in read


def test_captions_that_do_not_fit_are_refused(pairs, tmp_path):
    with pytest.raises(MismatchError, match="captions has 39 texts, and the table 40 targets"):
        page(pairs, tmp_path, captions=CAPTIONS[1:])
    with pytest.raises(StorageError, match=r"nothing\.txt"):
        page(pairs, tmp_path, captions=tmp_path / "nothing.txt")
    (tmp_path / "latin").write_bytes(b"\xe9\n" * ROWS)
    with pytest.raises(InvalidArgumentError, match="not UTF-8"):
        page(pairs, tmp_path, captions=tmp_path / "latin")


def test_what_cannot_be_told_without_data_is_refused(pairs, store, tmp_path):
    with pytest.raises(InvalidArgumentError, match="target 'k5' is a key, and without data and"):
        page(pairs, tmp_path, target=["k5"])
    with pytest.raises(InvalidArgumentError, match="target 'x' is no key of the store"):
        page(pairs, tmp_path, target=["x"], store=store)
    with pytest.raises(InvalidArgumentError, match="out is None, must be the page to write"):
        helip.report(pairs)
    other = write_store(tmp_path / "other", seed=1)
    with pytest.raises(MismatchError, match=f"this one has {other.fingerprint[:12]}"):
        page(pairs, tmp_path, store=other)


def test_captions_beside_data_are_refused(pairs, tmp_path):
    with pytest.raises(InvalidArgumentError, match="captions are given beside data"):
        helip.report(pairs, [("a", "b")], tmp_path / "page.html", captions=CAPTIONS)
