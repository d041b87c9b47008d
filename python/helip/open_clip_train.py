"""``python -m helip.open_clip_train``: open_clip's training with hard pairs."""

from __future__ import annotations

from helip.integrations.open_clip_training import run

if __name__ == "__main__":
    run()
