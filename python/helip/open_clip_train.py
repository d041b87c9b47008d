"""``python -m helip.open_clip_train``: open_clip's training with hard pairs."""

from __future__ import annotations

from helip.common.machine import wait_passively

if __name__ == "__main__":
    wait_passively()  # before torch is imported

    from helip.integrations.open_clip_training import run

    run()
