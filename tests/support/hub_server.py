"""A small hub: what huggingface_hub asks of one to make, fill and read repositories. On loopback.

Files of `.safetensors` and `.parquet` go by Git LFS, others in the commit, as on huggingface.co.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of-the-test"
OWNER = "me"
_LARGE = (".safetensors", ".parquet")


class Repo:
    """Branches of commits, each name → bytes."""

    def __init__(self, private: bool) -> None:
        self.private = private
        self.commits: dict[str, dict[str, bytes]] = {}
        self.messages: list[str] = []
        self.branches = {"main": self.add({}, "first")}

    def add(self, files: dict[str, bytes], message: str) -> str:
        self.messages.append(message)
        told = [len(self.messages), message, *sorted(files.items())]
        commit = hashlib.sha1(repr(told).encode()).hexdigest()
        self.commits[commit] = files
        return commit

    def commit_of(self, revision: str) -> str | None:
        commit = self.branches.get(revision, revision)
        return commit if commit in self.commits else None

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.branches[revision]]


class HubServer(http.server.ThreadingHTTPServer):
    """``faults``: part of a path → status of its answer; ``times``: to so many requests alone."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, Repo] = {}  # such as models/me/name
        self.objects: dict[str, bytes] = {}  # of LFS, by SHA-256
        self.requests: list[str] = []
        self.faults: dict[str, int] = {}
        self.times: dict[str, int] = {}

    def fault_of(self, path: str) -> int | None:
        for part, status in self.faults.items():
            if part in path and self.times.get(part, 1) > 0:
                if part in self.times:
                    self.times[part] -= 1
                return status
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        path, body = urlsplit(self.path).path, self._body()
        self.server.requests.append(f"{self.command} {path}")
        if (status := self.server.fault_of(path)) is not None:
            self._send({"error": "as the test wishes"}, status)
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", TOKEN):
            self._send({"error": "unknown token"}, 401)
            return
        for pattern, name in _ROUTES:
            if match := re.fullmatch(pattern, path):
                getattr(self, f"_{name}")(*map(unquote, match.groups()), body=body)
                return
        self._send({"error": f"no route for {path}"}, 404)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, what: Any, status: int = 200, **headers: str) -> None:
        raw = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def _repo(self, kind: str, name: str) -> Repo | None:
        repo = self.server.repos.get(f"{kind}/{name}")
        if repo is None or (repo.private and "Authorization" not in self.headers):
            self._send({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            return None
        return repo

    def _commit(self, repo: Repo, revision: str) -> str | None:
        commit = repo.commit_of(revision)
        if commit is None:
            self._send({"error": "no such revision"}, 404, X_Error_Code="RevisionNotFound")
        return commit

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        kind = f"{asked.get('type') or 'model'}s"
        name = f"{asked.get('organization') or OWNER}/{asked['name']}"
        status = 409 if f"{kind}/{name}" in self.server.repos else 200
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.server.repos.setdefault(f"{kind}/{name}", Repo(private))
        prefix = "" if kind == "models" else f"{kind}/"
        self._send({"url": f"{self.server.url}/{prefix}{name}"}, status)

    def _whoami(self, body: bytes) -> None:
        self._send({"name": OWNER, "type": "user", "orgs": []})

    def _validate(self, body: bytes) -> None:
        self._send({"errors": [], "warnings": []})

    def _branch(self, kind: str, name: str, branch: str, body: bytes) -> None:
        if repo := self._repo(kind, name):
            status = 409 if branch in repo.branches else 200
            repo.branches.setdefault(branch, repo.branches["main"])
            self._send({}, status)

    def _preupload(self, kind: str, name: str, revision: str, body: bytes) -> None:
        if not (repo := self._repo(kind, name)) or not (commit := self._commit(repo, revision)):
            return
        files = repo.commits[commit]
        found = [
            {
                "path": (path := each["path"]),
                "uploadMode": "lfs" if path.endswith(_LARGE) else "regular",
                "shouldIgnore": False,
                "oid": _oid(path, files[path]) if path in files else None,
            }
            for each in json.loads(body)["files"]
        ]
        self._send({"files": found})

    def _batch(self, prefix: str, name: str, body: bytes) -> None:
        objects = [
            {
                **each,
                "actions": {"upload": {"href": f"{self.server.url}/objects/{each['oid']}"}},
            }
            for each in json.loads(body)["objects"]
        ]
        self._send({"transfer": "basic", "objects": objects})

    def _object(self, oid: str, body: bytes) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.objects[oid] = body
        self._send({})

    def _do_commit(self, kind: str, name: str, revision: str, body: bytes) -> None:
        if not (repo := self._repo(kind, name)) or not (commit := self._commit(repo, revision)):
            return
        files, message = dict(repo.commits[commit]), ""
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        repo.branches[revision] = made = repo.add(files, message)
        self._send({"commitUrl": f"{self.server.url}/{name}/commit/{made}", "commitOid": made})

    def _info(self, kind: str, name: str, revision: str = "main", *, body: bytes) -> None:
        if (repo := self._repo(kind, name)) and (commit := self._commit(repo, revision)):
            names = [{"rfilename": path} for path in sorted(repo.commits[commit])]
            facts = {"id": name, "sha": commit, "private": repo.private, "siblings": names}
            self._send({**facts, "tags": [], "downloads": 0, "likes": 0})

    def _tree(self, kind: str, name: str, revision: str, body: bytes) -> None:
        if (repo := self._repo(kind, name)) and (commit := self._commit(repo, revision)):
            files = sorted(repo.commits[commit].items())
            self._send([_entry(path, contents) for path, contents in files])

    def _resolve(self, prefix: str, name: str, revision: str, path: str, *, body: bytes) -> None:
        kind = prefix.rstrip("/") or "models"
        if not (repo := self._repo(kind, name)) or not (commit := self._commit(repo, revision)):
            return
        contents = repo.commits[commit].get(path)
        if contents is None:
            error = {"X_Error_Code": "EntryNotFound", "X_Repo_Commit": commit}
            self._send({"error": "Entry not found"}, 404, **error)
            return
        tag = {"ETag": f'"{_oid(path, contents)}"', "X_Repo_Commit": commit}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            first, last = int(asked[1]), int(asked[2] or len(contents) - 1)
            part = contents[first : last + 1]
            bounds = f"bytes {first}-{first + len(part) - 1}/{len(contents)}"
            self._send(part, 206, Content_Range=bounds, **tag)
        else:
            self._send(contents, **tag)


_NAME = r"((?:[^/]+/)?[^/]+)"
_KIND = rf"/api/(models|datasets)/{_NAME}"
_ROUTES = (
    (r"/api/repos/create", "create"),
    (r"/api/whoami-v2", "whoami"),
    (r"/api/validate-yaml", "validate"),
    (rf"{_KIND}/branch/(.+)", "branch"),
    (rf"{_KIND}/preupload/([^/]+)", "preupload"),
    (rf"{_KIND}/commit/([^/]+)", "do_commit"),
    (rf"{_KIND}/revision/([^/]+)", "info"),
    (rf"{_KIND}/tree/([^/]+)", "tree"),
    (_KIND, "info"),
    (rf"/(datasets/|){_NAME}\.git/info/lfs/objects/batch", "batch"),
    (r"/objects/(\w+)", "object"),
    (rf"/(datasets/|){_NAME}/resolve/([^/]+)/(.+)", "resolve"),
)


def _oid(path: str, contents: bytes) -> str:
    """As Git names it: SHA-256 of LFS, else the SHA-1 of a blob."""
    if path.endswith(_LARGE):
        return hashlib.sha256(contents).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(contents) + contents).hexdigest()


def _entry(path: str, contents: bytes) -> dict[str, Any]:
    oid = _oid(path, contents)
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(contents), "oid": oid}
    if path.endswith(_LARGE):
        found["lfs"] = {"oid": oid, "size": len(contents), "pointerSize": 130}
    return found


@contextlib.contextmanager
def hub_running() -> Iterator[HubServer]:
    """A hub while the block runs."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def hub_for_tests(monkeypatch: Any, cache: Path) -> Iterator[HubServer]:
    """The hub that this process asks, online, with a token and an empty cache.

    Nothing waits before it asks again.
    """
    import huggingface_hub.utils._http as library
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(library, "time", types.SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub_running() as server:
        ask_at(monkeypatch, server.url)
        yield server
        library.close_session()


def ask_at(monkeypatch: Any, url: str) -> None:
    """Let this process ask the hub at ``url``."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
