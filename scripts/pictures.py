"""Make the pictures of the viewer for the documentation, of what `make demo` has made.

python scripts/pictures.py --demo demo-out

It needs Debian's chromium and playwright (`pip install 'helip[browser]'`). The pictures show
OpenMoji's drawings, which are under CC BY-SA 4.0; the pages that show them say so. Each is a WebP;
one that would be larger than 100 KB is refused.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

import helip
from helip_view.app import make_app
from helip_view.viewing import ViewCall, viewing

ROOT = Path(__file__).resolve().parents[1]
PORT = 8979
LARGEST = 100_000  # bytes
QUALITY = 85
#: File, address, width and height of the window, and what must be there before it is drawn.
PICTURES = (
    ("viewer.webp", "/?way=hardest&at=40&rank=2", (1280, 800), ".pair"),
    ("viewer-map.webp", "/map", (1280, 800), 'canvas[data-ready="joint score"]'),
    ("viewer-pools.webp", "/pools?row=40", (1280, 900), ".strips"),
)


def shots(home: str) -> dict[str, bytes]:
    """The pictures as PNG, by their names."""
    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--enable-unsafe-swiftshader"],
        )
        for name, address, (width, height), ready in PICTURES:
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme="light"
            )
            page.goto(f"{home}/?token=pictures")
            page.goto(home + address)
            page.wait_for_selector(ready, timeout=120_000)
            page.wait_for_load_state("networkidle")
            found[name] = page.screenshot()
            page.close()
        browser.close()
    return found


def smaller(body: bytes) -> bytes:
    """The picture as WebP; refused where it stays large."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(body)).convert("RGB").save(buffer, "WEBP", quality=QUALITY, method=6)
    if buffer.tell() > LARGEST:
        sys.exit(f"a picture has {buffer.tell():,} bytes, must have at most {LARGEST:,}")
    return buffer.getvalue()


def made(data: Any, work: Path, verdicts: Path) -> dict[str, bytes]:
    """Starts a viewer of the demo, and draws its pages."""
    call = ViewCall(
        work / "pairs", data, store=work / "embeddings", verdicts=verdicts, progress=False
    )
    with viewing(call) as pages:
        app = make_app(
            pages, token="pictures", hosts=frozenset({f"127.0.0.1:{PORT}"}), cookie="pictures"
        )
        config = uvicorn.Config(app, port=PORT, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.05)
            return shots(f"http://127.0.0.1:{PORT}")
        finally:
            server.should_exit = True
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=ROOT / "demo-out")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    arguments = parser.parse_args()
    shards = sorted((arguments.demo / "data" / "train").glob("*.tar"))
    if not shards:
        sys.exit(f"there are no shards in {arguments.demo}/data/train; run `make demo` first")
    data = helip.open_dataset([str(shard) for shard in shards], progress=False)
    with tempfile.TemporaryDirectory() as folder:
        found = made(data, arguments.demo / "work", Path(folder) / "verdicts")
    for name, body in found.items():
        small = smaller(body)
        (arguments.out / name).write_bytes(small)
        print(f"{name}: {len(small):,} bytes")


if __name__ == "__main__":
    main()
