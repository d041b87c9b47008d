"""Commands on tar shards at URLs."""

from __future__ import annotations

import json

from support.data_samples import write_shard
from support.http_shards import serving


def test_shards_at_urls_are_indexed_inspected_and_verified(run, tmp_path):
    folder, out = tmp_path / "data", tmp_path / "index"
    folder.mkdir()
    for shard in range(3):
        write_shard(folder / f"{shard}.tar", range(4 * shard, 4 * shard + 4))
    with serving(folder) as server:
        url = server.url + "/{0..2}.tar"
        code, text, _ = run("index", url, "--out", out, "--json", "--quiet")
        assert (code, json.loads(text)["rows"], json.loads(text)["scanned"]) == (0, 12, 3)
        code, text, _ = run("index", url, "--out", out, "--json", "--quiet")
        assert (code, json.loads(text)["scanned"]) == (0, 0)
        assert run("inspect", out)[0] == 0
        assert run("verify", out)[0] == 0
        server.faults["1.tar"] = 403
        code, _, error = run("verify", out)
        assert code == 1
        assert f"{server.url}/1.tar: 403 Forbidden; give credentials" in error
