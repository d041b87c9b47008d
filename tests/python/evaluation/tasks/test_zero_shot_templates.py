"""Templates: what a name, a string and a list stand for."""

from __future__ import annotations

import open_clip
import pytest

from helip.common.errors import InvalidArgumentError
from helip.evaluation.tasks.zero_shot import DEFAULT_TEMPLATES, checked_templates, template_set


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("openai_imagenet_template", open_clip.OPENAI_IMAGENET_TEMPLATES),
        ("simple_imagenet_template", open_clip.SIMPLE_IMAGENET_TEMPLATES),
    ],
)
def test_the_sets_of_open_clip_are_found_by_name(name, theirs):
    ours = checked_templates(name)
    assert [template.replace("{}", "tench") for template in ours] == [t("tench") for t in theirs]


def test_a_string_is_one_template_and_none_are_the_default_ones():
    assert checked_templates("a photo of a {}.") == ["a photo of a {}."]
    assert checked_templates(("{}", "the {}")) == ["{}", "the {}"]
    assert checked_templates(None) == list(DEFAULT_TEMPLATES)


@pytest.mark.parametrize(
    ("templates", "words"),
    [
        ("imagenet", "simple_imagenet_template"),
        ([], "templates is empty"),
        (["{} or {}"], "2 times"),
        (["a photo"], "0 times"),
    ],
)
def test_anything_else_is_refused_with_the_mend(templates, words):
    with pytest.raises(InvalidArgumentError, match=words):
        checked_templates(templates)


def test_templates_have_the_name_of_the_set_that_they_are():
    name = "openai_imagenet_template"
    assert template_set(None) == "default"
    assert template_set(name) == name
    assert template_set(checked_templates(name)) == name
    assert template_set(checked_templates(name)[1:]) == "own"
    assert template_set("a photo of a {}.") == "own"
