"""Which paths are URLs, and what they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from helip.common.errors import UnsupportedError
from helip.common.remote.urls import local_path, url_of


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("s3://b/a.store", "s3://b/a.store"),
        (Path("s3://b/a.store"), "s3://b/a.store"),  # which has lost a slash
        ("HTTPS://Host/a/", "https://Host/a"),
        ("gs://b/a b", "gs://b/a b"),
        ("file:///a", None),
        ("a.store", None),
        ("/s3:/a", None),
        (b"s3://b/a", None),
        (None, None),
    ],
    ids=[*map(str, range(9))],
)
def test_a_url_is_known_also_as_a_path(path, url):
    assert url_of(path) == url


def test_another_scheme_is_refused():
    with pytest.raises(UnsupportedError, match=r"'hdfs://a/b' is neither a local path nor a URL"):
        url_of("hdfs://a/b")


@pytest.mark.parametrize(
    "path", ["file:///a%20b/c", "file://localhost/a%20b/c", Path("file:/a b/c")]
)
def test_a_file_url_is_the_path_that_it_names(path):
    assert local_path(path) == "/a b/c"
    assert local_path("a%20b") == "a%20b"
