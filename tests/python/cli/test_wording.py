"""Messages of the library name options as the shell has them, and change nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.cli.wording import shell_words

Run = Callable[..., tuple[int, str, str]]
FORMS = {
    "k": "-k", "text": "--text", "image_column": "--image-column", "image_max": "--image-max",
    "shard_rows": "--shard-rows",
}  # fmt: skip


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("shard_rows is 100, must be more", "--shard-rows is 100, must be more"),
        ("no column; name it with image_column=…", "no column; name it with --image-column=…"),
        ("drop image_column=, or k=", "drop --image-column, or -k"),
        ("give text='a b', or k=5", "give --text 'a b', or -k 5"),
        ("image_max=True or image_max=False", "--image-max or --no-image-max"),
        ("k=None, shard_rows=(3, 4.5).", "no -k, --shard-rows 3 4.5."),
        ("helip.mine follows, helip.mine(k=5) too", "helip mine follows, helip.mine(k=5) too"),
        ("use (image_max, shard_rows).", "use (--image-max, --shard-rows)."),
        ("text is missing; give text", "--text is missing; give text"),
        ("k is 0", "-k is 0"),
        ("the text is missing", "the text is missing"),
        ("text has 5 rows", "text has 5 rows"),
        ("image_maximum and my_image_max", "image_maximum and my_image_max"),
        ("--image-max, --image_max", "--image-max, --image_max"),
        ("columns 'image_column', \"shard_rows\"", "columns 'image_column', \"shard_rows\""),
        ("'a shard_rows b' of users' image_max", "'a shard_rows b' of users' --image-max"),
        ("/d/shard_rows/x is", "/d/shard_rows/x is"),
        ("shard_rows/x and x/shard_rows", "shard_rows/x and x/shard_rows"),
        ("shard_rows.csv is empty", "shard_rows.csv is empty"),
        ("keys=shard_rows shard_rows[0]", "keys=shard_rows shard_rows[0]"),
        ("https://h/a?k=3&text=5&k=3 is", "https://h/a?k=3&text=5&k=3 is"),
        ("k=True.jpg, k=5.csv, k=5/x, k=5&x", "k=True.jpg, k=5.csv, k=5/x, k=5&x"),
        ("image_max=a.csv image_max=5/x", "image_max=a.csv image_max=5/x"),
        ("k=-1, k=1.5e-05, k=0.5. Or k=7.", "-k -1, -k 1.5e-05, -k 0.5. Or -k 7."),
    ],
)
def test_names_that_stand_alone_are_options(message: str, wanted: str) -> None:
    assert shell_words(message, FORMS, ()) == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Path("/my shard_rows here"), "/my shard_rows here is no folder"),
        ("shard_rows", "shard_rows exists already"),
        (["a", "text"], "text is no file"),
    ],
    ids=str,
)
def test_what_was_given_stays(given: object, message: str) -> None:
    assert shell_words(message, FORMS, [given, None, 5]) == message
    assert shell_words(f"image_max: {message}", FORMS, [given]) == f"--image-max: {message}"


def test_a_message_without_options_stays() -> None:
    assert shell_words("shard_rows is 5", {}, ["x"]) == "shard_rows is 5"
    assert shell_words("a_b is 5", {"k": "-k"}, ["x"]) == "a_b is 5"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mine", "{tmp}/s", "--out", "p", "-k", "0"), "helip: -k is 0, must be at least 1"),
        (("mine", "{tmp}/s", "--out", "p", "--image-max", "2"), "helip: --image-max is 2.0, must"),
        (("plan", "s", "-k", "0"), "helip: -k is 0, must be at least 1"),
        (("embed", "{tmp}/d.csv", "--out", "p", "--shard-rows", "100"), "--shard-rows is 100"),
        (("index", "{tmp}/image_column.csv", "--out", "p"), "/image_column.csv"),
        (
            ("embed", "{tmp}/d.csv", "--out", "p", "--image-encoder", "x"),
            "its columns: 'image_max', 'caption'; name it with --image-column=…",
        ),
        (
            ("embed", "{tmp}/d.yaml", "--out", "p", "--image-encoder", "x"),
            "helip: {tmp}/d.yaml: {tmp}/d.csv has no image column",
        ),
        (
            ("train", "{tmp}/d.csv", "--model", "ViT-B-32", "--out", "p"),
            "no weights; give --checkpoint a file or folder of weights, or a pretrained tag",
        ),
        (("train", "d", "--model", "ViT-B-32", "--out", "p"), ", or --from-scratch for a random"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_commands_name_their_options(
    run: Run, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=4, text_dim=4) as writer:
        writer.append(["a", "b"], np.eye(4)[:2], np.eye(4)[:2])
    (tmp_path / "d.csv").write_text("image_max,caption\na.png,a\n")
    (tmp_path / "d.yaml").write_text("source: d.csv\n")
    code, _, err = run(*(word.format(tmp=tmp_path) for word in words))
    assert code == 2
    assert message.format(tmp=tmp_path) in err


def test_a_short_name_and_a_config_file_are_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 1\nimage_max: 3\n")
    code, _, err = run("mine", "s", "--out", "p", "--config", tmp_path / "run.yaml")
    assert code == 2
    assert err.startswith("helip: --image-max is 3.0, must be at most 1.0 (")
    assert "run.yaml line 2)" in err
