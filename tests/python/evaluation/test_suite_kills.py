"""An evaluation that was killed goes on: the same files, and nothing is encoded twice."""

from __future__ import annotations

import json
import signal

import pytest

from support import eval_job, process_group

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    eval_job.write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """(files, notes) of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return measured(inputs, folder)


def measured(inputs, folder, **options):
    (folder / "notes").unlink(missing_ok=True)
    eval_job.run(str(inputs), str(folder / "out"), str(folder / "notes"), **options)
    notes = folder / "notes"
    return files_of(folder / "out"), notes.read_text().split() if notes.exists() else []


def files_of(out):
    return {str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if is_result(f)}


def is_result(file):
    # The options that the shell saves name the folder.
    return file.is_file() and ".tmp-" not in file.name and file.name != "helip.yaml"


# (kind, number, tasks that are whole by then) of a run of four tasks: start and control, each on
# colours (3 calls for pictures, 1 for texts) and on captions (3 batches of rows, 1 for texts).
KILLS = [
    ("image", 2, 0),  # in the middle of the first task
    ("written", 1, 1),  # between two tasks
    ("text", 2, 1),  # within the second: pictures are encoded, captions are not
    ("write", 3, 2),  # the third is measured, and its file not yet in its place
    ("image", 10, 3),  # in the last task
    ("written", 4, 4),  # all is measured, and the table not yet written
]


@pytest.mark.parametrize(("kind", "number", "finished"), KILLS)
def test_a_killed_evaluation_goes_on_to_the_same_files(
    kind, number, finished, inputs, whole, tmp_path
):
    kill(inputs, tmp_path, kind, number)
    before = files_of(tmp_path / "out")
    assert len(before) == finished
    assert all(whole[0][name] == value for name, value in before.items())

    files, again = measured(inputs, tmp_path)
    assert files == whole[0]
    assert not (set(before) & {"table.json", "table.md"})
    # What is whole is not encoded again, and the rest once.
    tasks = by_task(whole[1])
    assert by_task(again) == tasks[finished:]
    assert measured(inputs, tmp_path) == (files, [])


def kill(inputs, folder, *how, probe=False):
    paths = map(str, (inputs, folder / "out", folder / "notes"))
    assert process_group.exit_code(_die, *paths, how, probe) == -signal.SIGKILL


def _die(inputs, out, notes, how, probe):
    eval_job.run(inputs, out, notes, how, probe=probe)


def test_of_two_tasks_on_one_set_the_second_alone_is_measured_again(inputs, tmp_path):
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    reference, _ = measured(inputs, folders[0], probe=True)
    kill(inputs, folders[1], "written", 3, probe=True)  # both tasks of start, the first of control
    files, notes = measured(inputs, folders[1], probe=True)
    assert files == reference
    assert notes.count("evaluate") == notes.count("written") == 1
    assert notes.count("text") == 0  # prompts are of the task that is whole
    assert notes.count("image") == 2 * 3  # what is measured and what the probe is fitted to


def by_task(notes):
    """The calls of each of the calls of ``evaluate``."""
    return " ".join(notes).split("evaluate")[1:]


def test_an_undisturbed_run_calls_the_encoders_once_a_batch(whole):
    files, notes = whole
    assert len(files) == 6
    assert notes.count("evaluate") == notes.count("written") == 4
    assert notes.count("image") == 2 * (3 + 3)  # 16 pictures in sevens; 20 rows of captions
    assert notes.count("text") == 2 * 2
    table = json.loads(files["table.json"])["tables"]
    assert [part["data"] for part in table] == ["colours", "captions"]
