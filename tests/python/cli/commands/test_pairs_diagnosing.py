"""helip diagnose as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import helip
from helip.models.saving import save_model
from support.diagnosis_samples import table, write_pictures, write_store
from support.evaluate_samples import tiny_model

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """With data.csv, pairs, store and model."""
    data = helip.open_dataset(write_pictures(tmp_path), progress=False)
    write_store(data, tmp_path / "store")
    table().save(tmp_path / "pairs")
    save_model(tiny_model(), tmp_path / "model")
    return tmp_path


def test_the_page_is_that_of_python_and_json_has_its_fields(run: Run, place: Path) -> None:
    call = (
        *("diagnose", place / "pairs", "--data", place / "data.csv", "--model", place / "model"),
        *("--batch-size", 32, "--device", "cpu", "--quiet", "--seed", 3),
    )
    code, out, err = run(*call)
    assert code == 0, err
    found = helip.diagnose(
        place / "pairs", place / "data.csv", place / "model", batch_size=32, seed=3, device="cpu",
        progress=False,
    )  # fmt: skip
    assert out == f"{found}\n"
    assert "only --store STORE --probe answers that" in out
    code, out, _ = run(*call, "--json")
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(found.to_dict()))


def test_without_a_model_the_table_and_the_data_are_told(run: Run, place: Path) -> None:
    code, out, err = run(
        *("diagnose", place / "pairs", "--data", place / "data.csv", "--store", place / "store"),
        *("--batch-size", 64),
    )
    assert code == 0, err
    assert "near captions" in out
    assert "expected gain" not in out
    assert "64 of 96 random rows hold" in out and "--control" not in out
    assert err.splitlines()[-1].startswith("next: helip diagnose")  # with the probe
    assert err.splitlines()[-1].endswith("--probe")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--model", "{place}/absent"), 1, "absent does not exist"),
        (("--checkpoint", "{place}/model"), 2, "give --model"),
        (("--batch-size", "1"), 2, "--batch-size is 1, must be at least 2"),
        (("--window", "many"), 2, "--window"),
        (("--store", "{place}/absent"), 1, "no store at"),
        (("--probe",), 2, "--probe trains on the features of the store that was mined; give --st"),
        (("--probe", "--store", "{place}/store"), 2, "96 rows are embedded"),
    ],
)
def test_wrong_use_is_one_line_and_an_exit_code(
    run: Run, place: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    given = [option.format(place=place) for option in options]
    found, out, err = run(
        "diagnose", place / "pairs", "--data", place / "data.csv", "--quiet", *given
    )
    assert (found, out) == (code, ""), err
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_other_data_than_was_mined_is_refused(run: Run, place: Path) -> None:
    table(rows=40, k=10).save(place / "other")
    code, _, err = run("diagnose", place / "other", "--data", place / "data.csv", "--quiet")
    assert code == 1
    assert "(40 rows there" in err
