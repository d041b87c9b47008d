"""A process that is killed while it saves a checkpoint of a run: a whole one is there."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from helip.common.errors import StorageError
from helip.common.files import remove_leftovers
from helip.training.checkpoints import Checkpoint, newest_checkpoint, write_checkpoint

#: What Python tells its auditors before it changes the disk; fsync it does not tell of.
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate"}


def checkpoint(root: Path, step: int) -> Checkpoint:
    return Checkpoint(
        path=root / f"step-{step:08d}",
        step=step,
        tensors={
            "model": {"w": torch.full((40,), float(step))},
            "optimizer": {"m": torch.full((40,), -float(step))},
        },
        state={"rows": step},
    )


def save(root: Path, step: int) -> None:
    write_checkpoint(checkpoint(root, step), config={"model": "tiny"}, keep=1)


def at_each_change(then: Callable[[], None], at: int) -> None:
    """From now on ``then`` is called before change ``at`` of the disk; for this process's life."""
    left = at

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            then()

    def audit(event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if event in CHANGES or writes:
            count()

    fsync = os.fsync

    def counted(descriptor: int) -> None:
        count()
        fsync(descriptor)

    os.fsync = counted
    sys.addaudithook(audit)


def in_child(call: Callable[[], None]) -> int:
    """Exit status of a forked process that makes the call; 0 where it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            call()
        except StorageError:
            os._exit(3)
        except BaseException:
            os._exit(4)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def test_killed_at_any_change_of_a_save_the_old_or_the_new_checkpoint_is_whole(
    tmp_path: Path,
) -> None:
    kills = 0
    seen = set()
    while True:
        root = tmp_path / str(kills)
        save(root, 1)

        def killed(root: Path = root, at: int = kills + 1) -> None:
            at_each_change(lambda: os.kill(os.getpid(), signal.SIGKILL), at)
            save(root, 2)

        status = in_child(killed)
        assert status == 0 or os.WIFSIGNALED(status)
        found, damage = newest_checkpoint(root)
        assert found is not None
        assert damage == []
        assert found.tensors["model"]["w"].tolist() == [found.step] * 40
        seen.add(found.step)
        # The next run goes on, and leaves nothing of the killed one.
        remove_leftovers(root)
        save(root, 3)
        assert [path.name for path in root.iterdir()] == ["step-00000003"]
        if status == 0:
            break
        kills += 1
    assert seen == {1, 2}
    assert kills > 15
    print(f"kills within a save: {kills}")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_change_that_fails_is_one_clear_error_and_the_old_checkpoint_stays(
    tmp_path: Path, error: int
) -> None:
    failures = 0
    while True:
        root = tmp_path / str(failures)
        save(root, 1)

        def fail() -> None:
            raise OSError(error, os.strerror(error))

        def failing(root: Path = root, at: int = failures + 1) -> None:
            at_each_change(fail, at)
            save(root, 2)

        status = os.waitstatus_to_exitcode(in_child(failing))
        found, damage = newest_checkpoint(root)
        assert found is not None
        assert damage == []
        assert status in (0, 3)
        assert status == 0 or found.step in (1, 2)
        # Where nothing failed any more, or what failed was the removal of what is not needed.
        if status == 0 and failures > 15:
            break
        failures += 1
        assert failures < 200
