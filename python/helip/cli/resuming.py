"""How jobs of the command line stop before their end, and what they say of it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helip.cli.messages import say
from helip.common.errors import Error, InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.remote.urls import url_of

#: Exit code after Ctrl-C or SIGTERM, whatever was kept: as shells have it, 128 + SIGINT.
INTERRUPTED = 130


@contextlib.contextmanager
def saying_how_to_continue(out: Path, part: str | None, *, keeps: str) -> Iterator[None]:
    """After Ctrl-C, SIGTERM or an error of a mining job: what is committed, and what to do.

    keeps: with which options the job keeps something on the way; "": it cannot.
    """
    try:
        yield
    except (InvalidArgumentError, MismatchError, UnsupportedError):
        raise
    except (Error, KeyboardInterrupt) as error:
        stopped = isinstance(error, KeyboardInterrupt)
        if stopped:
            say("helip: stopped")
        if kept := _kept_words(out):
            say(f"{kept}; the same command goes on from there")
        elif stopped and part is not None:
            say("the same command mines this part again; parts that are done stay")
        elif stopped:
            advice = f"; with {keeps} what is done is kept" if keeps else ""
            say(f"nothing was saved, and the same command begins again{advice}")
        if stopped:
            raise SystemExit(INTERRUPTED) from None
        raise


def _kept_words(out: Path) -> str:
    """What a mining job has kept so far; empty for nothing."""
    from helip.common.parts import parts_folder
    from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint
    from helip.mining.engines.parts import begun_parts, done_parts, is_done
    from helip.mining.stages.job import has_stages, stages_folder

    if is_done(out):
        return f"what was mined is in {out}"
    if count := begun_parts(out):
        return f"{done_parts(out)} of {count} parts are committed in {parts_folder(out)}"
    if has_checkpoint(out):
        return f"what was found so far is kept in {checkpoint_folder(out)}"
    return f"units that are done are kept in {stages_folder(out)}" if has_stages(out) else ""


@contextlib.contextmanager
def saying_what_is_kept(out: Path) -> Iterator[None]:
    """After Ctrl-C or SIGTERM: how many rows of the store at ``out`` are committed."""
    try:
        yield
    except KeyboardInterrupt:
        try:
            rows = _committed_rows(out)
            words = (
                f"{rows:,} rows are committed, the same command goes on from there"
                if rows
                else "nothing was committed yet, the same command begins again"
            )
        except (Error, OSError) as error:
            words = f"what was committed stays: {error}"
        say(f"helip: interrupted; {words}")
        raise SystemExit(INTERRUPTED) from None


def _committed_rows(out: Path) -> int:
    """Rows of an unfinished store, or of the parts of one."""
    from helip.common.parts import parts_folder
    from helip.common.remote.outputs import scratch_of
    from helip.store.embedding_store import EmbeddingStore

    place = out if (url := url_of(out)) is None else Path(scratch_of(url))
    found = [each.parent for each in parts_folder(place).glob("*/manifest.json")]
    begun = (place / "manifest.json").exists()
    if begun and not EmbeddingStore.open(place).metadata.get("complete"):
        found.append(place)
    return sum(len(EmbeddingStore.open(each)) for each in found)


@contextlib.contextmanager
def stopping_between_steps() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C and SIGTERM are kept for the job, which asks the function that this gives.

    The second one stops at once.
    """
    asked = False

    def handle(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("helip: stops after this step and keeps a checkpoint; once more stops at once")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield lambda: asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
