"""precision="auto": what it takes, and that a run keeps what it began with."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from helip.common.errors import MismatchError
from helip.common.processes import Processes
from helip.training.checkpoints import newest_checkpoint
from helip.training.precision import with_precision
from helip.training.recipe import Recipe
from support.loop_samples import RECIPE, trainer

CPU = torch.device("cpu")
AUTO = dataclasses.replace(RECIPE, precision="auto")


@pytest.fixture
def processor(monkeypatch):
    def multiplies(yes: bool) -> None:
        monkeypatch.setattr("helip.training.precision.multiplies_bfloat16", lambda device: yes)

    return multiplies


def recorded(out) -> str:
    checkpoint, _ = newest_checkpoint(out / "checkpoints")
    return checkpoint.state["options"]["precision"]


@pytest.mark.parametrize(("native", "taken"), [(True, "bfloat16"), (False, "float32")])
def test_the_default_is_what_the_processor_multiplies(processor, tmp_path, native, taken):
    processor(native)
    assert Recipe().precision == "auto"
    result = trainer(tmp_path, recipe=AUTO, steps=1).run()
    assert (result.precision, recorded(tmp_path)) == (taken, taken)


def test_what_is_given_is_taken(processor):
    processor(True)
    for precision in ("float32", "bfloat16", "float16"):
        recipe = Recipe(precision=precision)
        assert with_precision(recipe, CPU, Processes(), None) is recipe


@pytest.mark.parametrize("native", [True, False])
def test_a_run_keeps_what_it_began_with_on_another_processor(processor, tmp_path, native):
    taken = "bfloat16" if native else "float32"
    processor(native)
    whole = trainer(tmp_path / "whole", recipe=AUTO, steps=2).run()
    broken = trainer(tmp_path / "broken", recipe=AUTO, steps=2)
    broken._should_stop = lambda: True
    with pytest.raises(Exception, match="stopped after step 1"):
        broken.run()
    processor(not native)
    resumed = trainer(tmp_path / "broken", recipe=AUTO, steps=2).run()
    assert (resumed.resumed_from, resumed.precision) == (1, taken)
    expected = whole.model.model.state_dict()
    for name, value in resumed.model.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_run_is_not_resumed_in_another_precision_that_is_given(processor, tmp_path):
    processor(True)
    trainer(tmp_path, recipe=AUTO, steps=1).run()
    with pytest.raises(MismatchError, match="precision was 'bfloat16', is 'float32'"):
        trainer(tmp_path, recipe=RECIPE, steps=1).run()


def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(processor, tmp_path):
    processor(True)
    trainer(tmp_path, recipe=AUTO, steps=2, checkpoint_every=1).run()
    (tmp_path / "checkpoints" / "step-000002" / "state.json").write_text("{")
    processor(False)
    assert trainer(tmp_path, recipe=AUTO, steps=2).run().precision == "bfloat16"


def test_all_processes_take_one_precision(processor):
    class Two(Processes):
        def exchange(self, value):
            return [value, [None, False]]

    processor(True)
    assert with_precision(AUTO, CPU, Two(), None).precision == "float32"
