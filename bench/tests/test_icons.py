"""The data set of icons: what is kept, what it is called, and what is held out."""

from __future__ import annotations

import functools
import io
import json
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import helip

_OTHERS = [f"{word}-{letter}" for word in ("cat", "dog") for letter in "abcdefghijklmnopqrst"]


def _about(licence: str = "MIT", author: str = "Ann", **more: Any) -> dict[str, Any]:
    about = {"name": "A set", "author": {"name": author}, "license": {"spdx": licence}, "total": 2}
    return {**about, "category": "UI 24px", "palette": True, **more}


def _square(x: int, colour: str = "red", side: int = 6) -> dict[str, str]:
    return {"body": f'<path fill="{colour}" d="M{x} 2h{side}v{side}h-{side}z"/>'}


def _package(path: Path, sets: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> Path:
    files = {"collections": {prefix: about for prefix, (about, _) in sets.items()}}
    files |= {f"json/{prefix}": content for prefix, (_, content) in sets.items()}
    with tarfile.open(path, "w:gz") as tar:
        for name, value in files.items():
            content = json.dumps(value).encode()
            info = tarfile.TarInfo(f"package/{name}.json")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _set(experiments: Any, *names: str, prefix: str = "tiny", about: Any = None, **more: Any):
    content = {"icons": {name: _square(2) for name in names}, **more}
    return experiments("icon_sets").icon_set(prefix, about or _about(), content)


def _captions(experiments: Any, icons: Any) -> dict[str, str]:
    captions = experiments("icon_names").Captions(icons, experiments("icon_flags").name_of)
    return {name: captions.of(name)[0] for name in icons.icons}


def test_only_sets_of_free_licences_that_are_no_logos_are_used(
    experiments: Any, tmp_path: Path
) -> None:
    licences = {
        "mit": "MIT", "apache": "Apache-2.0", "isc": "ISC", "bsd": "BSD-3-Clause",
        "zero": "CC0-1.0", "by": "CC-BY-4.0", "sa": "CC-BY-SA-3.0",
        "nc": "CC-BY-NC-4.0", "ncsa": "CC-BY-NC-SA-4.0", "gpl": "GPL-3.0", "mpl": "MPL-2.0",
        "ofl": "OFL-1.1", "none": "",
    }  # fmt: skip
    content = {"icons": {"home": _square(2)}}
    sets = {prefix: (_about(licence), content) for prefix, licence in licences.items()}
    sets["marks"] = (_about(category="Logos"), {"icons": {"acme-icon": _square(2)}})
    package = experiments("icon_sets").read(_package(tmp_path / "p.tgz", sets))
    used = [icons.prefix for icons in package.sets]
    assert used == ["apache", "bsd", "by", "isc", "mit", "sa", "zero"]
    reasons = Counter(reason for reason, _, _ in package.left_out.values())
    assert reasons == {"set: licence": 6, "set: logos": 1}
    assert package.logos == {"acme": 1}


def test_sizes_and_styles_are_cut_off_names(experiments: Any) -> None:
    icons = _set(
        experiments, "arrow-left-20-filled", "arrow-left-24-regular", "traffic-light-20-filled",
        "home-outline", "star-solid", "text-bold", "moon-stars-duotone",
        *_OTHERS, suffixes={"20-filled": "20 Filled", "24-regular": "24 Regular"},
    )  # fmt: skip
    captions = _captions(experiments, icons)
    assert {name: captions[name] for name in icons.icons if name not in _OTHERS} == {
        "arrow-left-20-filled": "arrow left",
        "arrow-left-24-regular": "arrow left",
        "traffic-light-20-filled": "traffic light",
        "home-outline": "home",
        "star-solid": "star",
        "text-bold": "text bold",
        "moon-stars-duotone": "moon stars",
    }


def test_a_part_that_is_a_style_in_one_set_is_a_word_in_another(experiments: Any) -> None:
    names = [f"{word}-light" for word in ("sun", "key", "home", "star", "user")]
    styled = _captions(experiments, _set(experiments, *names, *"abcde"))
    assert styled["sun-light"] == "sun"
    meant = _captions(experiments, _set(experiments, "traffic-light", *_OTHERS))
    assert meant["traffic-light"] == "traffic light"


def test_numbers_stay_where_they_say_what_is_drawn(experiments: Any) -> None:
    hours = [f"watch-{hour}" for hour in range(1, 13)]
    icons = _set(experiments, "camera-1", "camera-2", "dice-5", "user2", "mp3", "crop-9-16", *hours,
                 *_OTHERS)  # fmt: skip
    captions = _captions(experiments, icons)
    assert captions["camera-1"] == captions["camera-2"] == "camera"
    assert (captions["dice-5"], captions["watch-7"]) == ("dice 5", "watch 7")
    assert (captions["user2"], captions["mp3"]) == ("user", "mp3")
    assert captions["crop-9-16"] == "crop 9 16"


def test_a_name_that_says_nothing_gives_no_caption(experiments: Any) -> None:
    icons = _set(experiments, "x", "7", "uni6709-box", "home")
    assert list(_captions(experiments, icons).values()) == ["", "", "", "home"]


def test_flags_have_the_names_of_their_places(experiments: Any) -> None:
    pytest.importorskip("pycountry")
    names = ("de-4x3", "us-ca-4x3", "gb-sct-4x3", "european-union", "qq")
    flags = _captions(experiments, _set(experiments, *names, prefix="flag"))
    assert list(flags.values()) == [
        "flag of germany", "flag of california", "flag of scotland", "flag of european union", "",
    ]  # fmt: skip
    emoji = _about(category="Emoji")
    names = ("flag-for-germany", "flag-st-kitts-and-nevis", "heavyplussign", "clock3oclock")
    assert list(_captions(experiments, _set(experiments, *names, about=emoji)).values()) == [
        "flag of germany", "flag of st. kitts & nevis", "plus", "three o'clock",
    ]  # fmt: skip


def test_words_written_as_one_are_split_by_the_words_of_others(experiments: Any) -> None:
    words = {
        "water": 9,
        "buffalo": 4,
        "with": 9,
        "wings": 5,
        "money": 8,
        "cloud": 9,
        "computing": 4,
    }
    joined = experiments("icon_names").Joined(words, whole=["moneywith"])
    assert joined.split("waterbuffalo") == ["water", "buffalo"]
    assert joined.split("moneywithwings") == ["money", "with", "wings"]
    assert joined.split("moneywith") == ["moneywith"]
    assert joined.split("computing") == ["computing"]
    assert joined.split("waterbison") == ["waterbison"]


def test_one_order_of_words_is_taken_for_all(experiments: Any) -> None:
    order = experiments("icon_names").in_one_order(
        ["heart blue", "blue heart", "blue heart", "crop 9 16", "crop 16 9", "file to folder"]
    )
    assert order == {"heart blue": "blue heart", "blue heart": "blue heart"}


def test_names_of_brands_are_left_out_and_words_that_are_brands_too_are_not(
    experiments: Any,
) -> None:
    about = _about(author="Bob")
    icons = [
        _set(experiments, "brand-octo", "brand-apple", "house", prefix="a",
             categories={"Brands": ["brand-octo", "brand-apple"]}),
        _set(experiments, "octo", "apple", prefix="b", about=about, categories={"Food": ["apple"]}),
        _set(experiments, "apple", prefix="c", about=about, categories={"Fruit": ["apple"]}),
    ]  # fmt: skip
    dropped: dict[str, str] = {}
    rows = experiments("icon_rows").named(icons, {"octo": 3, "apple": 9}, dropped)
    assert [row.key for row in rows] == ["a/house", "b/apple", "c/apple"]
    assert dropped == {
        "a/brand-octo": "logo, by its set",
        "a/brand-apple": "logo, by its set",
        "b/octo": "logo, by its name",
    }


def test_one_size_of_a_drawing_is_kept(experiments: Any) -> None:
    icons = _set(
        experiments, "sun-16-filled", "sun-24-filled", "sun-48-filled", "sun-24-regular",
        suffixes={"24-filled": "", "24-regular": ""},
    )  # fmt: skip
    dropped: dict[str, str] = {}
    rows = experiments("icon_rows").named([icons], {}, dropped)
    assert [row.name for row in rows] == ["sun-24-filled", "sun-24-regular"]
    assert dropped == dict.fromkeys(["tiny/sun-16-filled", "tiny/sun-48-filled"], "another size")


@dataclass(frozen=True)
class _Row:
    designer: str
    caption: str
    guessable: bool = True


def _rows() -> list[_Row]:
    who = ("Mozilla", "Ann", "Bob", "Cy")
    rows = [_Row(name, f"thing {i}") for i in range(300) for name in who if (i + len(name)) % 3]
    rows += [_Row("Ann", f"{i} thing") for i in range(0, 300, 7)]
    return rows + [_Row(name, f"flag of {i}", guessable=False) for i in range(50) for name in who]


def test_held_out_means_what_it_says(experiments: Any) -> None:
    splits = experiments("icon_splits")
    rows = _rows()
    found = splits.splits(rows, names=40, variants=60)
    trained = [row for row, split in zip(rows, found, strict=True) if split == "train"]
    cells = {(row.designer, row.caption) for row in trained}
    captions = {row.caption for row in trained}
    words = {frozenset(caption.split()) for caption in captions}
    designers = {row.designer for row in trained}
    held = set()
    for row, split in zip(rows, found, strict=True):
        what, _, half = split.rpartition("-")
        assert split in splits.SPLITS
        if what == "designers":
            assert row.designer not in designers
        elif what == "names":
            held.add(frozenset(row.caption.split()))
            assert row.guessable and frozenset(row.caption.split()) not in words
        elif what == "variants":
            assert row.caption in captions and row.designer in designers
            assert (row.designer, row.caption) not in cells
        if what:
            assert half in ("test", "validation")
    assert len(held) == 40
    counts = Counter(found)
    assert 60 <= counts["variants-test"] + counts["variants-validation"] <= 63
    assert min(counts.values()) > 10


def test_however_many_variants_are_held_out_their_names_stay_in_training(experiments: Any) -> None:
    splits = experiments("icon_splits")
    rows = _rows()
    found = splits.splits(rows, names=40, variants=len(rows))
    trained = {row.caption for row, split in zip(rows, found, strict=True) if split == "train"}
    held = {row.caption for row, split in zip(rows, found, strict=True) if "variants" in split}
    assert held and held <= trained


def test_a_concept_has_no_skin_tone_and_no_gender(experiments: Any) -> None:
    concept = experiments("icon_splits").concept
    assert concept("woman singer dark skin tone") == concept("man singer") == "singer"
    assert concept("heart blue") == concept("blue heart") == "blue heart"


def test_both_halves_of_a_split_share_no_name(experiments: Any) -> None:
    splits = experiments("icon_splits")
    rows = _rows()
    found = splits.splits(rows, names=40, variants=60)
    for what in splits.HELD_OUT:
        halves = [
            {splits.concept(row.caption) for row, split in zip(rows, found, strict=True)
             if split == f"{what}-{half}"}
            for half in ("test", "validation")
        ]  # fmt: skip
        assert not halves[0] & halves[1]


def test_splits_do_not_depend_on_the_order_of_rows(experiments: Any) -> None:
    splits = experiments("icon_splits").splits
    rows = _rows()
    turned = splits(rows[::-1], names=40, variants=60)[::-1]
    assert splits(rows, names=40, variants=60) == turned


@pytest.fixture
def built(experiments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A data set of three sets: an icon twice, a blank one, one whose picture another set has."""
    words = "sun moon star tree house car boat fish bird key lock cup".split()  # noqa: SIM905
    mine = {word: _square(place, "blue") for place, word in enumerate(words)}
    mine |= {
        "copy": _square(0, "blue"),
        "nothing": {"body": ""},
        "away": {**_square(3), "hidden": True},
    }
    yours = {word: _square(place, "green", side=9) for place, word in enumerate(words)}
    yours["sunny"] = _square(0, "blue")
    icons = {
        "mine": (_about("CC-BY-4.0"), {"icons": mine, "width": 24, "height": 24,
                                       "categories": {"Sky": ["sun", "moon"]},
                                       "aliases": {"day-star": {"parent": "sun"}}}),
        "yours": (_about(author="Bob"), {"icons": yours, "width": 24, "height": 24}),
        "plain": (_about(author="Cy", palette=False),
                  {"icons": {"sun": _square(0, "currentColor")}}),
        "theirs": (_about("GPL-2.0-only"), {"icons": {"sun": _square(9)}}),
    }  # fmt: skip
    path = _package(tmp_path / "package.tgz", icons)
    module = experiments("icons")
    monkeypatch.setenv("HELIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "archive", lambda say: path)
    few = functools.partial(experiments("icon_splits").splits, names=4, variants=2)
    monkeypatch.setattr(module, "splits", few)
    module.build("colour", 16, jobs=1, say=lambda text: None)
    return module


def test_rows_are_those_of_the_shards(built: Any) -> None:
    icons = built.load("colour", 16)
    data = helip.open_dataset(icons.shards(), progress=False)
    assert list(data.keys) == icons.keys
    assert [data[row]["text"] for row in range(len(data))] == icons.captions
    assert {data[row]["image"].size for row in range(len(data))} == {(16, 16)}
    assert len(icons) == len(icons.rows("train")) + sum(
        len(icons.rows(what)) for what in ("designers", "names", "variants")
    )
    assert (
        len({icons.groups[row] for row in range(len(icons)) if icons.captions[row] == "sun"}) == 1
    )
    train = helip.open_dataset(icons.shards("train"), progress=False)
    assert list(train.keys) == [icons.keys[row] for row in icons.rows("train")]


def test_what_is_left_out_is_counted_and_what_is_used_is_credited(built: Any) -> None:
    folder = built.place("colour", 16)
    about = json.loads((folder / "dataset.json").read_text())
    assert about["pictures"] == 24
    assert about["left out"] == {
        "same pixels under another name": 2,  # "copy" and "sunny"
        "set: licence": 2,
        "blank picture": 1,
    }
    credit = (folder / "ATTRIBUTION.md").read_text()
    assert "mine: A set, by Ann, CC-BY-4.0" in credit and "yours: A set, by Bob, MIT" in credit
    assert "theirs" not in credit and "plain" not in credit


def test_a_data_set_that_is_there_is_not_made_again(built: Any) -> None:
    said: list[str] = []
    built.build("colour", 16, say=said.append)
    assert said == [f"{built.place('colour', 16)} is there already"]


def test_all_has_the_icons_of_one_colour_too_and_draws_only_these(built: Any) -> None:
    said: list[str] = []
    built.build("all", 16, jobs=1, say=said.append)
    assert any("drawing 1 icons of 1 sets" in text for text in said)
    assert "plain/sun" in built.load("all", 16).keys


def test_tags_lengthen_captions(built: Any) -> None:
    built.build("colour", 16, "tags", jobs=1, say=lambda text: None)
    icons = built.load("colour", 16, "tags")
    data = helip.open_dataset(icons.shards(), progress=False)
    texts = {key: data[row]["text"] for row, key in enumerate(data.keys)}
    assert texts["mine/sun"] == "sun, day star, sky"
    assert texts["yours/sun"] == "sun"


def test_a_kind_that_is_not_there_is_an_error_that_names_those_that_are(built: Any) -> None:
    with pytest.raises(ValueError, match=r"kind is 'grey'.*'colour', 'all'"):
        built.load("grey", 16)
    with pytest.raises(ValueError, match=r"no split is called 'tests'.*train"):
        built.load("colour", 16).rows("tests")
