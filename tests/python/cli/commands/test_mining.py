"""Mining and planning without a store: matrices in .npy files, and sizes alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common import progress

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    random = np.random.default_rng(0)
    for name, dim in (("I", 8), ("T", 6)):
        np.save(tmp_path / f"{name}.npy", random.normal(size=(60, dim)) + 0.4)
    return tmp_path / "I.npy", tmp_path / "T.npy"


def test_npy_files_are_mined_as_arrays_are(
    run: Run, files: tuple[Path, Path], tmp_path: Path
) -> None:
    call = ("mine", "--image", files[0], "--text", files[1], "--out", tmp_path / "p", "-k", 5)
    code, out, err = run(*call, "--csv", tmp_path / "c.csv", "--json")
    assert code == 0, err
    assert json.loads(out)["targets"] == 60
    assert f"next: helip inspect {tmp_path / 'p'} --row 0" in err  # diagnosing needs their data
    assert run("inspect", tmp_path / "p", "--row", 0)[0] == 0
    _, _, err = run("filter", tmp_path / "p", "--out", tmp_path / "f", "--max-score", 0.9)
    assert f"next: helip inspect {tmp_path / 'f'} --row 0" in err
    table = helip.HardPairs.open(tmp_path / "p")
    wanted = helip.mine(
        image=np.load(files[0]), text=np.load(files[1]), k=5, device="cpu", progress=False
    )
    np.testing.assert_array_equal(table.ids, wanted.ids)
    assert (table.fingerprint, table.data_fingerprint) == ("", "")
    assert (tmp_path / "c.csv").read_text().startswith("target,h1")
    code, _, err = run(*call)
    assert (code, "already holds a table" in err) == (2, True)


def test_one_modality_may_be_mined_alone(
    run: Run, files: tuple[Path, Path], tmp_path: Path
) -> None:
    for name, file in zip(("image", "text"), files, strict=True):
        call = ("mine", f"--{name}", file, "--modality", name, "--out", tmp_path / name)
        assert run(*call, "-k", 5)[0] == 0


def test_unreadable_rows_are_told_apart_from_outliers(
    run: Run, files: tuple[Path, Path], tmp_path: Path
) -> None:
    image, text = (np.load(file).astype(np.float32) for file in files)
    image[:7] = 0
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=6) as writer:
        writer.append([str(row) for row in range(60)], image, text)
    code, out, err = run("mine", tmp_path / "s", "--out", tmp_path / "p", "-k", 3)
    assert code == 0, err
    lines = {tuple(line.split(maxsplit=2)[:2]) for line in out.splitlines()}
    assert {("outliers", "0"), ("unreadable", "7"), ("short", "targets")} <= lines
    out = run("inspect", tmp_path / "p")[1]  # which knows no store
    assert "without a hard pair  7 (outliers, or rows that could not be read)" in out
    code, out, _ = run("mine", tmp_path / "s", "--out", tmp_path / "p", "-k", 3, "--json")
    assert (json.loads(out)["unreadable"], json.loads(out)["outliers"]) == (7, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to mine; give a store, or --image and --text"),
        (["{store}", "--image", "{image}", "--text", "{text}"], "and --image is given as well"),
        (["--image", "{image}"], "--text is missing, and --image is {image}"),
        (["--text", "{text}"], "--image is missing, and --text is {text}"),
        (["--image", "{image}", "--text", "{short}"], "image has 60 rows and text 59"),
        (["--image", "{objects}", "--text", "{text}"], "pickled Python objects"),
        (["--image", "{image}", "--text", "{text}", "--part", "1/2"], "part needs a store"),
    ],
    ids=str,
)
def test_what_is_no_pair_of_matrices_is_refused(
    run: Run, store: Path, files: tuple[Path, Path], tmp_path: Path,
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    np.save(tmp_path / "short.npy", np.ones((59, 6)))
    np.save(tmp_path / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    names = {
        "store": store, "image": files[0], "text": files[1], "short": tmp_path / "short.npy",
        "objects": tmp_path / "objects.npy",
    }  # fmt: skip
    code, out, err = run(
        "mine", *(each.format(**names) for each in arguments), "--out", tmp_path / "p"
    )
    assert (code, out) == (2, "")
    assert message.format(**names) in err
    assert not (tmp_path / "p").exists()


def test_a_plan_of_stages_says_how_to_mine_in_them(run: Run, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 14))
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=6) as writer:
        writer.append([str(row) for row in range(300)], rows[:, :8], rows[:, 8:])
    words = ("--method", "partition", "--engine", "local", "--cluster-rows", 100)
    code, out, err = run("plan", tmp_path / "s", *words, "-k", 5, "--threads", 2)
    assert code == 0, err
    assert out.splitlines()[0].startswith("method") and "6 clusters of about 100 rows" in out
    assert "--method partition --cluster-rows 100 --engine local --threads 2" in err
    units = "1 centres, 1 certify, 1 route, 6 solve, 1 merge, 1 measure, 1 write"
    assert units in out
    code, out, _ = run("plan", tmp_path / "s", *words, "--json")
    planned = json.loads(out)
    assert planned["stages"]["solve"] == 6 and planned["scratch_bytes"] > 0
    assert planned["alternatives"] == []


def test_a_plan_says_the_parts_and_how_to_mine_in_them(run: Run, store: Path) -> None:
    code, out, err = run("plan", store, "-k", 5, "--device", "cpu", "--parts", 3)
    assert code == 0 and "3, one after another" in out and "or hnsw" in out
    assert "--parts 3" in err
    code, _, err = run("plan", store, "--method", "hnsw", "--parts", 3, "--device", "cpu")
    assert code == 1 and "which works on all rows at once" in err


def test_memory_is_told_by_what_its_bound_counts(run: Run, store: Path, tmp_path: Path) -> None:
    _, out, _ = run("plan", store, "-k", 5, "--device", "cpu", "--memory", "1MB")
    assert "of mapped files, which the system can drop" in out
    _, out, _ = run("mine", store, "--out", tmp_path / "p", "-k", 5, "--device", "cpu")
    assert "of mapped files, which the system can drop" in out
    call = ("mine", store, "--out", tmp_path / "q", "-k", 5, "--device", "cpu", "--json")
    memory = json.loads(run(*call)[1])["memory"]
    assert memory.keys() == {"own_bytes", "mapped_bytes"}
    _, out, _ = run("mine", "--help")
    assert "not of mapped pages of input and codes" in " ".join(out.replace("│", " ").split())


def test_a_large_table_is_told_first_unless_all_is_quiet(
    run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_MUCH", 1)
    for name, flags in (("p", ()), ("q", ("--quiet",))):
        _, _, err = run("mine", store, "--out", tmp_path / name, "-k", 5, *flags)
        told = f"mine: writes about {60 * (5 * 8 + 4) / 1000:.1f} KB to {tmp_path / name}\n"
        assert err.startswith(told) != bool(flags)


def test_a_plan_takes_files_as_well(run: Run, files: tuple[Path, Path]) -> None:
    code, out, err = run("plan", "--image", files[0], "--text", files[1], "--json")
    assert code == 0, err
    assert json.loads(out)["pairs"] == 60 * 59


def test_a_plan_wants_a_store_or_matrices(run: Run) -> None:
    code, _, err = run("plan")
    assert code == 2 and "nothing to mine; give a store, or --image and --text" in err


def test_parts_are_merged_by_their_folder(run: Run, store: Path, tmp_path: Path) -> None:
    for part in (1, 2):
        out = tmp_path / "parts" / str(part)
        assert run("mine", store, "--out", out, "-k", 5, "--part", f"{part}/2")[0] == 0
    code, _, err = run("merge", tmp_path / "parts", "--out", tmp_path / "p")
    assert code == 0, err
    table = helip.mining.merge(tmp_path / "parts", progress=False)
    assert len(table) == len(helip.HardPairs.open(tmp_path / "p")) == 60
    with pytest.raises(helip.InvalidArgumentError, match="or the folder that holds them"):
        helip.mining.merge(tmp_path / "parts" / "1")


def test_a_table_without_a_hard_pair_is_a_failure_that_names_the_rules(
    run: Run, store: Path, tmp_path: Path
) -> None:
    code, out, err = run("mine", store, "--out", tmp_path / "p", "--image-max", 0, "-k", 5)
    assert code == 1
    assert "60 targets without" in out
    assert "no pair is within --image-max 0, --text-max 0.98, --min-score 0; loosen them" in err
    assert "next:" not in err
    assert "image_max: 0" in (tmp_path / "p" / "helip.yaml").read_text()


def test_pools_wider_than_the_data_are_remarked(run: Run, store: Path, tmp_path: Path) -> None:
    code, _, err = run("mine", store, "--out", tmp_path / "p", "-k", 60)
    assert (code, "k is 60, and a target has 59 others" in err) == (0, True)
    assert "others" not in run("mine", store, "--out", tmp_path / "q", "-k", 59)[2]


def test_a_plan_says_which_tables_cannot_be_updated(run: Run, store: Path) -> None:
    for method in ("hnsw", "partition", "exact"):
        _, out, _ = run("plan", store, "--method", method, "--device", "cpu")
        assert ("helip update needs a table" in out) == (method == "hnsw")


@pytest.mark.parametrize("command", ["plan", "inspect", "verify"])
def test_a_store_that_is_not_there_is_said_to_be_absent(
    run: Run, tmp_path: Path, command: str
) -> None:
    code, _, err = run(command, tmp_path / "absent")
    assert code == 1
    assert f"there is no store at '{tmp_path}/absent'" in err


def test_a_margin_between_two_encoders_is_refused_with_their_names(
    run: Run, tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 8))
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=8) as writer:
        writer.append([str(row) for row in range(20)], rows, rows)
        writer.commit({"image_encoder": "timm:vit", "text_encoder": "st:mpnet"})
    call = ("mine", tmp_path / "s", "--out", tmp_path / "p", "-k", 5)
    code, _, err = run(*call, "--margin", 0.1)
    assert (code, "images by timm:vit and captions by st:mpnet" in err) == (2, True)
    assert run(*call)[0] == 0


def test_a_plan_of_a_stopped_job_tells_its_rows_once(run: Run, store: Path) -> None:
    with helip.EmbeddingStore.append_to(store) as writer:
        writer.commit({"complete": False})
    code, _, err = run("plan", store, "-k", 5, "--device", "cpu")
    assert code == 0
    told = [line for line in err.splitlines() if "has 60 rows so far" in line]
    assert len(told) == 1 and told[0].startswith("helip: warning: ")
