"""The command line of open_clip's training with hard pairs."""

from __future__ import annotations

import pytest

from helip.common.errors import InvalidArgumentError
from helip.integrations import open_clip_program
from helip.integrations.open_clip_training import main


def test_own_flags_need_the_table():
    with pytest.raises(InvalidArgumentError, match="--gamma without --hard-pairs"):
        main(["--gamma", "0.5"])


def test_own_flags_become_options_and_the_rest_is_open_clips(monkeypatch):
    seen = {}

    def training(options, loss):
        seen.update(options=options, loss=loss)
        return open_clip_program.cpu_processes()

    program = open_clip_program.open_clip_program()
    monkeypatch.setattr(open_clip_program, "hard_pair_training", training)
    monkeypatch.setattr(program, "main", lambda rest: seen.setdefault("rest", rest))
    own = "--hard-pairs pairs --gamma 0.5 --rank-max 20 --fraction 0.5 --no-pin-memory"
    main([*own.split(), "--loss", "own.losses:Loss", "--workers", "3", "--lr", "1e-5"])
    assert seen["rest"] == ["--workers", "3", "--lr", "1e-5"]
    options = seen["options"]
    assert seen["loss"] == "own.losses:Loss"
    assert (options.hard_pairs, options.gamma, options.rank_max) == ("pairs", 0.5, 20)
    assert (options.fraction, options.pin_memory, options.workers) == (0.5, False, None)


def test_an_option_outside_its_bound_is_refused():
    with pytest.raises(InvalidArgumentError, match="fraction is 2"):
        main(["--hard-pairs", "pairs", "--fraction", "2"])
