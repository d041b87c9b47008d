"""The map of `helip view` in headless Chromium: seconds until it is there, frames as it moves.

python bench/map_frames.py --rows 1000000

While the map moves every n-th row is drawn; n is shown. Chromium draws by its software renderer
unless --gpu is given, and its name is printed: on a machine with a graphics processor a frame
costs a small part of that.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import sync_playwright
from view import Noise, write

from helip_view.app import make_app
from helip_view.viewing import ViewCall, viewing

PORT = 8978
RENDERER = """() => {
  const gl = document.createElement('canvas').getContext('webgl');
  const info = gl.getExtension('WEBGL_debug_renderer_info');
  return gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
}"""
#: A frame counts once its points are drawn: a pixel is read back from it.
FRAMES = """async (seconds) => {
  const canvas = document.getElementById('map');
  const gl = canvas.getContext('webgl');
  const box = canvas.getBoundingClientRect();
  const event = (kind, x) => canvas.dispatchEvent(new PointerEvent(kind, {
    bubbles: true, pointerId: 1, buttons: 1, movementX: 3, movementY: 1,
    clientX: box.x + x, clientY: box.y + box.height / 2,
  }));
  canvas.setPointerCapture = () => {};
  const pixel = new Uint8Array(4);
  const times = [];
  event('pointerdown', 10);
  const began = performance.now();
  let last = began;
  while (performance.now() - began < 1000 * seconds) {
    event('pointermove', 10 + (times.length % 300));
    await new Promise(requestAnimationFrame);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  const drawn = Number(canvas.dataset.every);
  canvas.dispatchEvent(new PointerEvent('pointerup', { bubbles: true, pointerId: 1 }));
  return [times, drawn];
}"""


def measured(page: Any, seconds: float) -> dict[str, float]:
    times, every = page.evaluate(FRAMES, seconds)
    times.sort()
    return {
        "every": every,
        "frames_per_second": 1000 * len(times) / sum(times),
        "median_ms": times[len(times) // 2],
        "slowest_ms": times[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("build/bench/map_frames.json"))
    arguments = parser.parse_args()
    result: dict[str, Any] = {"rows": arguments.rows}
    flags = ["--no-sandbox", *([] if arguments.gpu else ["--enable-unsafe-swiftshader"])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HELIP_CACHE"] = str(folder / "cache")
        data = Noise(arguments.rows)
        write(folder, data, 2, 8)
        call = ViewCall(folder / "pairs", data, store=folder / "store", progress=False)
        with viewing(call) as pages, sync_playwright() as playwright:
            hosts = frozenset({f"127.0.0.1:{PORT}"})
            app = make_app(pages, token="bench", hosts=hosts, cookie="own")
            server = uvicorn.Server(
                uvicorn.Config(app, port=PORT, log_level="warning", lifespan="off")
            )
            thread = threading.Thread(target=server.run)
            thread.start()
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=flags
            )
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(f"http://127.0.0.1:{PORT}/?token=bench")
            result["renderer"] = page.evaluate(RENDERER)
            for step in ("first", "again"):
                began = time.perf_counter()
                page.goto(f"http://127.0.0.1:{PORT}/map")
                page.wait_for_selector('canvas[data-ready="joint score"]', timeout=240_000)
                result[f"ready_{step}_seconds"] = time.perf_counter() - began
            result["whole"] = measured(page, arguments.seconds)
            page.evaluate("() => document.getElementById('map').focus()")
            for _ in range(8):
                page.keyboard.press("+")
            result["near"] = measured(page, arguments.seconds)
            browser.close()
            server.should_exit = True
            thread.join()
    print(json.dumps(result, indent=1))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
