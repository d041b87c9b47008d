"""``python -m helip`` is the command line, also under torchrun."""

from __future__ import annotations

from helip.cli.main import main

main()
