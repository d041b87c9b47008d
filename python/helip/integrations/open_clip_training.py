"""open_clip's training with hard pairs: its own flags, and a few more.

    python -m helip.open_clip_train --train-data 'cc3m/{00000..00331}.tar' --model ViT-B-32 …
        --hard-pairs cc3m.pairs --hard-per-target 1 --gamma 1.0

Without ``--hard-pairs`` it is open_clip_train.main. Under torchrun it is run as that is.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from helip.common.errors import Error, InvalidArgumentError, UnsupportedError
from helip.common.options import choices_of, hints_of, plain_kind, sentences


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run open_clip's training; ``arguments`` are those of the command line."""
    try:
        import open_clip_train.main as program
    except ImportError as error:
        raise UnsupportedError(
            f"this needs open_clip_train and what it imports ({error}); "
            "pip install 'open_clip_torch[training]'"
        ) from error
    from helip.integrations.open_clip import HardPairOptions, hard_pair_training

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
        return program.main(rest)
    with hard_pair_training(HardPairOptions(**given)):
        return program.main(rest)


def _parser() -> argparse.ArgumentParser:
    from helip.integrations.open_clip import HardPairOptions

    parser = argparse.ArgumentParser(
        prog="python -m helip.open_clip_train", add_help=False, allow_abbrev=False
    )
    hints, words = hints_of(HardPairOptions), sentences(HardPairOptions)
    for field in dataclasses.fields(HardPairOptions):
        known = field.default is not dataclasses.MISSING and field.default is not None
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=plain_kind(hints[field.name]),
            choices=choices_of(hints[field.name]) or None,
            metavar=plain_kind(hints[field.name]).__name__.upper(),
            help=(words[field.name] + (f" [{field.default}]" if known else "")).replace("%", "%%"),
        )
    return parser


def run() -> None:
    """The program: helip's errors become one line and an exit code."""
    try:
        sys.exit(main())
    except Error as error:
        print(f"helip: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InvalidArgumentError) else 1)
