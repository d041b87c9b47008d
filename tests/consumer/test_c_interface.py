"""helip.h from C and from a language that calls C: the tables of Python, errors as codes."""

from __future__ import annotations

import ctypes as c
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from support import c_structures as s

HERE = Path(__file__).resolve().parent
PACKAGE = Path(helip.__file__).resolve().parent
LIBRARY = PACKAGE / "lib" / "libhelip.so"
STRICT = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror"]
ROWS = 300


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Library:
    """Calls of the library; one that gives a code raises Refused with its message."""

    def __init__(self) -> None:
        self._library = c.CDLL(str(LIBRARY))
        for name in ("helip_last_error", "helip_version", "helip_status_name"):
            getattr(self._library, name).restype = c.c_char_p

    def __getattr__(self, name: str) -> Callable[..., None]:
        function = getattr(self._library, f"helip_{name}")

        def call(*arguments: Any) -> None:
            status = function(*arguments)
            if status != s.OK:
                raise Refused(status, self._library.helip_last_error().decode())

        return call

    def text(self, name: str, *arguments: Any) -> str:
        return str(getattr(self._library, f"helip_{name}")(*arguments).decode())

    def options(self, init: str, kind: Any, **values: Any) -> Any:
        made = kind()
        getattr(self, init)(c.byref(made), c.c_size_t(c.sizeof(made)))
        for name, value in values.items():
            setattr(made, name, value)
        return made

    def info(self, name: str, kind: Any, handle: c.c_void_p) -> Any:
        made = kind(struct_size=c.sizeof(kind))
        getattr(self, name)(handle, c.byref(made))
        return made


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    return random.normal(size=(ROWS, 16)) + 0.5, random.normal(size=(ROWS, 8)) + 0.5


@pytest.fixture
def store(tmp_path: Path, arrays: tuple[np.ndarray, np.ndarray]) -> Path:
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=16, text_dim=8) as writer:
        writer.append([f"k{i}" for i in range(ROWS)], *arrays)
    return tmp_path / "s"


def mined(library: Library, arrays: tuple[np.ndarray, np.ndarray], **given: Any) -> c.c_void_p:
    control = given.pop("control", None)
    options = library.options("mine_options_init", s.MineOptions, k=10, method=s.EXACT)
    for name, value in given.items():
        setattr(options, name, value)
    pairs = c.c_void_p()
    image, text = (s.Matrix.of(array) for array in arrays)
    library.mine(
        *(c.byref(image), c.byref(text), c.byref(options)),
        *(c.byref(control) if control else None, None, c.byref(pairs)),
    )
    return pairs


def pool(library: Library, pairs: c.c_void_p, target: int) -> tuple[list[int], list[float]]:
    ids, scores, count = (c.c_int64 * 10)(), (c.c_float * 10)(), c.c_int64()
    library.pairs_pool(pairs, c.c_int64(target), c.c_int64(10), ids, scores, c.byref(count))
    return ids[: count.value], scores[: count.value]


def run(*command: Any, **given: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, **given)


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = tmp_path_factory.mktemp("c")
    prefix = f"-DCMAKE_PREFIX_PATH={helip.cmake_prefix_path}"
    for command in (["cmake", "-S", HERE / "c", "-B", build, prefix], ["cmake", "--build", build]):
        done = run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "consumer"


def test_a_c_program_mines_the_table_of_python(consumer: Path, store: Path, tmp_path: Path) -> None:
    done = run(consumer, store, tmp_path / "p", tmp_path / "i")
    assert done.returncode == 0, done.stderr
    theirs = helip.HardPairs.open(tmp_path / "p")
    ours = helip.mine(store, k=10, method="exact", device="cpu", progress=False)
    np.testing.assert_array_equal(theirs.ids, ours.ids)
    np.testing.assert_array_equal(theirs.scores, ours.scores)
    said = f"helip {helip.__version__}: {ROWS} targets, {int(ours.counts.sum())} pairs\n"
    assert done.stdout == said
    queries = helip.EmbeddingStore.open(store)
    index = helip.PairIndex.open(tmp_path / "i")
    expected = helip.PairIndex.build(queries)
    for found, wanted in zip(
        index.query(image=queries.image, text=queries.text, k=3),
        expected.query(image=queries.image, text=queries.text, k=3),
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)


def test_a_c_program_gets_code_and_message(consumer: Path, tmp_path: Path) -> None:
    done = run(consumer, tmp_path / "absent", tmp_path / "p", tmp_path / "i")
    assert done.returncode == 1
    assert done.stderr.startswith("helip_store_open: io: ")


def compiled(source: str, out: Path, *options: str) -> Path:
    include = f"-I{PACKAGE / 'include'}"
    given = {"input": source, "check": True}
    run("cc", *STRICT, "-x", "c", "-", "-x", "none", "-o", out, include, *options, **given)
    return out


def test_the_structures_of_the_test_are_those_of_the_compiler(tmp_path: Path) -> None:
    lines = []
    for name, kind in s.STRUCTURES.items():
        lines.append(f'printf("%zu\\n", sizeof({name}));')
        lines += [f'printf("%zu\\n", offsetof({name}, {f[0]}));' for f in kind._fields_]
    head = "#include <helip.h>\n#include <stdio.h>\nint main(void) {"
    program = compiled(f"{head}{''.join(lines)} return 0; }}", tmp_path / "sizes")
    expected = []
    for kind in s.STRUCTURES.values():
        expected.append(c.sizeof(kind))
        expected += [getattr(kind, field[0]).offset for field in kind._fields_]
    assert [int(line) for line in run(program).stdout.split()] == expected


def test_mining_in_place_gives_the_pools_of_python(
    library: Library, arrays: tuple[np.ndarray, np.ndarray]
) -> None:
    expected = helip.mine(
        image=arrays[0], text=arrays[1], k=10, method="exact", device="cpu", progress=False
    )
    pairs = mined(library, arrays)
    info = library.info("pairs_get_info", s.PairsInfo, pairs)
    assert (info.targets, info.k) == (ROWS, 10)
    for target in range(ROWS):
        ids, scores = pool(library, pairs, target)
        assert ids == list(expected.ids[target][: len(ids)])
        assert scores == list(expected.scores[target][: len(ids)])
    library._library.helip_pairs_free(pairs)


def test_progress_reaches_the_caller_who_may_stop(
    library: Library, arrays: tuple[np.ndarray, np.ndarray]
) -> None:
    seen: list[tuple[str, int, int]] = []
    stop = False

    @s.Progress
    def progress(_: Any, stage: bytes, done: int, total: int) -> int:
        seen.append((stage.decode(), done, total))
        return int(stop)

    control = library.options("control_init", s.Control, progress=progress)
    mined(library, arrays, control=control)
    assert seen and all(stage and 0 <= done <= total for stage, done, total in seen)
    stop = True
    with pytest.raises(Refused) as refused:
        mined(library, arrays, control=control)
    assert refused.value.status == s.CANCELLED


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"method": 7}, "method is 7, but must be between 0 and 4"),
        ({"image_max": 2.0}, "image_max is 2"),
        ({"threads": -1}, "threads is -1"),
        ({"struct_size": 3}, "options.struct_size is 3"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_options_give_a_code_and_a_message(
    library: Library,
    arrays: tuple[np.ndarray, np.ndarray],
    given: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(Refused, match=message) as refused:
        mined(library, arrays, **given)
    assert refused.value.status == s.INVALID


def test_bad_arrays_are_refused(library: Library, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    broken = arrays[0].copy()
    broken[17, 3] = np.nan
    for image, message in ((broken, "row 17"), (arrays[0][:-1], str(ROWS - 1))):
        with pytest.raises(Refused, match=message) as refused:
            mined(library, (image, arrays[1]))
        assert refused.value.status == s.INVALID
    with pytest.raises(Refused, match="pairs is NULL"):
        pool(library, c.c_void_p(), 0)


def test_a_store_of_c_is_a_store_of_python_and_a_table_follows_it(
    library: Library, tmp_path: Path, arrays: tuple[np.ndarray, np.ndarray]
) -> None:
    image, text = arrays
    path = str(tmp_path / "s").encode()
    writer, later, pairs = c.c_void_p(), c.c_void_p(), c.c_void_p()
    options = library.options("store_options_init", s.StoreOptions, image_dim=16, text_dim=8)

    def append(first: int, last: int) -> None:
        keys = (c.c_char_p * (last - first))(*(f"k{i}".encode() for i in range(first, last)))
        views = [s.Matrix.of(array[first:last]) for array in (image, text)]
        library.store_writer_append(writer, keys, None, *map(c.byref, views), None, None)

    library.store_writer_create(path, c.byref(options), c.byref(writer))
    append(0, 250)
    library.store_writer_commit(writer, None, c.byref(later))
    mine_options = library.options("mine_options_init", s.MineOptions, k=10, method=s.EXACT)
    library.mine_store(later, c.byref(mine_options), None, None, c.byref(pairs))
    append(250, ROWS)
    library.store_writer_commit(writer, b'{"encoder": "none"}', c.byref(later))
    library._library.helip_store_writer_free(writer)
    assert library.info("store_get_info", s.StoreInfo, later).rows == ROWS
    updated = c.c_void_p()
    table = str(tmp_path / "p").encode()
    how = library.options("update_options_init", s.UpdateOptions, codes=table)
    with pytest.raises(Refused, match="codes and a table or its job"):
        library.update(pairs, later, c.byref(how), None, table, c.byref(updated))
    how.codes = str(tmp_path / "c").encode()
    library.update(pairs, later, c.byref(how), None, table, c.byref(updated))

    ours = helip.EmbeddingStore.open(tmp_path / "s")
    assert ours.keys[ROWS - 1] == f"k{ROWS - 1}"
    expected = helip.mine(ours, k=10, method="exact", device="cpu", progress=False)
    np.testing.assert_array_equal(helip.HardPairs.open(tmp_path / "p").ids, expected.ids)
    for handle in (pairs, updated):
        library._library.helip_pairs_free(handle)
    library._library.helip_store_free(later)


def test_an_index_answers_as_in_python(
    library: Library, tmp_path: Path, arrays: tuple[np.ndarray, np.ndarray]
) -> None:
    first, more, asked = slice(0, 200), slice(200, 280), slice(280, ROWS)
    index = c.c_void_p()

    def views(rows: slice) -> list[Any]:
        return [c.byref(s.Matrix.of(array[rows])) for array in arrays]

    library.index_build(*views(first), None, None, 0, None, c.byref(index))
    library.index_add(index, *views(more), None, 0, None)
    changed = np.arange(40, 60)
    of = changed.ctypes.data_as(c.c_void_p)
    library.index_remove(index, of, c.c_int64(20))
    with pytest.raises(Refused, match="40"):
        library.index_remove(index, of, c.c_int64(20))
    library.index_add(index, *views(slice(40, 60)), of, 0, None)
    library.index_replace(index, *views(asked), of, 0, None)

    count = ROWS - 280
    ids, scores = np.zeros((2, count, 5), np.int64), np.zeros((2, count, 5), np.float32)
    counts = np.zeros((2, count), np.int32)
    width, breadth, odd = c.c_int64(5), c.c_int64(0), s.IdFilter(lambda user, id: id % 2)
    query, near = ([c.c_void_p(a[i].ctypes.data) for a in (ids, scores, counts)] for i in (0, 1))
    library.index_query(index, *views(asked), width, breadth, 0, None, odd, None, *query)
    everything = c.cast(None, s.IdFilter)
    library.index_near(index, of, c.c_int64(20), width, breadth, 0, None, everything, None, *near)
    library.index_save(index, str(tmp_path / "i").encode(), None)
    with pytest.raises(Refused) as refused:
        library.index_save(index, str(tmp_path / "i").encode(), None)
    assert refused.value.status == s.INVALID
    assert library.info("index_get_info", s.IndexInfo, index).pairs == 280
    library._library.helip_index_free(index)

    ours = helip.PairIndex.build(image=arrays[0][first], text=arrays[1][first])
    ours.add(image=arrays[0][more], text=arrays[1][more])
    ours.remove(changed)
    ours.add(image=arrays[0][40:60], text=arrays[1][40:60], ids=changed)
    ours.replace(image=arrays[0][asked], text=arrays[1][asked], ids=changed)
    among = np.arange(1, 280, 2)
    of_odd = ours.query(image=arrays[0][asked], text=arrays[1][asked], k=5, among=among)
    for i, expected in enumerate((of_odd, ours.near(changed, k=5))):
        np.testing.assert_array_equal(ids[i], expected[0])
        np.testing.assert_array_equal(scores[i], expected[1])
        np.testing.assert_array_equal(counts[i], (expected[0] >= 0).sum(axis=1))


def test_what_lies_on_disk_and_cannot_be_read_has_its_code(
    library: Library, tmp_path: Path, store: Path
) -> None:
    handle = c.c_void_p()
    with pytest.raises(Refused) as refused:
        library.store_open(str(tmp_path / "absent").encode(), c.byref(handle))
    assert refused.value.status == s.IO
    (store / "manifest.json").write_text("{}")
    with pytest.raises(Refused) as refused:
        library.store_open(str(store).encode(), c.byref(handle))
    assert refused.value.status in (s.CORRUPT, s.MISMATCH)
    assert not handle.value


@pytest.fixture(scope="module")
def other_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that says that it is of another version than that which stands behind it."""
    folder = tmp_path_factory.mktemp("other")
    source = "int helip_version_number(void); int helip_version_number(void) { return 2007; }"
    return compiled(source, folder / "libother.so", "-shared", "-fPIC")


def test_python_refuses_a_library_of_another_version(other_version: Path) -> None:
    python = (sys.executable, "-c", "import helip._core")
    done = run(*python, env={**os.environ, "LD_PRELOAD": str(other_version)})
    assert done.returncode == 1
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("ImportError: ")
    assert f"for helip {helip.__version__}" in error and "is 0.2.7" in error


def test_programs_learn_that_headers_and_library_differ(library: Library, tmp_path: Path) -> None:
    source = "#include <helip.h>\n#include <stdio.h>\nint main(void) {"
    source += "if (!helip_check_version(HELIP_VERSION + 1000)) return 0;"
    source += "puts(helip_last_error()); return 1; }"
    link = [str(LIBRARY), f"-Wl,-rpath,{LIBRARY.parent}"]
    done = run(compiled(source, tmp_path / "check", *link))
    assert done.returncode == 1
    assert "compiled with headers of helip " in done.stdout
    assert f"the library that is loaded is {helip.__version__};" in done.stdout
