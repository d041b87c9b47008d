"""open_clip's training with hard pairs: its own flags, and a few more.

    python -m helip.open_clip_train --train-data 'cc3m/{00000..00331}.tar' --model ViT-B-32 …
        --hard-pairs cc3m.pairs --hard-per-target 1 --gamma 1.0

Without ``--hard-pairs`` it is open_clip_train.main. Under torchrun it is run as that is.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any

from helip.common.errors import Error, InvalidArgumentError
from helip.common.options import choices_of, hints_of, plain_kind, sentences

#: Options that open_clip has flags for; theirs hold.
_OPEN_CLIPS = {"workers"}
_LOSS = "module:Class of a loss of your own; without it HelipLoss, or that of --siglip."


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run open_clip's training; ``arguments`` are those of the command line."""
    from helip.integrations.open_clip_program import (
        HardPairOptions,
        cpu_processes,
        hard_pair_training,
        open_clip_program,
    )

    program = open_clip_program()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    own, rest = _parser().parse_known_args(arguments)
    if {"-h", "--help"} & set(rest):
        _parser().print_help()
        print("\nand the flags of open_clip_train.main:\n")
    given = {name: value for name, value in vars(own).items() if value is not None}
    if own.hard_pairs is None:
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
            raise InvalidArgumentError(
                f"{flags} without --hard-pairs; name the table of hard pairs"
            )
        with cpu_processes():
            return program.main(rest)
    loss = given.pop("loss", None)
    with hard_pair_training(HardPairOptions(**given), loss=loss):
        return program.main(rest)


def _parser() -> argparse.ArgumentParser:
    from helip.integrations.open_clip_program import HardPairOptions

    parser = argparse.ArgumentParser(
        prog="python -m helip.open_clip_train", add_help=False, allow_abbrev=False
    )
    hints, words = hints_of(HardPairOptions), sentences(HardPairOptions)
    for field in dataclasses.fields(HardPairOptions):
        if field.name in _OPEN_CLIPS:
            continue
        kind = plain_kind(hints[field.name])
        known = field.default is not dataclasses.MISSING and field.default is not None
        options: dict[str, Any] = {
            "choices": choices_of(hints[field.name]) or None,
            "metavar": kind.__name__.upper(),
            "type": kind,
        }
        if kind is bool:
            options = {"action": argparse.BooleanOptionalAction}
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            default=None,
            help=(words[field.name] + (f" [{field.default}]" if known else "")).replace("%", "%%"),
            **options,
        )
    parser.add_argument("--loss", metavar="STR", help=_LOSS)
    return parser


def run() -> None:
    """The program: helip's errors become one line and an exit code."""
    try:
        try:
            sys.exit(main())
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # what reads the output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Error as error:
        print(f"helip: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InvalidArgumentError) else 1)
