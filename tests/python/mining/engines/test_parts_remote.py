"""Parts at URLs are merged, and those that are missing are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import (
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from helip.common.remote.client import Remote
from support.http_shards import serving
from support.remote_samples import write_store
from support.s3_server import S3Server

FOLDER = "s3://bucket/job/parts"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and its parts 1 to 3."""
    folder = tmp_path_factory.mktemp("made")
    store = write_store(folder / "a.store", rows=200)
    helip.mine(store, k=4, out=folder / "table", progress=False)
    for index in (1, 2, 3):
        helip.mine(store, k=4, part=(index, 3), out=folder / f"{index}", progress=False)
    return folder


def upload(made: Path, *indices: int, names: str = "part-{}", folder: str = FOLDER) -> None:
    for index in indices:
        helip.copy(made / str(index), f"{folder}/{names.format(index)}", progress=False)


def check(merged: helip.HardPairs, made: Path) -> None:
    np.testing.assert_array_equal(merged.ids, helip.HardPairs.open(made / "table").ids)


def test_a_folder_of_parts_is_merged_whatever_their_names(s3: S3Server, made: Path):
    upload(made, 3, names="last-{}")
    upload(made, 1, 2)
    check(helip.merge(FOLDER, progress=False), made)
    check(helip.merge([FOLDER], progress=False), made)


def test_a_missing_part_is_named_before_anything_is_downloaded(s3: S3Server, made, tmp_path):
    upload(made, 1, 3)
    with pytest.raises(
        InvalidArgumentError, match=rf"of 3 parts these are missing: 2 in {FOLDER}; mine"
    ):
        helip.merge(FOLDER, progress=False)
    for urls in ([f"{FOLDER}/part-{{1..3}}"], [f"{FOLDER}/part-{n}" for n in (1, 2, 3)]):
        with pytest.raises(InvalidArgumentError, match=rf"are missing: {FOLDER}/part-2; mine"):
            helip.merge(urls, progress=False)
    with pytest.raises(InvalidArgumentError, match=rf"missing: 2 in {FOLDER}, 3 in "):
        helip.merge([f"{FOLDER}/part-1"], progress=False)
    assert not (tmp_path / "cache").exists()


def test_parts_are_named_by_braces_without_a_list(s3: S3Server, made: Path):
    upload(made, 1, 2, 3)
    s3.requests.clear()
    out = "s3://bucket/job/pairs"
    check(helip.merge(FOLDER + "/part-{1..3}", out=out, progress=False), made)
    listed = [request.query for request in s3.requests if "list-type" in request.query]
    assert not any("parts" in query for query in listed)


def test_parts_of_hard_negatives_are_merged_at_urls(s3: S3Server, made: Path, tmp_path: Path):
    call = {"queries": made / "a.store", "corpus": made / "a.store", "k": 4, "progress": False}
    positives = list(range(200))
    whole = helip.mine(**call, positives=positives)
    for index in (1, 2):
        part = f"{FOLDER}/negatives-{index}"
        helip.mine(**call, positives=positives, part=(index, 2), out=part)
    merged = helip.merge(FOLDER + "/negatives-{1..2}", out="s3://bucket/job/n", progress=False)
    assert isinstance(merged, helip.HardNegatives)
    np.testing.assert_array_equal(merged.ids, whole.ids)
    opened = helip.HardNegatives.open("s3://bucket/job/n", cache=tmp_path / "cache")
    np.testing.assert_array_equal(opened.scores, whole.scores)


def test_a_part_that_is_still_uploaded_is_missing(s3: S3Server, made: Path):
    upload(made, 1, 2, 3)
    Remote("s3://bucket").delete([f"{FOLDER}/part-2/manifest.json"])
    with pytest.raises(InvalidArgumentError, match=r"are missing: 2 in "):
        helip.merge(FOLDER, progress=False)


def test_parts_of_both_places_are_merged(s3: S3Server, made: Path):
    upload(made, 1, 3)
    check(helip.merge([made / "2", FOLDER + "/part-{1,3}"], progress=False), made)
    with pytest.raises(InvalidArgumentError, match=r"missing: 3 \(targets 134 \.\. 199\)"):
        helip.merge([made / "2", f"{FOLDER}/part-1"], progress=False)


def test_other_things_are_named(s3: S3Server, made: Path, tmp_path: Path):
    with pytest.raises(InvalidArgumentError, match=r"none is below it; .*/part-\{1\.\.8\}"):
        helip.merge(FOLDER, progress=False)
    upload(made, 1, 2, 3)
    helip.copy(made / "table", f"{FOLDER}/table", progress=False)
    with pytest.raises(MismatchError, match=r"table/manifest\.json is of a helip\.hard_pairs, not"):
        helip.merge(FOLDER, progress=False)
    with pytest.raises(StorageError, match="no such bucket"):
        helip.merge("s3://nobucket/parts", progress=False)
    other = write_store(tmp_path / "other", rows=200, seed=1)
    helip.mine(other, k=4, part=(2, 2), out="s3://bucket/two/2", progress=False)
    upload(made, 1, names="{}", folder="s3://bucket/two")
    with pytest.raises(MismatchError, match=r"differ"):
        helip.merge("s3://bucket/two", progress=False)


def test_folders_of_plain_servers_are_not_listed(made: Path):
    with serving(made) as server:
        with pytest.raises(UnsupportedError, match=r"http:// are not listed; name its parts"):
            helip.merge(server.url, progress=False)
        check(helip.merge(server.url + "/{1..3}", progress=False), made)
