"""How many rows are encoded, and where their features go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import helip
from helip.diagnosis.draws import Communities, Draws
from helip.diagnosis.encoding import PLANNED, Budget, encode_rows
from helip.diagnosis.groups import RowGroups
from helip.evaluation.encoding import Subject
from helip.evaluation.options import EvaluateOptions
from support.diagnosis_samples import UNREADABLE, write_pictures
from support.evaluate_samples import tiny_model


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
    found = encode_rows(subject, data, drawn, RowGroups(data))
    assert found.unread == {"unreadable_image": 1}
    assert len(found.image) == len(found.text) == len(found.groups) == 7
    numbers = found.drawn.window.rows[0]
    assert numbers[3] == -1
    assert found.drawn.random[0].tolist() == numbers[:4].tolist()
    assert found.drawn.planned[0].tolist() == numbers[2:].tolist()
    assert found.drawn.ranks[0].rows.tolist() == [numbers.tolist()]
    assert (found.drawn.window.left_out, found.drawn.ranks[0].last) == (1, 4)
    bundle.model.eval()
    with torch.no_grad():
        for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
            if row == UNREADABLE:
                continue
            image = bundle.encode_image([data.image(row)], normalize=False)[0]
            text = bundle.encode_text([data.caption(row)], normalize=False)[0]
            torch.testing.assert_close(found.image[number], image, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(found.text[number], text, atol=1e-5, rtol=1e-4)
    same = {numbers[rows.tolist().index(row)] for row in (16, 40, 64)}
    assert len({tuple(found.groups[number]) for number in same}) == 1
    assert len({tuple(group) for group in found.groups}) == 5
