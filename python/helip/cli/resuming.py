"""How jobs of the command line stop before their end, and what they say of it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helip.common.errors import Error, InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.remote.urls import url_of

#: Exit code after Ctrl-C or SIGTERM, whatever was kept: as shells have it, 128 + SIGINT.
INTERRUPTED = 130


@contextlib.contextmanager
def saying_how_to_continue(
    out: Path, part: str | None, method: str | None, say: Callable[[str], None]
) -> Iterator[None]:
    """After Ctrl-C, SIGTERM or an error: what is committed, and what to do.

    ``method`` is None where there is no store, without which nothing is committed on the way, and
    hnswlib where that library has the graph.
    """
    from helip.common.parts import parts_folder
    from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint
    from helip.mining.engines.parts import METHODS, begun_parts, done_parts, is_done
    from helip.mining.stages.job import has_stages, stages_folder

    try:
        yield
    except (InvalidArgumentError, MismatchError, UnsupportedError):
        raise
    except (Error, KeyboardInterrupt) as error:
        stopped = isinstance(error, KeyboardInterrupt)
        if stopped:
            say("helip: stopped")
        if is_done(out):
            say(f"what was mined is in {out}; the same command goes on from there")
        elif count := begun_parts(out):
            say(
                f"{done_parts(out)} of {count} parts are committed in {parts_folder(out)}; the "
                "same command goes on from there"
            )
        elif has_checkpoint(out):
            say(
                f"what was found so far is kept in {checkpoint_folder(out)}; the same command goes "
                "on from there"
            )
        elif has_stages(out):
            say(
                f"units that are done are kept in {stages_folder(out)}; the same command goes on "
                "from there"
            )
        elif stopped and part is not None:
            say("the same command mines this part again; parts that are done stay")
        elif stopped and method == "hnswlib":
            say(
                "nothing was saved: a graph of hnswlib is not kept on the way; the same command "
                "begins again"
            )
        elif stopped and method is None:
            say(
                "nothing was saved: only what is mined from a store goes on; the same command "
                "begins again"
            )
        elif stopped and method not in METHODS:
            say("nothing was saved yet (see --checkpoint); the same command begins again")
        elif stopped:
            say("nothing is committed yet; with --parts N what is done is kept from then on")
        if stopped:
            raise SystemExit(INTERRUPTED) from None
        raise


@contextlib.contextmanager
def saying_what_is_kept(out: Path, say: Callable[[str], None]) -> Iterator[None]:
    """After Ctrl-C or SIGTERM: how many rows of the store at ``out`` are committed."""
    try:
        yield
    except KeyboardInterrupt:
        try:
            rows = _committed_rows(out)
        except (Error, OSError) as error:
            say(f"helip: interrupted; what was committed stays: {error}")
            raise SystemExit(INTERRUPTED) from None
        say(
            f"helip: interrupted; {rows:,} rows are committed, the same command goes on from there"
            if rows
            else "helip: interrupted; nothing was committed yet, the same command begins again"
        )
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
def stopping_between_steps(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
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
