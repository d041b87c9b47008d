"""Commands that read and write stores and tables in a bucket."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

import helip
from helip.cli.configuration import read_options
from support.remote_samples import files_of
from support.s3_server import S3Server

Run = Callable[..., tuple[int, str, str]]
STORE = "s3://bucket/x/s"
PAIRS = "s3://bucket/x/cc.pairs"
INDEX = "s3://bucket/x/a.index"


def test_a_store_is_copied_mined_and_looked_at_by_its_url(run: Run, s3: S3Server, store, tmp_path):
    code, out, err = run("copy", store, STORE)
    assert (code, out) == (0, "")
    assert err.endswith(f"{STORE} is whole\n")
    assert run("copy", STORE, "s3://bucket/x/again")[0] == 0
    assert helip.EmbeddingStore.open("s3://bucket/x/again").keys[59]
    cache = tmp_path / "scratch"
    code, _, err = run("mine", STORE, "--out", PAIRS, "-k", 3, "--cache", cache)
    assert code == 0
    assert f"next: helip diagnose {PAIRS} --data" in err
    assert [each.name[:2] for each in cache.iterdir()] == ["s-"]
    expected = helip.mine(store, k=3, progress=False)
    table = helip.HardPairs.open(PAIRS)
    np.testing.assert_array_equal(table.ids, expected.ids)
    code, out, _ = run("inspect", PAIRS, "--json")
    assert (code, json.loads(out)["k"], json.loads(out)["path"]) == (0, 3, PAIRS)
    code, out, _ = run("verify", PAIRS, "--json")
    assert json.loads(out) == {"path": PAIRS, "format": "helip.hard_pairs", "whole": True}
    code, _, err = run("copy", PAIRS, tmp_path / "cc.pairs", "--json")
    assert code == 0
    assert set(files_of(tmp_path / "cc.pairs")) >= {"helip.yaml", "manifest.json"}


def test_inspecting_a_store_downloads_nothing(run: Run, s3: S3Server, store, tmp_path):
    run("copy", store, STORE)
    code, out, _ = run("inspect", STORE, "--json")
    facts = json.loads(out)
    assert (code, facts["path"], facts["rows"], facts["image_dim"]) == (0, STORE, 60, 8)
    assert not (tmp_path / "cache").exists()


def test_an_index_of_pairs_is_looked_at_as_in_a_directory(run: Run, s3: S3Server, store, tmp_path):
    helip.PairIndex.build(store, progress=False).save(tmp_path / "a.index")
    assert run("copy", tmp_path / "a.index", INDEX)[0] == 0
    s3.requests.clear()
    code, out, _ = run("inspect", INDEX, "--json")
    facts = json.loads(out)
    assert (code, facts.pop("path"), facts["pairs"]) == (0, INDEX, 60)
    assert {request.key for request in s3.requests} == {"x/a.index/manifest.json"}
    _, out, _ = run("inspect", tmp_path / "a.index", "--json")
    assert {**json.loads(out), "path": ""} == {"path": "", **facts}
    assert "\noptions.degree     32\n" in run("inspect", tmp_path / "a.index")[1]
    for place in (INDEX, tmp_path / "a.index"):
        code, out, _ = run("verify", place, "--json")
        assert json.loads(out) == {
            "path": str(place), "format": "helip.pair_index", "whole": True,
        }  # fmt: skip
    shard = tmp_path / "a.index" / "shard-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    code, _, err = run("verify", tmp_path / "a.index")
    assert (code, "shard-00000.safetensors" in err) == (1, True)


def test_the_same_call_gives_the_table_that_is_there(run: Run, s3: S3Server, store):
    assert run("mine", store, "--out", PAIRS, "-k", 3)[0] == 0
    s3.requests.clear()
    assert run("mine", store, "--out", PAIRS, "-k", 3)[0] == 0
    assert [key for key in s3.of("PUT") if not key.endswith("helip.yaml")] == []
    code, _, err = run("mine", store, "--out", PAIRS, "-k", 4)
    assert code == 1
    assert re.search(rf"{PAIRS} was mined with other options \(k 3, now 4\)", err)


def test_options_are_saved_at_the_url(run: Run, s3: S3Server, store, tmp_path):
    run("mine", store, "--out", PAIRS, "-k", 3)
    run("copy", PAIRS, tmp_path / "back")
    saved = read_options(tmp_path / "back" / "helip.yaml")
    assert (saved["k"][0], saved["out"][0]) == (3, PAIRS)
    again = ("--config", tmp_path / "back" / "helip.yaml", "--out", "s3://bucket/x/again")
    assert run("mine", *again)[0] == 0
    assert helip.HardPairs.open("s3://bucket/x/again").k == 3


def test_parts_are_mined_and_merged_in_the_bucket(run: Run, s3: S3Server, store):
    parts = [f"s3://bucket/x/part-{index}" for index in (1, 2)]
    for index, part in enumerate(parts, 1):
        assert run("mine", store, "--out", part, "-k", 3, "--part", f"{index}/2")[0] == 0
    assert run("merge", *parts, "--out", PAIRS)[0] == 0
    expected = helip.mine(store, k=3, progress=False)
    np.testing.assert_array_equal(helip.HardPairs.open(PAIRS).ids, expected.ids)
    code, _, err = run("merge", *parts, "--out", PAIRS)
    assert code == 2
    assert f"{PAIRS} exists already" in err


def test_a_table_is_brought_up_to_date_where_it_is(run: Run, s3: S3Server, store):
    assert run("mine", store, "--out", PAIRS, "-k", 3)[0] == 0
    with helip.EmbeddingStore.append_to(store) as writer:
        writer.append(["new"], np.ones((1, 8), np.float32), np.ones((1, 6), np.float32))
    code, _, err = run("update", PAIRS, "--store", store)
    assert code == 0, err
    expected = helip.mine(store, k=3, progress=False)
    np.testing.assert_array_equal(helip.HardPairs.open(PAIRS).ids, expected.ids)


def test_a_table_is_filtered_to_a_url(run: Run, s3: S3Server, store):
    assert run("mine", store, "--out", PAIRS, "-k", 3)[0] == 0
    code, out, _ = run("filter", PAIRS, "--out", "s3://bucket/y", "--max-score", 0.5, "--json")
    assert (code, json.loads(out)["path"]) == (0, "s3://bucket/y")
    assert helip.HardPairs.open("s3://bucket/y").options["filter"]


def test_what_is_stopped_goes_on(run: Run, s3: S3Server, store, tmp_path):
    s3.fault = lambda request: (503, "SlowDown") if "shard" in request.key else None
    code, _, err = run("mine", store, "--out", PAIRS, "-k", 3)
    assert code == 1
    assert "503" in err and "hidden" not in err
    (scratch,) = (tmp_path / "cache" / "scratch").iterdir()
    assert f"what was mined is in {scratch / 'cc.pairs'}; the same command goes on" in err
    assert (scratch / "cc.pairs" / "manifest.json").exists()
    s3.fault = None
    assert run("mine", store, "--out", PAIRS, "-k", 3)[0] == 0
    assert not (scratch / "cc.pairs").exists()
    assert len(helip.HardPairs.open(PAIRS)) == 60


def test_wrong_use_is_told(run: Run, s3: S3Server, store, tmp_path):
    code, _, err = run("mine", store, "--out", tmp_path / "p", "--cache", tmp_path)
    assert code == 2
    assert "which is for a store at a URL" in err
    code, _, err = run("copy", store, "https://host/a?sig=hidden")
    assert code == 1
    assert "has a query" in err and "hidden" not in err
    code, _, err = run("copy", "s3://nobucket/a", tmp_path / "a")
    assert code == 1
    assert "there is no such bucket" in err
    code, _, err = run("report", store, "--out", "s3://bucket/page.html")
    assert code in (1, 2)
    assert not Path("s3:").exists()
