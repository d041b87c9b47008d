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

__all__ = ["main", "run"]


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

    defaults = {f.name: f.default for f in dataclasses.fields(HardPairOptions)}
    parser = argparse.ArgumentParser(
        prog="python -m helip.open_clip_train", add_help=False, allow_abbrev=False
    )

    def add(name: str, kind: Any, words: str) -> None:
        default = defaults[name]
        known = default is not dataclasses.MISSING and default is not None
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            help=words + (f" (default: {default})" if known else ""),
        )

    add("hard_pairs", str, "table of hard pairs, mined from --train-data")
    add("hard_per_target", int, "hard pairs drawn for each target")
    add("gamma", float, "weight of the margin loss")
    add("margin", float, "m of the margin loss")
    add("direction", str, "preserve or repel")
    add("space", str, "cross or intra")
    add("short", str, "targets with too few hard pairs: skip, random or error")
    add("rank_max", int, "draw from the first so many of a pool; all without it")
    add("temperature", float, "draw by exp(score / temperature); uniformly without it")
    return parser


def run() -> None:
    """The program: helip's errors become one line and an exit code."""
    try:
        sys.exit(main())
    except Error as error:
        print(f"helip: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InvalidArgumentError) else 1)
