"""The report: what it shows, what it refuses, and that nothing in it can act."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from unittest.mock import Mock

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from helip.common.errors import InvalidArgumentError, MismatchError, StorageError
from helip.common.text import caption, plain
from helip.data.dataset import Dataset
from helip.evaluation.tasks.retrieval import retrieval
from helip.pairs.hard_pairs import HardPairs
from helip.reporting.page import report
from helip.reporting.rendering import environment
from helip.reporting.similarities import Similarities, choose_targets, read_scores
from helip.store.embedding_store import EmbeddingStore

N, K = 60, 8
VOID = {"meta", "img", "br", "rect", "path", "polyline"}  # SVG ones are closed by "/>"


class Page(HTMLParser):
    """Parses a page, checks that tags are balanced, keeps tags and the text of captions."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


class Pictures(Dataset):
    def __init__(self, captions, bad=()):
        self._captions, self._bad = captions, set(bad)

    @property
    def keys(self):
        return [f"key{i}" for i in range(len(self._captions))]

    def _read_image(self, row):
        if row in self._bad:
            raise self._sample_error(row, "unreadable_image", "it is damaged")
        image = Image.new("RGB", (300, 200), (row * 4 % 256, 90, 160))
        image.info["exif"] = image.info["icc_profile"] = image.info["comment"] = b"SECRET" * 10
        return image

    def _read_caption(self, row):
        return self._captions[row]


def embeddings(seed=0):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(N, 12)).astype(np.float32) + 0.6
    text = rng.normal(size=(N, 10)).astype(np.float32) + 0.6
    image[7], text[9] = image[3] * 2, text[4] * 3  # near duplicates in one modality
    image[50] = text[50] = 0  # an outlier
    return image, text


def masked(rows, limit=0.98):
    rows = rows.astype(np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    similar = rows @ rows.T
    similar[(similar > limit) | (similar < 0)] = 0
    np.fill_diagonal(similar, 0)
    return similar


def top(scores, k):
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(scores, ids, 1)
    return np.where(values > 0, ids, -1).astype(np.int32), np.where(values > 0, values, 0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    image, text = embeddings()
    path = tmp_path_factory.mktemp("report") / "store"
    with EmbeddingStore.create(path, image_dim=12, text_dim=10) as writer:
        writer.append([f"key{i}" for i in range(N)], image, text)
    return EmbeddingStore.open(path)


@pytest.fixture(scope="module")
def pairs(store):
    image, text = embeddings()
    ids, scores = top(masked(image) * masked(text), K)
    return HardPairs.from_arrays(
        ids,
        scores,
        fingerprint=store.fingerprint,
        data_fingerprint=store.data_fingerprint,
        options={"method": "exact", "k": K, "modality": "both", "image_max": 0.98},
        report={
            "pairs": N * (N - 1),
            "drops": {"image_duplicate": 2, "text_duplicate": 0, "margin": 0, "skipped": 7},
            "filters": {
                "weight": 1.25,
                "high_share": 0.4,
                "dimensions": [64, 128, 0],
                "passed": {"first": 0.0312, "sum": 0.01, "score": 0.005},
            },
            "recall": {"value": 1, "low": 0.99, "high": 1},
        },
    )


@pytest.fixture
def data():
    return Pictures([f"caption number {i}" for i in range(N)])


def render(pairs, data, tmp_path, **options):
    return report(pairs, data, tmp_path / "page.html", **options).read_text(encoding="utf-8")


def result(scale, **options):
    rows = np.random.default_rng(0).normal(size=(80, 8))
    noise = np.random.default_rng(1).normal(size=(80, 8))
    figures = retrieval(rows, rows + scale * noise, bootstrap=100, **options)
    return {"retrieval": figures, "options": {"bootstrap": 100, "seed": 0}}


# Safety


def test_the_page_loads_nothing_and_runs_nothing(pairs, data, store, tmp_path):
    metrics = {"start": result(2), "control": result(1.5), "HELIP": result(1)}
    curves = {"HELIP": [{"step": s, "loss": 1 / s} for s in range(1, 9)]}
    html = render(pairs, data, tmp_path, store=store, metrics=metrics, curves=curves, summary="x")
    page = Page(html)
    allowed = {"a", "img", "meta", "style", "svg"}
    for tag, attrs in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form", "image"}
        assert not any(name.startswith("on") or name == "style" for name in attrs)
        if {"src", "href", "xlink:href"} & set(attrs):
            assert tag in allowed
    assert all(a["src"].startswith("data:image/") for a in page.named("img"))
    assert all(a["href"].startswith("#") for a in page.named("a"))
    assert "://" not in html
    assert "url(" not in html
    assert "@import" not in html


def test_the_policy_allows_data_pictures_and_this_style_only(pairs, data, tmp_path):
    html = render(pairs, data, tmp_path)
    policy = Page(html).named("meta")[1]["content"]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> '",
    "</figcaption></style></title><svg onload=alert(1)>",
    "&lt;b&gt; &amp; {0} {title} $title %s",
    "\u202egnp.exe\u202c after",
    "\u2066isolated",
    "\u200b\u2060\ufeff",
    "bell\x07 nul\x00 escape\x1b",
    "tag\U000e0041\U000e0042",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_caption_is_text(hostile, pairs, tmp_path):
    html = render(pairs, Pictures([hostile] * N), tmp_path, rows=2, title=hostile, summary=hostile)
    page = Page(html)
    assert not {"script", "b"} & {tag for tag, _ in page.tags}
    assert {"onerror", "onload"}.isdisjoint(name for _, attrs in page.tags for name in attrs)
    assert plain(hostile).replace(" ", "") in page.words.replace(" ", "")
    assert not set(html) & set("\u202e\u202c\u2066\u200b\u2060\ufeff\x07\x00\x1b\U000e0041")


def test_captions_are_isolated_and_keep_what_scripts_need():
    assert caption("مرحبا") == '<bdi dir="auto">مرحبا</bdi>'
    for text in ("می\u200cخواهم", "👩\u200d🚒", "🏴\U000e0067\U000e0062\U000e0073\U000e007f", "नि"):
        assert plain(text) == text
    assert plain("\u200d") == "[U+200D]"  # nothing to join
    assert plain("\ud800") == "[U+D800]"
    assert plain("a\n\tb\u2028c") == "a b c"
    assert plain("o" + "\u0301" * 6) == "o" + "\u0301" * 4 + "[U+0301]" * 2
    assert plain("word " * 100, limit=9) == "word word…"


def test_templates_escape_whatever_is_not_markup_and_refuse_unknown_names():
    template = environment().from_string('<p title="{{ t }}">{{ t | caption }}{{ u }}</p>')
    assert template.render(t='"<\u202e', u="'&") == (
        '<p title="&#34;&lt;[U+202E]"><bdi dir="auto">&#34;&lt;'
        '<span class="hidden">U+202E</span></bdi>&#39;&amp;</p>'
    )
    with pytest.raises(UndefinedError):
        template.render(t="")


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
def test_pictures_are_shrunk_and_lose_their_metadata(kind, pairs, data, tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: kind == "webp")
    html = render(pairs, data, tmp_path, rows=1)
    for attrs in Page(html).named("img"):
        raw = base64.b64decode(attrs["src"].partition(",")[2])
        assert b"SECRET" not in raw
        image = Image.open(io.BytesIO(raw))
        assert image.format == kind.upper()
        assert image.size == (192, 128) == (int(attrs["width"]), int(attrs["height"]))
        assert attrs["alt"].startswith("Row ")


def test_samples_that_cannot_be_read_are_shown_as_such_and_counted(pairs, tmp_path):
    pool = pairs.ids[5, :2].tolist()
    captions = [f"caption {i}" for i in range(N)]
    captions[pool[1]] = ""
    page = Page(render(pairs, Pictures(captions, bad=[pool[0]]), tmp_path, rows=[5]))
    assert (
        "2 samples on this page could not be read: missing caption (1), unreadable image (1)."
        in (page.words)
    )
    assert "no caption" in page.words
    missing = [a for a in page.named("div") if "missing" in (a.get("class") or "")]
    assert missing
    assert missing[0]["aria-label"].endswith("not shown: unreadable image")


# Contents


def test_both_similarities_and_their_product_stand_under_each_picture(pairs, data, store, tmp_path):
    image, text = embeddings()
    similar = [masked(rows, 2) for rows in (image, text)]
    words = Page(render(pairs, data, tmp_path, store=store, rows=[5], hard=3)).words
    for other in pairs.ids[5, :3]:
        i, t = (float(s[5, other]) for s in similar)
        assert f"image {i:.2f} text {t:.2f} product {i * t:.2f}" in words.replace("−", "-")


def test_cosines_are_float64_and_masked_pairs_have_product_zero(store):
    image, _ = embeddings()
    similarities = Similarities(store, {"image_max": 0.98, "text_max": 0.98})
    duplicate, other = similarities.cards(3, [7, 8], [0.0, 0.0])
    assert duplicate.product == 0
    assert duplicate.note == "near duplicate"
    a, b = image[3].astype(np.float64), image[8].astype(np.float64)
    assert other.image == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-12)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_single_modality_pools_equal_brute_force_in_blocks(modality, store, monkeypatch):
    monkeypatch.setattr("helip.reporting.similarities.BLOCK_BYTES", 4 * 22 * 7)  # of seven rows
    rows = dict(zip(("image", "text"), embeddings(), strict=True))[modality]
    ids, scores = top(masked(rows), 5)
    targets = [3, 4, 20, 50, 59]
    pools = Similarities(store, {}).pools(targets, modality, 5)
    for target in targets:
        found, values = pools[target]
        assert found == [i for i in ids[target].tolist() if i >= 0]
        np.testing.assert_allclose(values, scores[target][: len(values)], atol=1e-6)
    assert pools[50] == ([], [])
    lenient = Similarities(store, {f"{modality}_max": 2}).pools(targets, modality, 5)
    assert all(target not in found for target, (found, _) in lenient.items())


def test_targets_are_spread_over_the_quantiles_of_their_best_score(pairs):
    scores = read_scores(pairs)
    chosen = choose_targets(scores.first, 6, seed=0)
    order = np.argsort(-scores.first, kind="stable")[: N - 1]
    for target, stratum in zip(chosen, np.array_split(order, 6), strict=True):
        assert target in stratum
    assert chosen == choose_targets(scores.first, 6, seed=0)
    assert chosen != choose_targets(scores.first, 6, seed=1)
    assert len(choose_targets(scores.first, 1000, seed=0)) == N - 1  # the outlier is no target
    assert choose_targets(np.full(3, np.nan, dtype=np.float32), 6, seed=0) == []


def test_the_histogram_counts_every_pair_whatever_the_block(pairs, monkeypatch):
    whole = read_scores(pairs)
    monkeypatch.setattr("helip.reporting.similarities.BLOCK_BYTES", 1)
    piecewise = read_scores(pairs)
    assert whole.all_counts.sum() == pairs.counts.sum()
    assert whole.first_counts.sum() == (pairs.counts > 0).sum()
    np.testing.assert_array_equal(whole.all_counts, piecewise.all_counts)
    np.testing.assert_array_equal(whole.first, piecewise.first)


def test_rows_asked_for_are_shown_in_their_order(pairs, data, tmp_path):
    page = Page(render(pairs, data, tmp_path, rows=[9, 2, 50, 9]))
    assert [a["id"] for a in page.named("article")] == ["row-9", "row-2", "row-50"]
    assert "No pair passes the filters." in page.words  # row 50 is an outlier


def test_statistics_hubs_outliers_and_provenance_are_told(pairs, data, store, tmp_path):
    words = Page(render(pairs, data, tmp_path, store=store, rows=3)).words
    for part in (
        "HPM image × text",
        "Image only image similarity",
        "Text only text similarity",
        f"hard pairs {pairs.counts.sum()} up to {K} a target",
        "near-duplicate images image similarity above image_max 2",
        "near-duplicate texts text similarity above text_max 0",
        "passed over the best pairs, left out on request 7",
        "128 leading dimensions (64 among the 40 % of rows with the highest thresholds) 3.12 %",
        "the score itself 0.5 %",
        "1.25 × image + 0.80 × text",
        "95 %: 0.990 – 1.000",
        ", never chosen ",
        "1 rows without an embedding",
        "unreadable 1 rows without an embedding, not counted here",
        "outliers 0 targets without a hard pair",
        store.fingerprint,
        store.data_fingerprint,
    ):
        assert part in words
    assert "has no hard pair" not in words  # no gallery of outliers
    unknown = Page(render(pairs, data, tmp_path, rows=3)).words
    assert "1 row has no hard pair. Often picture and caption do not belong together, or" in unknown


def test_baselines_given_as_tables_take_the_place_of_brute_force(pairs, data, store, tmp_path):
    baselines = {"Somebody else's": pairs}
    words = Page(render(pairs, data, tmp_path, store=store, baselines=baselines, rows=2)).words
    assert "Somebody else's" in words
    assert "Image only" not in words


def test_filters_that_kept_nothing_out_and_unknown_ones_are_told_sparely(pairs, data, tmp_path):
    words = Page(render(pairs, data, tmp_path, rows=3)).words
    assert "false negatives" not in words
    other = HardPairs.from_arrays(
        pairs.ids, pairs.scores, report={"drops": {"below_min_score": 3}, "filters": {"passed": {}}}
    )
    words = Page(render(other, data, tmp_path, rows=3)).words
    assert "below min score 3" in words
    assert "of a sample" not in words


def test_without_a_store_only_scores_are_shown(pairs, data, tmp_path):
    words = Page(render(pairs, data, tmp_path, rows=[5], hard=1)).words
    assert f"score {pairs.scores[5, 0]:.2f}" in words
    assert "product 0" not in words


def test_the_same_arguments_give_the_same_bytes(pairs, data, store, tmp_path):
    pages = [render(pairs, data, tmp_path, store=store, seed=3) for _ in range(2)]
    assert pages[0] == pages[1]
    assert render(pairs, data, tmp_path, store=store, seed=4) != pages[0]


# Metrics and curves


def test_metrics_are_compared_with_the_control_by_paired_intervals(pairs, data, tmp_path):
    metrics = {
        name: result(scale, keep_ranks=True)
        for name, scale in (("start", 2), ("control", 1.9), ("HELIP", 0.5))
    }
    words = Page(render(pairs, data, tmp_path, metrics=metrics)).words
    assert "HELIP against control : better in 10, worse in 0 and undecided in 0 of 10" in words
    assert "HELIP − control" in words
    assert "start − control" not in words
    value = 100 * metrics["HELIP"]["retrieval"]["image_to_text"]["recall@1"]["value"]
    assert f"{value:.1f}" in words


def test_differences_without_ranks_have_no_interval(pairs, data, tmp_path):
    metrics = {"control": result(1.9), "HELIP": result(0.5)}
    words = Page(render(pairs, data, tmp_path, metrics=metrics)).words
    assert "no paired intervals" in words
    assert "better in" not in words


def test_sets_of_results_have_their_own_tables(pairs, data, tmp_path):
    metrics = {"held-out concepts": {"a": result(1)}, "held-out variants": {"a": result(2)}}
    words = Page(render(pairs, data, tmp_path, metrics=metrics)).words
    assert "held-out concepts" in words
    assert "held-out variants" in words


def test_a_run_has_one_colour_on_the_whole_page(pairs, data, tmp_path):
    rows = [{"step": s, "loss": 2.0 / s, "lr": 1.0, "clip": None} for s in range(1, 400)]
    metrics = {"start": result(1), "HELIP": result(1)}
    page = Page(render(pairs, data, tmp_path, metrics=metrics, curves={"HELIP": rows}))
    lines = page.named("polyline")
    assert [line["class"] for line in lines] == ["line series1"]
    assert len(lines[0]["points"].split()) == 240


def test_the_guard_gives_a_verdict_and_the_change_of_all_three(pairs, data, tmp_path):
    names = (("start", 1.0), ("control", 1.0), ("HELIP", 3.0))
    guard = {"general": {name: result(scale, keep_ranks=True) for name, scale in names}}
    words = Page(render(pairs, data, tmp_path, guard=guard)).words
    assert "Forgetting guard" in words
    assert "HELIP has lost some of what the start model could do." in words
    assert "HELIP − start" in words
    assert "HELIP − control" in words
    assert "lost" in words


# What is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rows": [0, N]}, f"row {N} is not in the table"),
        ({"rows": -1}, "rows is -1"),
        ({"hard": 0}, "hard is 0"),
        ({"metrics": {}}, "metrics is empty"),
        ({"metrics": {"a": 3}}, "no result of evaluate"),
        ({"guard": {}}, "guard is empty"),
        ({"guard": {"a": {"start": 3}}}, "no mapping of start, control"),
        ({"guard": {"a": {"start": {"retrieval": {}}}}}, "these are start"),
    ],
)
def test_bad_options_are_refused_with_the_mend(options, words, pairs, data, tmp_path):
    with pytest.raises(InvalidArgumentError, match=words):
        report(pairs, data, tmp_path / "page.html", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_page_goes_where_it_can_and_over_no_other_file(pairs, data, tmp_path, monkeypatch):
    place = tmp_path / "page.html"
    report(pairs, data, place)
    report(pairs, data, place, title="again")
    assert "<title>again</title>" in place.read_text()
    (own := tmp_path / "own.html").write_text("<title>my own page</title>")
    monkeypatch.setattr("helip.reporting.page.targets_of", None)  # before any work
    with pytest.raises(InvalidArgumentError, match=r"own\.html', a file that is no page of helip"):
        report(pairs, data, own)
    assert own.read_text() == "<title>my own page</title>"
    for place in (tmp_path, own / "page.html", "/proc/self/page.html"):
        with pytest.raises(StorageError, match=f"cannot write {place}"):
            report(pairs, data, place)


def test_a_table_of_other_data_is_refused_with_what_became_of_the_rows(pairs, store, tmp_path):
    class Other(Pictures):
        keys = tuple(f"other{i}" for i in range(N))

    other = Other(["a"] * N)
    with pytest.raises(MismatchError, match=r": the keys or their order differ \(60 rows with"):
        report(pairs, other, tmp_path / "page.html")
    shorter = Pictures(["a"] * (N - 1))
    with pytest.raises(MismatchError, match=r"1 rows are gone \(60 rows then, 59 now\); .* update"):
        report(pairs, shorter, tmp_path / "page.html", store=store)
    bare = HardPairs.from_arrays(pairs.ids, pairs.scores)
    with pytest.raises(MismatchError, match="60 rows there, 59 rows"):
        report(bare, shorter, tmp_path / "page.html")


def test_a_failed_write_leaves_the_old_page(pairs, data, tmp_path, monkeypatch):
    page = report(pairs, data, tmp_path / "new" / "page.html", rows=1)
    old = page.read_bytes()
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr("helip.common.files.sync", full)
    with pytest.raises(StorageError, match="No space left"):
        report(pairs, data, page, rows=2)
    assert page.read_bytes() == old
    assert [p.name for p in page.parent.iterdir()] == ["page.html"]
