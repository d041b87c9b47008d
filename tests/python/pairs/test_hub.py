"""save_pretrained, from_pretrained and push_to_hub of a table."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, StorageError
from support.hub_server import hub_for_tests
from support.mined_samples import files_of, write_store


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_for_tests(monkeypatch, tmp_path / "cache") as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("hub") / "store", 300)


@pytest.fixture(scope="module")
def mined(store):
    return helip.mine(store, k=5, out=store.with_name("pairs"), progress=False)


def same(first: helip.HardPairs, second: helip.HardPairs) -> bool:
    names = ("ids", "scores", "counts", "fingerprint", "data_fingerprint")
    return all(np.array_equal(getattr(first, n), getattr(second, n)) for n in names)


def card_of(folder):
    return huggingface_hub.DatasetCard.load(folder / "README.md")


def test_a_pushed_table_comes_back_as_the_same_bytes(hub, mined, store):
    address = mined.push_to_hub("me/pairs", license="mit", progress=False)
    pushed = hub.repos["datasets/me/pairs"].files()
    assert set(pushed) == {"README.md", "manifest.json", "shard-00000.safetensors"}
    again = helip.HardPairs.from_pretrained("me/pairs", store=store, progress=False)
    assert same(again, mined) and again[3].keys == mined.with_store(store)[3].keys
    again.verify()
    here = files_of(store.with_name("pairs"))
    assert {name: pushed[name] for name in here} == here
    assert "/commit/" in address and address.startswith(hub.url)


def test_a_saved_table_opens_and_has_a_card(tmp_path, mined):
    mined.save_pretrained(tmp_path / "saved", license="cc0-1.0", data="Icons.")
    assert same(helip.HardPairs.from_pretrained(tmp_path / "saved"), mined)
    card = card_of(tmp_path / "saved")
    assert card.data.license == "cc0-1.0" and card.data.size_categories == ["n<1K"]
    assert "Icons." in card.text and "Mining was exact" in card.text
    assert "| `image_max` | 0.98 |" in card.text and mined.fingerprint in card.text
    assert "was not measured for this card" in card.text
    with pytest.raises(InvalidArgumentError, match="exists"):
        mined.save_pretrained(tmp_path / "saved")


def test_a_card_says_what_recall_was_measured(tmp_path):
    table = helip.HardPairs.from_arrays(
        np.array([[1], [0]]), np.ones((2, 1)), options={"method": "hnsw"},
        report={"recall": {"value": 0.956, "low": 0.95, "high": 0.96, "targets": 2}},
    )  # fmt: skip
    table.save_pretrained(tmp_path / "a")
    assert "0.956 (95 % interval 0.95 to 0.96)" in card_of(tmp_path / "a").text
    bare = helip.HardPairs.from_arrays(np.array([[1], [0]]), np.ones((2, 1)))
    bare.save_pretrained(tmp_path / "b")
    text = card_of(tmp_path / "b").text
    assert "How the table was mined is not known" in text
    assert "recall against exact mining was not measured" in text
    assert "no fingerprint of its data set" in text


def test_the_size_is_that_of_what_a_hub_reads(tmp_path, mined):
    pytest.importorskip("pyarrow")
    mined.save_pretrained(tmp_path / "saved", parquet=True)
    assert card_of(tmp_path / "saved").data.size_categories == ["1K<n<10K"]  # 300 targets, k 5


def test_datasets_reads_the_parquet_file(tmp_path, mined):
    datasets = pytest.importorskip("datasets")
    mined.save_pretrained(tmp_path / "saved", parquet=True)
    card = card_of(tmp_path / "saved")
    assert card.data.configs == [{"config_name": "default", "data_files": "pairs.parquet"}]
    rows = datasets.load_dataset(
        str(tmp_path / "saved"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert rows.column_names == ["target", "rank", "hard", "score"]
    expected = mined.ids[mined.ids >= 0]
    assert np.array_equal(np.asarray(rows["hard"]), expected)


def test_paths_of_the_machine_stay_out_of_a_table(hub, tmp_path, mined, store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filtered = mined.filter(by=store, image_max=0.9, progress=False)
    assert str(store.parent) in str(filtered.report)
    filtered.push_to_hub("me/pairs", progress=False)
    for name, contents in hub.repos["datasets/me/pairs"].files().items():
        assert str(store.parent).encode() not in contents, name
    again = helip.HardPairs.from_pretrained("me/pairs", progress=False)
    assert same(again, filtered) and again.options == filtered.options
    assert again.report["filter"][0]["from"]["path"] == "pairs"


def test_paths_of_the_machine_stay_out_of_its_parquet_file(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    ids, options = np.array([[1], [0]]), {"from": str(tmp_path / "acme" / "pairs"), "k": 1}
    options["data"] = "https://acme:token@host/d.tar?sig=acme"
    table = helip.HardPairs.from_arrays(ids, np.ones((2, 1)), options=options)
    table.save_pretrained(tmp_path / "saved", parquet=True, results="| /mnt/acme/run |")
    about = parquet.read_schema(tmp_path / "saved" / "pairs.parquet").metadata
    told = json.loads(about[b"helip.hard_pairs"])
    assert told["options"] == {
        "from": "pairs",
        "k": 1,
        "data": "https://***@host/d.tar?***",
    }
    for path in (tmp_path / "saved").iterdir():
        assert b"acme" not in path.read_bytes(), path.name


def test_a_snapshot_that_was_not_whole_is_made_whole(hub, mined, tmp_path):
    mined.push_to_hub("me/pairs", progress=False)
    download = huggingface_hub.HfApi.snapshot_download
    for some in ("shard-*", "manifest.json"):  # another program wants a part of it

        def partly(*words, some=some, allow_patterns, **options):
            return download(*words, allow_patterns=[some], **options)

        with (
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(helip.Error, match=r"has no manifest\.json|shard-00000"),
        ):
            patch.setattr(huggingface_hub.HfApi, "snapshot_download", partly)
            pull(tmp_path / some.strip("*"))
        assert same(pull(tmp_path / some.strip("*")), mined)


def pull(cache):
    return helip.HardPairs.from_pretrained("me/pairs", cache_dir=cache, progress=False)


def test_the_cache_takes_no_files_of_others(hub, mined, tmp_path):
    mined.push_to_hub("me/pairs", progress=False, license="mit")
    options = {"repo_type": "dataset", "cache_dir": tmp_path / "c"}
    huggingface_hub.hf_hub_download("me/pairs", "README.md", **options)
    assert same(pull(tmp_path / "c"), mined)
    (folder,) = (tmp_path / "c" / "helip" / "hub").glob("*/*")
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "shard-00000.safetensors"}


def test_a_push_that_cannot_be_writes_no_files_first(hub, mined, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr("helip.pairs.hub._write", lambda *_, **__: pytest.fail("it was written"))
    with pytest.raises(StorageError, match="no access token"):
        mined.push_to_hub("me/pairs", progress=False)


def test_words_that_name_the_machine_are_not_pushed(hub, mined):
    with pytest.raises(InvalidArgumentError, match=r"README\.md names .*, a path of this machine"):
        mined.push_to_hub("me/pairs", data=f"Of {Path.home()}/icons.", progress=False)
    assert not hub.requests


def test_what_is_no_table_is_refused(hub, tmp_path):
    with pytest.raises(InvalidArgumentError, match="repo_id is 'a b'"):
        helip.HardPairs.from_arrays(np.array([[1], [0]]), np.ones((2, 1))).push_to_hub("a b")
    with pytest.raises(InvalidArgumentError, match="folder_or_repo is 3, must be the path of a"):
        helip.HardPairs.from_pretrained(3)
    with pytest.raises(StorageError, match="cannot download me/absent"):
        helip.HardPairs.from_pretrained("me/absent", progress=False)
