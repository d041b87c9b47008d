"""Named recipes: a layer between what the caller gives and the defaults, on record."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.data.options import OpenOptions
from helip.loading.options import BatchOptions
from helip.mining.options import MineOptions
from helip.models.bundle import create_model
from helip.models.options import ModelOptions
from helip.training import named_recipes
from helip.training.checkpoints import newest_checkpoint
from helip.training.fine_tuning import TrainCall, train
from helip.training.named_recipes import NamedRecipe, Setting, recipe_named, recipes, with_recipe
from support.train_samples import CONFIG, Colours, table

ROOT = Path(__file__).resolve().parents[3]
each_recipe = pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.name)


def names(group: type) -> set[str]:
    return {field.name for field in dataclasses.fields(group)}


def run(out: Path, **options):
    data = Colours()
    model = create_model("tiny", config=CONFIG, from_scratch=True, seed=3)
    whole = {"device": "cpu", "progress": False, "steps": 1, "batch_size": 8, **options}
    return train(model=model, data=data, pairs=table(data), out=out, **whole)


def recorded(out: Path) -> dict:
    checkpoint, _ = newest_checkpoint(out / "checkpoints")
    return checkpoint.state["options"]


def test_all_that_was_asked_for_is_there() -> None:
    asked = {"paper", "small-data", "noisy-captions", "fine-grained", "siglip", "lora"}
    asked |= {"no-forgetting", "communities", "from-scratch"}
    assert {recipe.name for recipe in recipes()} == asked


@each_recipe
def test_a_recipe_sets_options_of_training_once_to_what_they_take(recipe: NamedRecipe) -> None:
    options = [setting.option for setting in recipe.settings]
    assert len(set(options)) == len(options)
    # What a recipe cannot know: models, data and places.
    foreign = (
        names(ModelOptions) | names(OpenOptions) | {"model", "data", "out", "device", "recipe"}
    )
    assert set(options) <= names(TrainCall) - foreign
    TrainCall(model="m", data="d", out="o", **recipe.values())
    BatchOptions.of(TrainCall(model="m", data="d", out="o", **recipe.values()))
    mining = {setting.option: setting.value for setting in recipe.mining}
    MineOptions(**mining)


@each_recipe
def test_sources_are_papers_or_sections_that_are_there(recipe: NamedRecipe) -> None:
    for setting in (*recipe.settings, *recipe.mining):
        assert setting.why.endswith(".")
        for source in setting.sources:
            if re.fullmatch(r"arXiv \d{4}\.\d{5}", source):
                continue
            page, _, anchor = source.partition("#")
            lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
            titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
            anchors = {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles}
            assert not anchor or anchor in anchors, source


def test_what_no_result_of_helip_shows_is_said_to_be_not_measured_here() -> None:
    assert Setting("lr", 1.0, "").origin == "not measured here"
    assert Setting("lr", 1.0, "", ("arXiv 1234.56789",)).origin.endswith(", not measured here")
    assert Setting("lr", 1.0, "", ("docs/method.md",)).origin.endswith(", not measured here")
    assert Setting("lr", 1.0, "", ("docs/results.md#a",)).origin == "docs/results.md#a"
    assert "not measured here" in next(
        s.origin for s in recipe_named("no-forgetting").settings if s.option == "lr"
    )


def test_what_is_given_goes_before_the_recipe_also_where_it_is_the_default() -> None:
    chosen = recipe_named("lora").values()
    assert with_recipe({"recipe": "lora"}) == {**chosen, "recipe": "lora"}
    given = {"recipe": "lora", "lr": TrainCall.lr, "lora": None, "strategy": "auto"}
    assert with_recipe(given) == given
    assert with_recipe({"lr": 1.0}) == {"lr": 1.0}
    assert with_recipe({"recipe": None}) == {"recipe": None}


def test_a_run_takes_the_recipe_and_records_its_name_and_version(tmp_path, one_thread) -> None:
    run(tmp_path / "plain")
    run(tmp_path / "named", recipe="fine-grained", gamma=0.5)
    plain, named = recorded(tmp_path / "plain"), recorded(tmp_path / "named")
    assert plain["recipe"] is None
    assert named["recipe"] == "fine-grained 1"
    changed = {name for name in plain if plain[name] != named[name]}
    assert changed == {
        "recipe", "strategy", "short", "community_rows", "hard_per_target", "gamma",
    }  # fmt: skip
    assert (named["strategy"], named["hard_per_target"], named["gamma"]) == ("uniform", 3, 0.5)


def test_a_run_is_resumed_under_its_version_alone(tmp_path, one_thread, monkeypatch) -> None:
    run(tmp_path, recipe="fine-grained")
    assert run(tmp_path, recipe="fine-grained").resumed_from == 1
    newer = dataclasses.replace(recipe_named("fine-grained"), version=2)
    monkeypatch.setattr(named_recipes, "_RECIPES", (newer,))
    with pytest.raises(MismatchError, match="recipe was 'fine-grained 1', is 'fine-grained 2'"):
        run(tmp_path, recipe="fine-grained")


def test_an_unknown_name_is_refused_with_all_names(tmp_path) -> None:
    with pytest.raises(InvalidArgumentError, match="recipe is 'papr', must be one of communities,"):
        run(tmp_path / "out", recipe="papr")
    assert not (tmp_path / "out").exists()
