"""The C++ programs build against the installed package and do what they say."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "cpp"
Build = Callable[[str], Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    made: dict[str, Path] = {}

    def build_example(name: str) -> Path:
        if name in made:
            return made[name]
        folder = tmp_path_factory.mktemp(name)
        configure = ["cmake", "-S", EXAMPLES / name, "-B", folder, "-DCMAKE_BUILD_TYPE=Release"]
        configure.append(f"-DCMAKE_PREFIX_PATH={helip.cmake_prefix_path}")
        for command in (configure, ["cmake", "--build", folder]):
            done = subprocess.run([*map(str, command)], capture_output=True, text=True)
            if done.returncode != 0 and "cpp-httplib" in done.stdout + done.stderr:
                pytest.skip("cpp-httplib is not installed; apt install libcpp-httplib-dev")
            assert done.returncode == 0, done.stdout + done.stderr
        made[name] = folder
        return folder

    return build_example


@contextmanager
def running(*command: Any) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([*map(str, command)], stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def arrays(rows: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    made = [random.normal(size=(rows, dim)).astype(np.float32) + 0.5 for dim in (16, 8)]
    return made[0], made[1]


def store(path: Path, rows: int) -> helip.EmbeddingStore:
    with helip.EmbeddingStore.create(path, image_dim=16, text_dim=8) as writer:
        writer.append([f"k{row}" for row in range(rows)], *arrays(rows))
    return helip.EmbeddingStore.open(path)


def test_arrays_are_mined_in_place(build: Build, tmp_path: Path) -> None:
    image, text = arrays(2000)
    image.tofile(tmp_path / "image")
    text.tofile(tmp_path / "text")
    program = build("mine_in_place") / "mine_in_place"
    command = [program, tmp_path / "image", 16, tmp_path / "text", 8, tmp_path / "out", 7, 2, 64]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    ours = helip.mine(image=image, text=text, k=7, device="cpu", progress=False)
    np.testing.assert_array_equal(helip.HardPairs.open(tmp_path / "out").ids, ours.ids)
    assert done.stdout.startswith(f"2000 targets, {int(ours.counts.sum())} hard pairs, ")
    assert " %" in done.stderr
    command[2] = 7  # no width of these rows
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 1 and "invalid_argument: " in done.stderr


def test_an_interrupt_stops_mining_and_leaves_nothing(build: Build, tmp_path: Path) -> None:
    image, text = arrays(60_000)
    image.tofile(tmp_path / "image")
    text.tofile(tmp_path / "text")
    program = build("mine_in_place") / "mine_in_place"
    out = tmp_path / "out"
    with running(program, tmp_path / "image", 16, tmp_path / "text", 8, out, 50, 1) as process:
        assert process.stderr is not None and process.stderr.read(1)  # it says where it is
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
        assert "cancelled: " in process.stderr.read()
    assert not out.exists()


def test_want_of_memory_is_one_error_and_leaves_nothing(build: Build, tmp_path: Path) -> None:
    image, text = arrays(60_000)
    image.tofile(tmp_path / "image")
    text.tofile(tmp_path / "text")
    program = build("mine_in_place") / "mine_in_place"
    command = f"{program} {tmp_path}/image 16 {tmp_path}/text 8 {tmp_path}/out 400 2"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v 220000; exec {command}"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "out_of_memory: " in done.stderr and "memory= lower" in done.stderr
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("out")]


def test_a_table_follows_its_store(build: Build, tmp_path: Path) -> None:
    store(tmp_path / "s", 300)
    program = build("follow_store") / "follow_store"
    with running(program, tmp_path / "s", tmp_path / "p", 6, 0.05) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "generation 1: 300 rows, 0 deleted\n"
        with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
            writer.append([f"n{row}" for row in range(40)], *arrays(40, seed=2))
            writer.delete([3, 4])
        assert process.stdout.readline() == "generation 2: 340 rows, 2 deleted\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert process.stdout.read() == "stopped\n"
    fresh = helip.mine(tmp_path / "s", k=6, method="exact", device="cpu", progress=False)
    table = helip.HardPairs.open(tmp_path / "p")
    np.testing.assert_array_equal(table.ids, fresh.ids)
    assert table.report["update"]["added"] == 40


class Client:
    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self._address + path, timeout=60) as answer:
            return str(answer.read().decode())

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._address + path, data, head, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@pytest.fixture
def service(build: Build, tmp_path: Path) -> Iterator[tuple[Client, subprocess.Popen[str], int]]:
    store(tmp_path / "s", 300)
    program = build("pair_service") / "pair_service"
    with running(program, tmp_path / "index", "--store", tmp_path / "s", "--port", 0) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        yield Client(port), process, port


def lists(**given: np.ndarray) -> dict[str, Any]:
    return {name: rows.tolist() for name, rows in given.items()}


def test_a_service_answers_as_the_index_does(
    service: tuple[Client, subprocess.Popen[str], int], tmp_path: Path
) -> None:
    client, process, _ = service
    image, text = arrays(5, seed=3)
    ours = helip.PairIndex.build(
        helip.EmbeddingStore.open(tmp_path / "s"), image_max=1.0, text_max=1.0
    )

    def check() -> None:
        status, answer = client.post("/query", {**lists(image=image, text=text), "k": 4})
        ids, scores = ours.query(image=image, text=text, k=4)
        assert status == 200
        for row, matches in enumerate(answer["matches"]):
            assert [match["id"] for match in matches] == ids[row].tolist()
            np.testing.assert_allclose([m["score"] for m in matches], scores[row], rtol=1e-6)

    check()
    more = arrays(20, seed=3)  # among them those that are asked for
    body = {"ids": list(range(1000, 1020)), **lists(image=more[0], text=more[1])}
    assert client.post("/add", body) == (200, {"pairs": 320})
    ours.add(image=more[0], text=more[1], ids=np.arange(1000, 1020))
    check()
    refused = client.post("/add", body)  # the same ids again
    assert refused[0] == 400 and "id 1000" in refused[1]["error"]
    assert client.post("/remove", {"ids": [1000, 7]}) == (200, {"pairs": 318})
    ours.remove([1000, 7])
    check()
    refused = client.post("/remove", {"ids": [7]})
    assert refused[0] == 400 and "id 7" in refused[1]["error"]
    assert client.post("/save") == (200, {"generation": 2})
    assert client.post("/add", {**body, "ids": list(range(2000, 2020))})[1] == {"pairs": 338}
    assert client.post("/reload") == (200, {"generation": 2, "pairs": 318})
    check()
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None and process.stderr.readline() == "generation 2\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def test_a_service_refuses_bad_requests_and_counts_them(
    service: tuple[Client, subprocess.Popen[str], int],
) -> None:
    client, _, _ = service
    image, text = arrays(1, seed=3)
    asked = lists(image=image, text=text)
    for body, message in (
        (b"{", "parse error"),
        (b'"\xff"', "UTF-8"),
        ({"image": asked["image"]}, "text"),
        ({**asked, "text": [[1.0, 2.0]]}, "8"),
        ({**asked, "image": [["x"]]}, "number"),
        ({**asked, "image": [[1.0, 2.0], [1.0]]}, "one length"),
        ({**asked, "k": 0}, "k is 0"),
        ({**asked, "k": 10**6}, "at most 1000"),
        ({"image": [], "text": []}, "0 rows"),
    ):
        status, answer = client.post("/query", body)
        assert status == 400 and message in answer["error"], answer
    assert client.post("/absent")[0] == 404
    assert client.post("/query", b" " * (17 << 20))[0] == 413
    assert client.post("/query", asked)[0] == 200
    assert json.loads(client.get("/health")) == {"pairs": 300, "status": "ok"}
    metrics = client.get("/metrics")
    assert 'pair_service_requests_total{path="/query",status="400"} 9\n' in metrics
    assert 'pair_service_request_seconds_bucket{path="/query",le="+Inf"} 10\n' in metrics
    assert "pair_service_pairs 300\n" in metrics
    for line in metrics.splitlines():
        assert line.startswith("# TYPE ") or re.fullmatch(r"[a-z_]+(\{[^}]*\})? [\d.e+-]+", line)


def test_a_service_is_under_load_while_pairs_are_added(
    service: tuple[Client, subprocess.Popen[str], int], build: Build
) -> None:
    client, _, port = service
    program = build("pair_service") / "load_test"
    command = [program, port, 16, 8, 0.5, 2]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == ["queries alone", "while adding"]
    assert all(float(row[2]) > 0 for row in rows) and float(rows[1][5]) > 0
    assert json.loads(client.get("/health"))["pairs"] > 300


def test_every_cpp_example_has_a_test() -> None:
    told = Path(__file__).read_text(encoding="utf-8")
    names = {path.parent.name for path in EXAMPLES.glob("*/CMakeLists.txt")} - {"near_misses"}
    assert names and not {name for name in names if f'build("{name}")' not in told}
