"""Pages look as they did: small copies of them lie in `pictures`, and may differ a little.

Text is drawn in DejaVu, which Debian's fonts-dejavu-core has; without it the tests are skipped. A
copy is a quarter as wide and high, so that the edges of letters, which differ from release to
release, hardly count. After a change that is meant: HELIP_PICTURES=write, and look at what changed.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import helip
from support.browser_samples import Viewer, opened

KEPT = Path(__file__).parent / "pictures"
SMALLER = 4
_DIFFERENT = 24  # of 255: where a pixel of a small copy differs
_MOST = 0.01  # share of its pixels
FONTS = (
    '* { font-family: "DejaVu Sans" !important; transition: none !important; '
    "caret-color: transparent !important; scroll-behavior: auto !important; }"
)


@pytest.fixture(scope="module", autouse=True)
def _fonts() -> None:
    if shutil.which("fc-match") is None:
        pytest.skip("there is no fc-match; on Debian: apt-get install fontconfig")
    found = subprocess.run(["fc-match", "DejaVu Sans"], capture_output=True, text=True, check=True)
    if not found.stdout.startswith("DejaVuSans.ttf"):
        pytest.skip("there is no DejaVu Sans; on Debian: apt-get install fonts-dejavu-core")


def looks_as_before(page: Any, name: str, place: str = "") -> None:
    """``place``: the part of the page that stands at the top of the picture."""
    page.add_style_tag(content=FONTS)
    page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready")
    if place:
        page.evaluate("p => document.getElementById(p).scrollIntoView()", place)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB").reduce(SMALLER)
    path = KEPT / f"{name}.png"
    if os.environ.get("HELIP_PICTURES") == "write":
        image.save(path, optimize=True)
        return
    with Image.open(path) as kept:
        before = np.asarray(kept.convert("RGB"), dtype=np.int16)
    now = np.asarray(image, dtype=np.int16)
    assert now.shape == before.shape
    different = (np.abs(now - before).max(axis=2) > _DIFFERENT).mean()
    assert different <= _MOST, f"{different:.1%} of {path.name} differ"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("name", "address"),
    [("card", "/?way=rows&at=12&rank=2"), ("pools", "/pools?row=12")],
    ids=["card", "pools"],
)
def test_pages_of_the_viewer(
    browser: Any, start: Callable[..., Viewer], name: str, address: str, scheme: str
) -> None:
    viewer = start()
    with opened(browser, color_scheme=scheme, bypass_csp=True) as page:
        page.goto(viewer.address)
        page.goto(viewer.home + address)
        looks_as_before(page, f"{name}-{scheme}")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_report(browser: Any, folder: Path, tmp_path: Path, width: int) -> None:
    out = tmp_path / "page.html"
    helip.report(
        folder / "pairs", folder / "pictures", store=folder / "store", rows=[12, 20], out=out,
        progress=False,
    )  # fmt: skip
    page = browser.new_page(viewport={"width": width, "height": 1200})
    try:
        page.set_content(out.read_text(encoding="utf-8").replace("Content-Security-Policy", ""))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        looks_as_before(page, f"report-{width}", "targets")
    finally:
        page.close()
