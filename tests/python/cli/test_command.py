"""The shell offers the options of the library, by the same names, types and defaults."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest

import helip
from helip.cli.command import Command, shell_type
from helip.cli.commands import data, evaluation, mining, pairs, reporting, training
from helip.cli.configuration import OptionsFile
from helip.common.options import ThreadOptions, hints_of
from helip.data.packing import PackCall
from helip.encoders.jobs.request import EmbedCall
from helip.evaluation.evaluating import EvaluateCall
from helip.loading.batch_plan import BatchPlanCall
from helip.mining.miner import MineCall
from helip.mining.planning import PlanCall
from helip.mining.updating import UpdateCall
from helip.pairs.resharding import ReshardCall
from helip.pairs.soft_labels import SoftLabelCall
from helip.reporting.page import ReportCall
from helip.training.fine_tuning import TrainCall

# What only a program can give: objects, callables, and arrays.
OBJECTS = {
    "baselines", "curves", "embed", "groups", "hooks", "image", "keep_ranks", "label_of",
    "matrices", "on_progress", "on_task", "validate",
    "should_stop", "summary", "text", "tokenizer", "train_label_of", "transform",
}  # fmt: skip
# What a command always does: it goes on from where it was, and --quiet switches the bar off.
IMPLIED = {"progress", "resume"}
CALLS = [
    (mining.mine, MineCall, helip.mine),
    (mining.plan, PlanCall, helip.plan),
    (mining.update, UpdateCall, helip.update),
    (data.embed, EmbedCall, helip.embed),
    (data.pack, PackCall, helip.pack),
    (data.reshard, ReshardCall, helip.reshard),
    (pairs.batches, BatchPlanCall, helip.plan_batches),
    (pairs.label, SoftLabelCall, helip.label_pairs),
    (training.train, TrainCall, helip.train),
    (evaluation.evaluate, EvaluateCall, helip.evaluate),
    (reporting.report, ReportCall, helip.report),
]


@pytest.mark.parametrize(
    ("command", "call", "function"), CALLS, ids=lambda x: getattr(x, "name", "")
)
def test_shell_and_python_have_the_same_options(command: Command, call: type, function) -> None:
    commands = [command, mining.negatives] if command is mining.mine else [command]
    offered = {
        name
        for each in commands  # mine has a command of its own for queries in a corpus
        for name in (
            *(name for name, *_ in each.fields()),
            *inspect.signature(each.work).parameters,
        )
    }
    wanted = set(inspect.signature(function).parameters) - OBJECTS - IMPLIED
    assert wanted == set(hints_of(call)) - OBJECTS - IMPLIED
    assert wanted <= offered, "options that Python has and the shell has not"


@pytest.mark.parametrize(
    ("command", "call", "function"), CALLS, ids=lambda x: getattr(x, "name", "")
)
def test_defaults_are_those_of_the_library(command: Command, call: type, function) -> None:
    parameters = inspect.signature(function).parameters
    for name, _, default, sentence in command.fields():
        assert sentence, name
        if name in parameters:
            assert parameters[name].default == default


def test_text_stands_for_what_only_objects_are() -> None:
    hints = hints_of(TrainCall)
    assert shell_type(hints["k"]) if "k" in hints else True
    assert shell_type(hints["batch_size"]) is int
    assert shell_type(hints["schedule"]) == str | None
    assert shell_type(hints["lora"]) == str | None
    assert shell_type(hints["grad_clip"]) == float | None
    assert shell_type(hints["betas"]) == tuple[float, float]
    assert shell_type(hints_of(EvaluateCall)["templates"]) == list[str] | None
    assert shell_type(hints_of(MineCall)["memory"]) == str | None


def test_a_default_passes_the_check_of_pydantic_where_another_library_imported_it(run) -> None:
    import pydantic  # noqa: F401

    code, out, _ = run("eval", "nothing", "--model", "ViT-B-32", "--print-config")
    assert code == 0 and "train: null" in out


def test_threads_bound_what_a_command_does_whether_its_library_call_takes_them_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[tuple] = []
    monkeypatch.setattr("helip.cli.command.use_threads", lambda n: found.append(("bound", n)))
    monkeypatch.setattr("helip.cli.command.share_cores", lambda: found.append(("share",)))

    def work(**options) -> None:
        found.append(tuple(options.items()))

    class Own(ThreadOptions):
        pass

    for group in (ThreadOptions, Own):
        made = Command(work, "x", (group,), None, ())
        made._call(made.signature().bind(threads=2), OptionsFile("x"))
        made._call(made.signature().bind(threads=0), OptionsFile("x"))
        made._call(made.signature().bind(), OptionsFile("x"))
    shown = (("progress", True),)
    assert found == [
        ("bound", 2), shown, ("bound", 0), shown, ("share",), shown,
        ("bound", 2), (("threads", 2), *shown), ("bound", 0), (("threads", 0), *shown),
        ("share",), (("threads", None), *shown),
    ]  # fmt: skip


def test_a_command_that_others_leave_one_core_to_says_so_and_takes_one_thread(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[int | None] = []
    monkeypatch.setattr("helip.cli.command.share_cores", lambda: 1)
    monkeypatch.setattr("helip.cli.command.usable_processors", lambda: 4)

    class Own(ThreadOptions):
        pass

    made = Command(lambda **options: found.append(options["threads"]), "x", (Own,), None, ())
    made._call(made.signature().bind(), OptionsFile("x"))
    assert found == [1]
    assert "others use some of the 4 cores: begins with 1 thread; --threads N" in (
        capsys.readouterr().err
    )


def test_the_program_lets_openmp_sleep_before_torch_is_there() -> None:
    text = (
        "import os, sys; sys.argv = ['helip', 'recipes', '--json'];"
        "from helip.cli.main import main; early = {'torch', 'helip._core'} & {*sys.modules};"
        "main(); print(os.environ['OMP_WAIT_POLICY'], early)"
    )
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=kept)
    assert done.stdout.splitlines()[-1] == "PASSIVE set()", done.stderr
