"""A diagnosis of a small model on small data, from paths to the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.data.dataset import Dataset
from helip.diagnosis import diagnosing
from helip.diagnosis.diagnosing import PLANNED, Budget, encode_rows
from helip.diagnosis.draws import Communities, Draws, RowGroups, draw
from helip.diagnosis.features import compare
from helip.evaluation.encoding import Subject
from helip.evaluation.options import EvaluateOptions
from helip.models.bundle import ModelBundle
from helip.pairs.hard_pairs import HardPairs
from support.diagnosis_samples import ROWS, UNREADABLE, table, write_pictures, write_store
from support.evaluate_samples import ColourData, tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return helip.open_dataset(write_pictures(tmp_path_factory.mktemp("data")), progress=False)


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return tiny_model()


def diagnosed(pairs: Any, data: Any, model: Any = None, **options: Any) -> Any:
    given = {"batch_size": 32, "device": "cpu", "progress": False} | options
    return helip.diagnose(pairs, data, model, **given)


@pytest.mark.parametrize("encoded_rows", [64, 100_000])
def test_what_is_measured_is_what_the_features_of_the_drawn_rows_give(
    data: Dataset, bundle: ModelBundle, encoded_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Draws] = []

    def watched(*arguments: Any, **options: Any) -> Draws:
        seen.append(draw(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(diagnosing, "draw", watched)
    found = diagnosed(table(), data, bundle, encoded_rows=encoded_rows, reader="pillow", seed=7)
    (drawn,) = seen
    rows = drawn.rows().tolist()
    assert found.model.unread == ({"unreadable_image": 1} if UNREADABLE in rows else {})
    assert found.model.encoded == len(set(rows) - {UNREADABLE})
    image, text = torch.full((2, ROWS, 16), torch.nan)
    bundle.model.eval()
    with torch.no_grad():
        for row in set(rows) - {UNREADABLE}:
            image[row] = bundle.encode_image([data.image(row)])[0]
            text[row] = bundle.encode_text([data.caption(row)])[0]

    def readable(numbers: np.ndarray) -> np.ndarray:
        return np.where(numbers == UNREADABLE, -1, numbers)

    drawn = Draws(
        tuple(map(readable, drawn.random)),
        replace(drawn.window, rows=readable(drawn.window.rows)),
        tuple(replace(each, rows=readable(each.rows)) for each in drawn.ranks),
        tuple(map(readable, drawn.planned)),
    )
    reference = compare(
        image, text, np.arange(ROWS)[:, None] % 24 + 1, drawn, rows=ROWS, batch_size=32,
        members=np.full(ROWS, 40), logit_scale=float(bundle.model.logit_scale.detach().exp()),
    )  # fmt: skip
    features = found.model.features
    assert features.random_loss == pytest.approx(reference.random_loss, rel=1e-5)
    assert features.community_loss == pytest.approx(reference.community_loss, rel=1e-5)
    # One batch or another may round otherwise in float32; no outcome depends on it here.
    losses = {"random_loss": None, "community_loss": None}
    assert replace(features, **losses) == replace(reference, **losses)
    assert features.within.n > 0


def test_a_model_without_knowledge_is_warned_of_and_nothing_is_promised(
    data: Dataset, bundle: ModelBundle
) -> None:
    found = diagnosed(table(), data, bundle)
    assert found.gain is None and "--control" not in {each.flag for each in found.suggestions}
    assert any("should find 10% first" in each for each in found.warnings)
    assert any("unreadable_image" in each for each in found.warnings)


def test_the_same_arguments_give_the_same_and_another_seed_another(
    data: Dataset, bundle: ModelBundle
) -> None:
    # A bound below all rows, so that draws differ in what they encode.
    few: dict[str, Any] = {"encoded_rows": 70, "targets": 20}
    found = [diagnosed(table(), data, bundle, seed=seed, **few) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert found[0].model.encoded <= 71


def test_no_more_rows_than_the_bound_are_encoded_and_each_once(
    data: Dataset, bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    images = Subject.images

    def counted(self: Subject, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return images(self, pixels)

    monkeypatch.setattr(Subject, "images", counted)
    found = diagnosed(table(), data, bundle, encoded_rows=80, encode_batch_size=16)
    assert sum(seen) == found.model.encoded <= 80
    assert max(seen) <= 16


def test_captions_are_read_once(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    caption = type(data).caption

    def counted(self: Dataset, row: int) -> str:
        seen.append(row)
        return caption(self, row)

    monkeypatch.setattr(type(data), "caption", counted)
    diagnosed(table(), data)
    assert len(seen) == len(set(seen)) == ROWS


def test_without_a_model_the_table_and_the_data_are_told(data: Dataset, tmp_path: Path) -> None:
    store = write_store(data, tmp_path / "store")
    found = diagnosed(table(), data, store=store)
    assert found.model is found.gain is None
    assert found.windows[0].near_captions is not None
    assert found.windows[0].equal_captions == pytest.approx(3 / 95, abs=0.02)
    assert "equal_captions" in {each.option for each in found.suggestions}
    assert "accuracy" not in str(found)


def test_rows_without_an_embedding_are_no_targets(
    data: Dataset, bundle: ModelBundle, tmp_path: Path
) -> None:
    lost = np.arange(ROWS) % 4 == 0
    ids = ((np.arange(ROWS)[:, None] + 4 * np.arange(1, 7)) % ROWS).astype(np.int32)
    ids[lost] = -1
    pairs = HardPairs.from_arrays(ids, np.where(ids < 0, 0, 0.5).astype(np.float32))
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=6) as writer:
        rows = np.where(lost[:, None], 0, np.random.default_rng(1).normal(size=(ROWS, 14)) + 0.6)
        writer.append(list(data.keys), rows[:, :8], rows[:, 8:])
    bare, known = (
        diagnosed(pairs, data, bundle),
        diagnosed(pairs, data, bundle, store=tmp_path / "s"),
    )
    assert (bare.table.empty, known.table.empty, known.table.short) == (24, 0, 0)
    assert bare.table.coverage == pytest.approx(0.75 * known.table.coverage)
    assert bare.model.features.coverage == pytest.approx(0.75 * known.model.features.coverage)
    assert known.table.window_members == 6


def test_paths_do_as_well_as_objects(data: Dataset, tmp_path: Path) -> None:
    csv = write_pictures(tmp_path / "again")
    table().save(tmp_path / "pairs")
    write_store(data, tmp_path / "store")
    found = diagnosed(tmp_path / "pairs", csv, store=tmp_path / "store")
    assert found == diagnosed(table(), data, store=tmp_path / "store")


def test_the_page_and_the_dict_have_all_of_it(data: Dataset, bundle: ModelBundle) -> None:
    found = diagnosed(table(), data, bundle)
    assert repr(found).startswith("Diagnosis(rows=96, batch_size=32, no expected gain, ")
    page = str(found)
    for words in (
        "96 rows, pools of 40, exact mining", "accuracy between", "accuracy among", "violated",
        "CLIP loss", "whether hard pairs will help: not measured", "suggested for helip train",
        "warnings", "1 to 10", "31 to 40",
    ):  # fmt: skip
        assert words in page
    told = json.loads(json.dumps(found.to_dict()))
    assert told["model"]["features"]["between"]["value"] == found.model.features.between.value
    assert told["gain"] is None and told["equal_pictures"] == [0, 96]
    assert told["table"]["k"] == 40


def test_the_mode_and_the_weights_of_the_model_stay(data: Dataset) -> None:
    bundle = tiny_model()
    bundle.model.train()
    before = {name: value.clone() for name, value in bundle.model.state_dict().items()}
    diagnosed(table(), data, bundle)
    assert all(module.training for module in bundle.model.modules())
    for name, value in bundle.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_larger_batch_than_can_be_encoded_is_said(data: Dataset, bundle: ModelBundle) -> None:
    found = diagnosed(table(), data, bundle, batch_size=64, encoded_rows=128)
    assert found.model.features.batch_size == 16
    assert found.model.features.by_chance == pytest.approx(40 * 63 / 95)
    assert any("batches of 16 rows, not 64" in each for each in found.warnings)


def test_a_model_that_has_diverged_is_refused(data: Dataset) -> None:
    bundle = tiny_model()
    with torch.no_grad():
        bundle.model.visual.proj.fill_(torch.nan)
    with pytest.raises(InvalidArgumentError, match="the model has diverged"):
        diagnosed(table(), data, bundle)


def test_a_table_without_hard_pairs_gives_no_judgement(data: Dataset, bundle: ModelBundle) -> None:
    ids = np.full((ROWS, 20), -1, dtype=np.int32)
    empty = HardPairs.from_arrays(ids, np.zeros((ROWS, 20), dtype=np.float32))
    found = diagnosed(empty, data, bundle)
    assert found.gain is None
    assert found.model.features.within.value is None
    assert any("96 of 96 targets have no hard pair" in each for each in found.warnings)


def test_what_does_not_belong_together_is_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="90 rows there, 96 rows"):
        diagnosed(table(rows=90), data)
    other = HardPairs.from_arrays(
        table().ids, table().scores, data_fingerprint="0" * 32 + data.fingerprint[32:]
    )
    with pytest.raises(MismatchError, match="belongs to other data"):
        diagnosed(other, data)
    of_store = HardPairs.from_arrays(table().ids, table().scores, fingerprint="elsewhere")
    with pytest.raises(MismatchError, match="store with fingerprint elsewhere"):
        diagnosed(of_store, data, store=write_store(data, tmp_path / "store"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 1}, "batch_size is 1, must be at least 2"),
        ({"window": 0}, "window is 0, must be at least 1"),
        ({"encoded_rows": 10}, "encoded_rows is 10, must be at least 64"),
        ({"targets": 0}, "targets is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_options_out_of_their_bounds_are_refused(
    data: Dataset, options: dict[str, int], said: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        diagnosed(table(), data, **options)


def test_data_of_which_no_rows_can_be_chosen_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="ColourData, whose rows cannot be chosen"):
        diagnosed(table(), ColourData([("red", "a red thing")] * ROWS))


@pytest.mark.parametrize("rows", [40, 3000, 10**6])
@pytest.mark.parametrize("batch", [2, 64, 256, 1024, 32_768])
@pytest.mark.parametrize("bound", [64, 1000, 8192, 100_000])
def test_no_more_rows_are_asked_about_than_the_bound(rows: int, batch: int, bound: int) -> None:
    budget = Budget.of(bound, batch, rows)
    assert 1 <= budget.ranked <= budget.targets <= budget.plain <= rows
    assert 2 <= budget.batch_size <= min(batch, budget.plain)
    most = PLANNED * budget.batch_size + budget.plain + 7 * (budget.targets + 3 * budget.ranked)
    assert most <= bound or budget.ranked == 1


def test_the_usual_bound_leaves_batches_of_a_thousand_as_they_are() -> None:
    assert Budget.of(8192, 1024, 10**6).batch_size == 1024
    usual = Budget.of(8192, 256, 10**6)
    assert (usual.targets, usual.ranked, usual.plain) == (409, 209, 409)


def test_features_are_those_of_each_row_by_itself(tmp_path: Path) -> None:
    data = helip.open_dataset(write_pictures(tmp_path), progress=False)
    bundle = tiny_model()
    subject = Subject.of(bundle, None, None, EvaluateOptions(device="cpu", reader="pillow"))
    rows = np.array([40, 2, 90, UNREADABLE, 64, 16, 3, 5])  # 16, 40 and 64 have one caption
    drawn = Draws(
        (rows[:4],), Communities(0, 10, rows[None], 1), (Communities(0, 4, rows[None], 0),),
        (rows[2:],),
    )  # fmt: skip
    images, texts, read, numbered, unread = encode_rows(subject, data, drawn)
    assert unread == {"unreadable_image": 1}
    assert len(images) == len(texts) == len(read) == 7
    numbers = numbered.window.rows[0]
    assert numbers[3] == -1
    assert numbered.random[0].tolist() == numbers[:4].tolist()
    assert numbered.planned[0].tolist() == numbers[2:].tolist()
    assert numbered.ranks[0].rows.tolist() == [numbers.tolist()]
    assert (numbered.window.left_out, numbered.ranks[0].last) == (1, 4)
    bundle.model.eval()
    with torch.no_grad():
        for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
            if row == UNREADABLE:
                continue
            image = bundle.encode_image([data.image(row)], normalize=False)[0]
            text = bundle.encode_text([data.caption(row)], normalize=False)[0]
            torch.testing.assert_close(images[number], image, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(texts[number], text, atol=1e-5, rtol=1e-4)
            assert read[number] == row
    groups = RowGroups(data).of(read)
    same = {numbers[rows.tolist().index(row)] for row in (16, 40, 64)}
    assert len({tuple(groups[number]) for number in same}) == 1
    assert len({tuple(group) for group in groups}) == 5
