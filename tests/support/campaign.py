"""Whether a campaign runs, which leaves no moment of a kill out."""

from __future__ import annotations

import os

CAMPAIGN = bool(os.environ.get("HELIP_CAMPAIGN"))
