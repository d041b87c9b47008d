"""What the viewer shows at which address, takes, and refuses."""

from __future__ import annotations

import errno
import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")

import helip
from helip.common.errors import MismatchError, StorageError
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore
from helip.verdicts.verdicts import Verdicts
from helip_view.thumbnails import SIDE
from helip_view.viewing import ViewCall, viewing
from support.view_samples import BROKEN, HOSTILE, OUTLIER, OWN, ROWS, client_of, sides


def rows_of(page: str) -> list[int]:
    """Rows of the target and of the hard pair."""
    return [int(row) for row in re.findall(r'<p class="meta">row ([\d,]+) ·', page)]


def test_the_card_has_both_rows_and_their_figures(client: Any, folder: Path) -> None:
    pairs = HardPairs.open(folder / "pairs")
    page = client.get("/?way=rows&at=12&rank=3").text
    hard = int(pairs.ids[12, 2])
    assert rows_of(page) == [12, hard]
    assert "Hard pair <b>3</b> of 6" in page
    image, text = (np.float64(each) for each in sides())
    cosines = [
        each[12] @ each[hard] / np.linalg.norm(each[12]) / np.linalg.norm(each[hard])
        for each in (image, text)
    ]
    shown = re.findall(r"</svg><b>([−\d.]+)</b>", page)
    expected = [*cosines, cosines[0] * cosines[1]]
    np.testing.assert_allclose([float(each) for each in shown], expected, atol=0.006)


def test_cross_scores_are_those_of_each_model(client: Any, folder: Path) -> None:
    page = client.get("/?way=rows&at=12&rank=1").text
    target, hard = rows_of(page)
    squares = []
    for name in ("before", "after"):
        rows = EmbeddingStore.open(folder / name).rows([target, hard])
        image, text = (each / each.norm(dim=1, keepdim=True) for each in rows)
        squares.append((image @ text.T).flatten().tolist())
    cells = re.findall(r"<td[^>]*>([−\d.]+) → <b>([−\d.]+)</b></td>", page)
    found = [[float(each.replace("−", "-")) for each in cell] for cell in cells]
    np.testing.assert_allclose(found, np.transpose(squares), atol=0.006)


def test_words_that_both_captions_have_are_marked(client: Any, folder: Path) -> None:
    pairs = HardPairs.open(folder / "pairs")
    plain = [row for row in range(ROWS) if row not in HOSTILE and row not in (BROKEN, OUTLIER)]
    target = next(row for row in plain if int(pairs.ids[row, 0]) in plain)
    page = client.get(f"/?way=rows&at={target}").text
    marked = set(re.findall(r"<mark>([^<]+)</mark>", page))
    assert marked == {"shade", "number", "red", "kite"}  # and not "of" and "a"


@pytest.mark.parametrize("row", sorted(HOSTILE))
def test_captions_are_text(client: Any, row: int) -> None:
    page = client.get(f"/?way=rows&at={row}").text
    for forbidden in ("<script>window", "<img src=x", "<svg onload", "\u202e", "\u200b"):
        assert forbidden not in page
    assert "onerror=&#34;" in page if row == 3 else True
    assert "U+202E" in page if row == 4 else True
    assert len(page) < 40_000


def test_a_missing_picture_says_why(client: Any) -> None:
    page = client.get(f"/?way=rows&at={BROKEN}").text
    assert re.search(r'class="picture missing"[^>]*not shown: unreadable image', page)
    answer = client.get(f"/picture/{BROKEN}")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "unreadable image" in answer.text


def test_a_target_without_hard_pairs_is_shown(client: Any) -> None:
    page = client.get(f"/?way=rows&at={OUTLIER}").text
    assert rows_of(page) == [OUTLIER] and "This row is unreadable (no embedding)" in page
    assert "it is an outlier" not in page and 'name="verdict"' not in page


def test_thumbnails_are_small_and_square(client: Any) -> None:
    import io

    from PIL import Image

    answer = client.get("/picture/3")
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size) == ("WEBP", (SIDE, SIDE))
    assert "private" in answer.headers["cache-control"]


def test_a_picture_of_another_viewer_has_another_address(client: Any, folder: Path) -> None:
    def addresses(client: Any) -> set[str]:
        found = re.findall(r'src="(/picture/[^"]+)"', client.get("/?way=rows&at=12").text)
        assert len(found) == 8  # two sides, and the pool
        return set(found)

    with client_of(folder) as other:
        assert not addresses(client) & addresses(other)
    assert client.get(addresses(client).pop()).headers["content-type"] == "image/webp"


WAYS = ("hardest", "hubs", "short", "duplicates", "margin", "mismatched", "change", "random")


@pytest.mark.parametrize("way", WAYS)
def test_the_same_address_shows_the_same(client: Any, way: str) -> None:
    one, other = (client.get(f"/?way={way}&seed=5").text for _ in range(2))
    assert one == other and 'aria-current="page"' in one


def test_links_keep_the_filters(client: Any) -> None:
    page = client.get("/?way=hubs&q=kite&up=1&low=0.01&at=3").text
    following = html.unescape(re.search(r'href="([^"]+)" data-key="j"', page)[1])
    assert following == "/?way=hubs&at=4&q=kite&low=0.01&up=1"


def test_search_finds_captions_by_words_and_their_begin(client: Any) -> None:
    assert rows_of(client.get("/?way=rows&q=number+17").text)[0] == 17
    assert f"1 of {ROWS - len(HOSTILE)}</p>" in client.get("/?way=rows&q=shad").text
    for words in ('"', "NEAR(", "a OR", "*", "shade -number", "\0", "text:x", "((("):
        assert client.get("/", params={"q": words}).status_code == 200


def test_a_row_or_a_key_is_found(client: Any) -> None:
    assert rows_of(client.get("/go?to=7").text)[0] == 7
    assert rows_of(client.get("/go?to=031").text)[0] == 31
    answer = client.get("/go", params={"to": "<b>none</b>"})
    assert answer.status_code == 400 and "<b>none" not in answer.text


@pytest.mark.parametrize(
    "address",
    [
        "/?way=nothing", "/?at=-1", "/?at=1e3", "/?low=nan", "/?low=inf", "/?rank=0", "/?rank=x",
        f"/?hard={ROWS}", "/?way=rows&at=3&hard=3", "/?state=maybe", "/?seed=" + "9" * 30,
        "/picture/-1", f"/picture/{ROWS}", "/picture/1.0", "/picture/١",
    ],
)  # fmt: skip
def test_what_is_out_of_its_bound_is_refused_with_the_bound(client: Any, address: str) -> None:
    answer = client.get(address)
    assert (answer.status_code == 400 and "must be" in answer.text) or "itself" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../pages.py", "/static/%2e%2e/options.py", "/static/..%2foptions.py",
        "/etc/passwd", "/picture/..%2f..%2fetc%2fpasswd", "/static//etc/passwd",
        "/static/viewer.js%00.css",
    ],
)  # fmt: skip
def test_no_path_of_a_request_is_a_path_of_a_file(client: Any, path: str) -> None:
    assert client.get(path).status_code in (400, 404)


def test_a_place_beyond_the_end_shows_the_last(client: Any) -> None:
    assert client.get("/?way=rows&at=999999").text.count(f"{ROWS} of {ROWS}") == 1


def test_pools_by_other_rules_stand_beside_the_own(client: Any, folder: Path) -> None:
    page = client.get("/pools?row=12").text
    names = re.findall(r"<h3>(.+?) <small>", page)
    assert names == ["HPM", "Image only", "Text only", "before", "after"]
    image, text = EmbeddingStore.open(folder / "after").rows(slice(None))
    cosines = (image[12] @ text.T / text.norm(dim=1)).numpy()
    cosines[12] = -np.inf
    last = page[page.rindex("<h3>") :]
    rows = re.findall(r'alt="Row (\d+)|aria-label="Row (\d+)', last)
    shown = [int(one or other) for one, other in rows]
    assert shown == np.argsort(-cosines)[:12].tolist()


def judge(client: Any, target: int, hard: Any, verdict: str, **more: str) -> Any:
    form = {"target": str(target), "hard": str(hard), "verdict": verdict, "back": "/?way=rows&at=0"}
    return client.post("/verdict", data={**form, **more}, headers=OWN)


def test_verdicts_are_asked_a_name_once_kept_and_undone(folder: Path) -> None:
    path = folder / "own.verdicts"
    with client_of(folder, verdicts=path) as client:
        asked = judge(client, 1, 2, "keep")
        assert "Who judges?" in asked.text and 'value="keep"' in asked.text
        answer = judge(client, 1, 2, "keep", person="Ann <b>")
        assert str(answer.url).endswith("/?way=rows&at=1")  # on to the next
        judge(client, 2, 1, "false negative")
        judge(client, 5, 6, "mismatch", of="hard")
        page = client.get("/?way=rows&at=1&hard=2").text
        assert "<b>false negative</b> by <bdi>Ann &lt;b&gt;</bdi>" in page
        assert "of the hard pair" in client.get("/?way=rows&at=5&hard=6").text
        undone = client.post("/undo", data={"back": "/"}, headers=OWN)
        assert str(undone.url).endswith("/?way=rows")  # where it was said
        assert "1 of 1" in client.get("/?state=judged").text
    with Verdicts.open(path) as kept:
        assert [(each.person, each.verdict) for each in kept] == [("Ann <b>", "false negative")]


def test_open_pairs_are_those_that_nobody_judged(folder: Path) -> None:
    pairs = HardPairs.open(folder / "pairs")
    with client_of(folder, verdicts=folder / "open.verdicts") as client:
        judge(client, 1, int(pairs.ids[1, 0]), "keep", person="Ann")
        page = client.get("/?way=rows&at=0&state=open").text
        assert 'href="/?way=rows&amp;at=2&amp;state=open" data-key="j"' in page


def test_the_page_that_asks_for_a_name_can_be_loaded_anew(client: Any) -> None:
    answer = client.get("/verdict")
    assert answer.status_code == 200 and answer.url.path == "/"


def test_what_leaves_a_list_by_a_verdict_takes_no_pair_along(folder: Path) -> None:
    with client_of(folder, verdicts=folder / "unsure.verdicts") as client:
        for row in (10, 12, 14, 16):
            judge(client, row, row + 1, "unsure", person="Ann")
        shown, address = [], "/?state=unsure"
        for verdict in ("keep", "unsure", "keep"):
            shown += rows_of(client.get(address).text)[:1]
            answer = judge(client, shown[-1], shown[-1] + 1, verdict, back=address)
            address = str(answer.url)
        assert [*shown, *rows_of(client.get(address).text)] == [10, 12, 14, 16, 17]
        assert "2 of 2" in client.get(address).text


def test_none_yet_opens_at_an_open_pair_and_ends_with_the_last(folder: Path) -> None:
    pairs = HardPairs.open(folder / "pairs")
    with client_of(folder, verdicts=folder / "last.verdicts") as client:
        few = "way=rows&q=number+1"  # rows 1, 10 … 19
        words = client.get(f"/?{few}").text
        count = int(re.search(r"1 of (\d+)</p>", words)[1])
        assert count == 11
        rows = [1, *range(10, 20)]
        for row in rows[:3]:
            judge(client, row, int(pairs.ids[row, 0]), "keep", person="Ann")
        first = rows_of(client.get(f"/?{few}&state=open").text)[0]
        assert first in rows[3:] and first == next(
            row for row in rows if not judged(client, row, int(pairs.ids[row, 0]))
        )
        for row in rows[:-1]:
            judge(client, row, int(pairs.ids[row, 0]), "keep")
        assert rows_of(client.get(f"/?{few}&state=open&at=0").text)[0] == 19
        judge(client, 19, int(pairs.ids[19, 0]), "keep")
        assert "Nothing is here" in client.get(f"/?{few}&state=open").text


def judged(client: Any, target: int, hard: int) -> bool:
    return "No verdict yet" not in client.get(f"/?way=rows&at={target}&hard={hard}").text


def test_what_was_judged_passes_the_other_filters_too(folder: Path) -> None:
    with client_of(folder, verdicts=folder / "filtered.verdicts") as client:
        for row in (10, 12, 14):
            judge(client, row, row + 1, "keep", person="Ann")
        page = client.get("/?state=judged&q=number+13").text
        assert rows_of(page) == [12, 13] and "1 of 1</p>" in page
        assert rows_of(client.get("/?state=keep&up=1").text) == [14, 15]
        assert "Nothing is here" in client.get("/?state=keep&low=2").text
        assert "1 of 3</p>" in client.get("/?state=keep&low=-1").text


def test_a_verdict_that_is_none_is_refused(client: Any) -> None:
    assert judge(client, 1, 2, "maybe", person="A").status_code == 400
    assert judge(client, 1, 1, "keep", person="A").status_code == 400
    assert judge(client, ROWS, 1, "keep", person="A").status_code == 400
    assert judge(client, 1, 2, "keep", person="a\nb").status_code == 400
    back = judge(client, 1, 2, "keep", person="A", back="https://evil.example/?way=hubs")
    assert back.url.host == "127.0.0.1"


def test_while_the_file_is_locked_the_page_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: Any, **__: Any) -> None:
        raise StorageError(errno.EAGAIN, "own.verdicts is locked by another program")

    with client_of(folder, verdicts=folder / "locked.verdicts") as client:
        monkeypatch.setattr(Verdicts, "add", locked)
        answer = judge(client, 1, 2, "keep", person="Ann")
        assert answer.status_code == 503 and "is locked" in answer.text


def test_a_region_of_the_map_is_a_filter(client: Any) -> None:
    points = np.frombuffer(client.get("/map/points/joint").content, "<f4").reshape(-1, 2)
    inside = int((points[:, 0] >= 0).sum())
    page = client.get("/?way=rows&region=joint:0,-2;2,-2;2,2;0,2").text
    assert f"1 of {inside}</p>" in page
    assert "region=joint" in re.search(r'href="([^"]+)" data-key="j"', page)[1]
    assert client.get("/?region=joint:0").status_code == 400
    assert client.get("/map/points/other").status_code == 400
    for by in ("score", "hubness", "verdict"):
        assert len(client.get(f"/map/shades/{by}").content) == ROWS
    assert client.get("/map").status_code == 200


def test_what_no_encoder_is_known_for_is_not_offered(client: Any) -> None:
    assert "/seek" not in client.get("/").text
    assert "which encoders" in client.get("/seek").text
    assert client.get("/seek?sentence=x").status_code == 409
    assert client.post("/seek", content=b"GIF89a", headers=OWN).status_code == 400
    assert client.post("/seek", content=b"x" * (21 << 20), headers=OWN).status_code == 413


def test_a_request_is_bounded(client: Any) -> None:
    answer = client.post("/verdict", content=b"x" * (1 << 20), headers=OWN)
    assert answer.status_code == 413


def test_verdicts_of_another_table_are_refused(folder: Path, tmp_path: Path) -> None:
    other = HardPairs.from_arrays(np.array([[1], [0]], dtype=np.int32), np.ones((2, 1)))
    Verdicts.open(tmp_path / "v", pairs=other).close()
    with pytest.raises(MismatchError), client_of(folder, verdicts=tmp_path / "v"):
        pass


def test_a_table_of_other_data_is_refused(folder: Path) -> None:
    data = helip.open_dataset(folder / "pictures").subset(range(ROWS - 1))
    call = ViewCall(folder / "pairs", data, progress=False)
    with pytest.raises(MismatchError, match="other data"), viewing(call):
        pass


def test_nothing_is_there_of_ways_that_need_more(folder: Path) -> None:
    with client_of(folder, store=None, model=()) as client:
        page = client.get("/").text
        assert "way=duplicates" not in page and "way=margin" not in page
        assert client.get("/?way=margin").status_code == 409
        assert "<dt>score</dt>" in page
