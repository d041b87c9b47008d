"""Options saved beside an output: where, without secrets, and without a part in its success."""

from __future__ import annotations

from pathlib import Path

import pytest

from helip.cli.saved_options import find_options, load_options, place_beside, save_options
from helip.common.errors import InvalidArgumentError


def test_a_folder_holds_them_and_a_file_has_them_beside_it(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("")
    assert place_beside(tmp_path) == tmp_path / "helip.yaml"
    assert place_beside(tmp_path / "page.html") == tmp_path / "page.html.helip.yaml"


def test_what_was_given_and_all_that_holds_is_kept_as_it_was(tmp_path: Path) -> None:
    options = {"data": "d/{00..03}.tar", "out": tmp_path / "o", "betas": (0.9, 0.98), "k": None}
    save_options(tmp_path, "train", options, {"data", "out"}, "1.2.3")
    saved = load_options(find_options(tmp_path))
    assert (saved.version, saved.command) == ("1.2.3", "train")
    assert saved.given == {"data": "d/{00..03}.tar", "out": str(tmp_path / "o")}
    assert saved.options == {**saved.given, "betas": [0.9, 0.98], "k": None}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("https://me:secret@host/a@b/0.tar", "https://***@host/a@b/0.tar"),
        ("https://token@host/0.tar", "https://***@host/0.tar"),
        ("s3://bucket/0.tar?X-Amz-Signature=secret,secret&a=b", "s3://bucket/0.tar?***"),
        ("https://host/0.tar#secret", "https://host/0.tar?***"),
        (Path("https://me:secret@host/0.tar"), "https://***@host/0.tar"),
        ("a=https://me:secret@host/a", "a=https://***@host/a"),
        (("s3://bucket/0.tar", "gs://me:secret@x/y"), ["s3://bucket/0.tar", "gs://***@x/y"]),
        ("/data/a@b/{00..07}.tar", "/data/a@b/{00..07}.tar"),
        ("timm:vit@/weights/x.pt", "timm:vit@/weights/x.pt"),
        ("https://host/{00..07}.tar", "https://host/{00..07}.tar"),
    ],
    ids=[
        "password", "user", "query", "fragment", "path", "named", "list", "pattern", "spec",
        "plain",
    ],
)  # fmt: skip
def test_users_passwords_and_queries_of_urls_are_not_kept(
    tmp_path: Path, value: object, kept: object
) -> None:
    save_options(tmp_path, "embed", {"data": value}, {"data"}, "1")
    assert load_options(find_options(tmp_path)).options == {"data": kept}
    assert "secret" not in (tmp_path / "helip.yaml").read_text()


def test_a_failure_is_told_and_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "helip.yaml").mkdir()  # nothing can take its place
    save_options(tmp_path, "mine", {"k": 5}, {"k"}, "1")
    said = capsys.readouterr().err
    assert f"helip: {tmp_path} is written, and its options could not be saved: " in said
    assert [path.name for path in tmp_path.iterdir()] == ["helip.yaml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k: 5\n", "was not written by a helip command"),
        ("helip: 1\ncommand: mine\ngiven: {}\noptions: 7\n", "was not written by a helip command"),
        ("[1]\n", "must hold options"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "helip.yaml").write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        load_options(find_options(tmp_path))


def test_an_output_without_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"there is no .*x\.helip\.yaml"):
        find_options(tmp_path / "x")
