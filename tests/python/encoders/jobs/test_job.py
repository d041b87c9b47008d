"""The stage that takes the time is named."""

from __future__ import annotations

import pytest

from helip.encoders.jobs import job


def test_the_slowest_stage_has_its_share(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(job.time, "monotonic", lambda: now[0])
    stages = job.StageTimes()
    assert stages.slowest() == ("", 0.0)

    def values():
        for step in range(3):
            now[0] += 1
            yield step

    for _ in stages.around("reading", values()):
        with stages.on("image encoder"):
            now[0] += 2
    with pytest.raises(ValueError, match="no"), stages.on("text encoder"):
        now[0] += 1
        raise ValueError("no")
    assert stages.seconds == {"reading": 3, "image encoder": 6, "text encoder": 1}
    assert stages.slowest() == ("image encoder", 0.6)
