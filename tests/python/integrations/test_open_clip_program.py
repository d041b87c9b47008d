"""open_clip's training program with hard pairs: its two forms, and what becomes of its flags."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import types
from pathlib import Path

import open_clip
import pytest
import torch

import helip
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.data.image_transform import ImageTransform
from helip.integrations import open_clip_training
from helip.integrations.open_clip_program import (
    WORKS_WITH,
    HardPairOptions,
    _columns,
    _refuse,
    hard_pair_training,
    open_clip_program,
)
from helip.models.bundle import create_model
from support.open_clip_runs import each_open_clip, flags, make_place, run
from support.train_samples import table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[3]
HARD = ["--hard-pairs", "pairs", "--hard-per-target", "1", "--gamma", "0.5"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("open_clip"))


@each_open_clip
def test_the_program_trains_with_open_clips_flags_and_its_own(place, source):
    name = f"plain-{bool(source)}"
    done = run(place, *flags(place, name, *HARD), source=source)
    assert done.returncode == 0, done.stderr
    log = (place / "logs" / name / "out.log").read_text()
    margins = re.findall(r"Train Epoch.* Margin_loss: (\S+)", log)
    assert len(margins) == 5  # of 20 targets, 4 a batch
    assert all(float(margin) > 0 for margin in margins)
    assert "worker processes" not in log
    assert "Epoch 0: 40 rows planned on this process, 40 read, 0 could not be read" in log
    trained = create_model(
        place / "model", checkpoint=place / "logs" / name / "checkpoints" / "epoch_1.pt"
    )
    start = create_model(place / "model").model.state_dict()
    moved = {n for n, v in trained.model.state_dict().items() if not torch.equal(v, start[n])}
    assert any(n.startswith("visual.") for n in moved) and "logit_scale" in moved


@pytest.mark.slow
@each_open_clip
def test_it_trains_in_several_processes_on_a_cpu_and_says_who_reads(place, source):
    name = f"processes-{bool(source)}"
    more = ["--siglip", "--accum-freq", "2", "--aug-cfg", "use_timm=True"]
    done = run(place, *flags(place, name, *HARD, *more), source=source, processes=2)
    assert done.returncode == 0, done.stderr
    log = (place / "logs" / name / "out.log").read_text()
    steps = re.findall(r"Train Epoch.* Margin_loss: (\S+)", log)
    assert len(steps) == 1  # of 3 batches, 2 a step
    assert log.count("read by 0 worker processes") == 1
    assert log.count("1 of 3 batches of an epoch make no whole step of --accum-freq 2") == 1
    assert (place / "logs" / name / "checkpoints" / "epoch_1.pt").is_file()


@each_open_clip
def test_own_flags_are_none_of_open_clips(place, source, capsys):
    if source:
        said = run(place, "--help", source=source).stdout
    else:
        with pytest.raises(SystemExit, match="0"):
            open_clip_training.main(["--help"])
        said = capsys.readouterr().out
    own, theirs = said.split("and the flags of open_clip_train.main")
    listed = [set(re.findall(r"(?m)^  (--[a-z-]+)", text)) for text in (own, theirs)]
    assert {"--hard-pairs", "--gamma", "--fraction", "--pin-memory"} <= listed[0]
    assert {"--train-data", "--accum-freq", "--workers"} <= listed[1]
    assert not listed[0] & listed[1]


def test_a_table_of_other_data_is_refused(place, monkeypatch, capsys):
    from support.train_samples import Colours

    table(Colours(prefix="other")).save(place / "other")
    monkeypatch.chdir(place)
    for name, said in (("other", "the table of hard pairs"), ("absent", "there is no table")):
        arguments = flags(place, "other", "--hard-pairs", name)
        monkeypatch.setattr(sys, "argv", ["open_clip_train", *arguments])
        with pytest.raises(SystemExit, match="1"):
            open_clip_training.run()
        lines = capsys.readouterr().err.strip().splitlines()
        assert lines[-1].startswith("helip: ") and said in lines[-1]
        assert "model" not in "".join(lines[:-1]).lower()  # which is not made before


@pytest.mark.slow
def test_help_may_be_cut_short():
    program = [sys.executable, "-m", "helip.open_clip_train", "--help"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        assert b"Error" not in running.stderr.read()


def test_threads_of_the_core_read_where_the_recipe_is_a_standard_one(place):
    program = open_clip_program()
    model = f"local-dir:{place}/model"
    jitter = {"color_jitter": (0.1, 0.1, 0.1, 0.1), "color_jitter_prob": 0.5}
    with hard_pair_training(HardPairOptions(hard_pairs="pairs")):
        standard = program.create_model_and_transforms(model, None)[1]
        coloured = program.create_model_and_transforms(model, None, aug_cfg=jitter)[1]
        other = program.create_model_and_transforms(model, None, aug_cfg={"use_timm": True})[1]
    assert isinstance(standard, ImageTransform)
    assert (standard.size, standard.scale, standard.crop) == (16, (0.9, 1.0), "random")
    assert isinstance(coloured, ImageTransform) and coloured.jitter_probability == 0.5
    assert not isinstance(other, ImageTransform)


def test_a_data_yaml_says_how_the_data_was_read_for_the_store(place):
    (place / "data.yaml").write_text("source: data.tsv\nkey_column: title\n")
    table(helip.open_dataset(place / "data.yaml")).save(place / "titled")
    program = open_clip_program()
    with hard_pair_training(HardPairOptions(hard_pairs=str(place / "titled"))):
        parsed = program.parse_args(flags(place, "x", "--train-data", str(place / "data.yaml")))
        assert parsed.train_data.endswith(".yaml")
        with pytest.raises(MismatchError, match="table of hard pairs"):
            program.parse_args(flags(place, "x", "--train-data", str(place / "data.tsv")))


def test_open_clip_is_left_as_it_was():
    program = open_clip_program()
    before = dict(vars(program)), torch.nn.parallel.DistributedDataParallel
    with hard_pair_training(HardPairOptions(hard_pairs="pairs")):
        assert program.get_data is not before[0]["get_data"]
    assert (dict(vars(program)), torch.nn.parallel.DistributedDataParallel) == before


@pytest.mark.parametrize(
    ("lacking", "named"),
    [
        ({"create_loss", "create_task"}, "create_loss or create_task"),
        ({"get_data"}, "get_data"),
    ],
)
def test_an_open_clip_of_another_form_is_refused_with_the_versions_that_work(
    monkeypatch, lacking, named
):
    import open_clip_train.main

    kept = {
        name: value for name, value in vars(open_clip_train.main).items() if name not in lacking
    }
    strange = types.SimpleNamespace(**kept)
    monkeypatch.setattr(open_clip_train, "main", strange)
    monkeypatch.setitem(sys.modules, "open_clip_train.main", strange)
    with pytest.raises(UnsupportedError) as refused:
        open_clip_program()
    assert named in str(refused.value)
    assert f"works with open_clip_torch{WORKS_WITH}" in str(refused.value)
    assert open_clip.__version__ in str(refused.value)


def test_an_open_clip_of_another_place_than_its_training_program_is_refused(monkeypatch):
    monkeypatch.setattr(open_clip, "__file__", "/elsewhere/src/open_clip/__init__.py")
    with pytest.raises(UnsupportedError, match="is that of /elsewhere/src, and open_clip_train"):
        open_clip_program()


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("2.32.0", ["open_clip 2.32.0 was not tried"]),
        ("3.1.0", []),
        ("4.2.0.dev0", []),
        ("4.3.0", ["open_clip 4.3.0 was not tried"]),
    ],
)
def test_of_a_version_that_was_not_tried_is_warned(monkeypatch, caplog, version, said):
    monkeypatch.setattr(open_clip, "__version__", version)
    open_clip_program()
    assert [message.split(";")[0] for message in caplog.messages] == said


def test_the_versions_that_work_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"open_clip_torch{WORKS_WITH}" in project["dependencies"]
    least, bound = (tuple(map(int, part.strip("<>=").split("."))) for part in WORKS_WITH.split(","))
    installed = tuple(map(int, open_clip.__version__.split(".")[:2]))
    assert least <= installed < bound


PLAIN = {
    "train_data": "data.tsv",
    "dataset_type": "auto",
    "dataset_resampled": False,
    "train_data_upsampling_factors": None,
    "distill_model": None,
    "model": "ViT-B-32",
    "csv_img_key": "filepath",
    "csv_caption_key": "title",
    "csv_separator": "\t",
}
# What main's flags are by default, and the releases do not have.
LATER = {"text_key": "txt", "json_text_key": None, "image_key": "jpg;png;jpeg;webp"}


@pytest.mark.parametrize(
    "changed",
    [
        {"dataset_resampled": True},
        {"distill_model": "ViT-B-16"},
        {"dataset_type": "synthetic"},
        {"horovod": True},
        {"use_naflex": True},
        {"text_key": "caption"},
        {"json_text_key": "long;short"},
        {"csv_separator": "|"},
        {"model": "coca_ViT-B-32"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_flags_that_do_not_go_with_hard_pairs_are_named(changed):
    for plain in (PLAIN, PLAIN | LATER):
        _refuse(argparse.Namespace(**plain))
        ((name, value),) = changed.items()
        flag = re.escape(f"--{name.replace('_', '-')}")
        said = "" if value is True or name == "distill_model" else f" .*{re.escape(str(value))}"
        with pytest.raises(UnsupportedError, match=f"^{flag}{said}.* cannot be combined"):
            _refuse(argparse.Namespace(**{**plain, **changed}))


def test_hard_pairs_without_training_data_are_refused():
    with pytest.raises(InvalidArgumentError, match="--hard-pairs without --train-data"):
        _refuse(argparse.Namespace(**{**PLAIN, "train_data": None}))


def test_flags_of_columns_and_members_choose_what_is_read():
    table = argparse.Namespace(**PLAIN)
    assert _columns(table) == {"image_column": "filepath", "caption_column": "title"}
    shards = PLAIN | {"train_data": "cc3m/{00000..00331}.tar"}
    assert _columns(argparse.Namespace(**shards)).keys() == {"max_pixels"}
    later = LATER | {"json_text_key": "caption", "image_key": "seg.png", "max_image_pixels": 1000}
    assert _columns(argparse.Namespace(**{**shards, **later})) == {
        "caption_column": "caption", "image_column": "seg.png", "max_pixels": 1000,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["similar_captions", "similar_images"])
def test_what_needs_a_store_is_refused(name):
    options = HardPairOptions(hard_pairs="p", **{name: 0.9})
    with (
        pytest.raises(UnsupportedError, match=rf"{name} is 0\.9, which compares embeddings"),
        hard_pair_training(options),
    ):
        pass
