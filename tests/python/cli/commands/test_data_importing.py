"""``helip import``: the store that Python makes."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np

from helip import EmbeddingStore
from helip.cli.commands.data import import_embeddings
from support.import_samples import clip_retrieval, embeddings


def test_the_shell_has_the_options_of_python() -> None:
    offered = {name for name, *_ in import_embeddings.fields()}
    offered |= set(inspect.signature(import_embeddings.work).parameters)
    wanted = set(inspect.signature(EmbeddingStore.import_from).parameters)
    assert wanted - {"keys", "progress"} <= offered


def test_files_become_a_store(run, tmp_path: Path) -> None:
    whole = embeddings(40)
    folder = clip_retrieval(tmp_path / "c", whole, 15)
    out = tmp_path / "store"
    code, _, err = run("import", folder, "--out", out, "--quiet")
    assert code == 0, err
    assert f"{out}: 40 rows of 12 + 8 float16, fingerprint " in err
    whole.check(EmbeddingStore.open(out))
    code, _, err = run(
        "import", "--image", *sorted((folder / "img_emb").iterdir()),
        "--text", f"{folder}/text_emb/*.npy", "--out", tmp_path / "other", "--dtype", "float32",
    )  # fmt: skip
    assert code == 0, err
    whole.check(EmbeddingStore.open(tmp_path / "other"), numbered=True)


def test_bad_input_is_one_line_and_2(run, tmp_path: Path) -> None:
    code, _, err = run("import", tmp_path / "nothing", "--out", tmp_path / "s")
    assert code == 2
    assert err.count("\n") == 1 and "nothing is there" in err
    code, _, err = run("import", "--image", "a.npy", "--out", tmp_path / "s")
    assert (code, "text is missing" in err) == (2, True)
    code, _, err = run("import", "a b.npy", "b.npy", "--out", tmp_path / "s")
    line = "helip import --image 'a b.npy' --text b.npy --out STORE"
    said = f"helip: 'b.npy' is too many: two matrices are named by their sides, {line}\n"
    assert (code, err) == (2, said)
    code, _, err = run("mine", "s", "t", "--out", "p")
    assert (code, err) == (2, "helip: 't' is too many; see helip mine --help\n")


def test_other_matrices_are_imported_by_their_names(run, tmp_path):
    for name, dim in (("image", 4), ("text", 3), ("audio", 2)):
        np.save(tmp_path / f"{name}.npy", np.ones((5, dim), np.float32))
    sides = ("--image", tmp_path / "image.npy", "--text", tmp_path / "text.npy")
    call = ("import", *sides, "--out", tmp_path / "s", "--matrices")
    code, _, err = run(*call, "audio")
    assert code == 2 and "--matrices audio must be NAME=FILES" in err
    assert run(*call, f"audio={tmp_path / 'audio.npy'}")[0] == 0
    assert EmbeddingStore.open(tmp_path / "s").matrix_names == ("image", "text", "audio")
