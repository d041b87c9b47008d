"""The list of exported symbols is the same whatever compiled the library."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("symbols_script", ROOT / "scripts" / "symbols.py")
assert SPEC is not None and SPEC.loader is not None
symbols = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(symbols)

OPEN = "helip::open(std::string const&, std::vector<std::string>)"


@pytest.mark.parametrize(
    "name",
    [
        "helip::open[abi:cxx11](std::__cxx11::basic_string<char, std::char_traits<char>, "
        "std::allocator<char> > const&, std::vector<std::__cxx11::basic_string<char, "
        "std::char_traits<char>, std::allocator<char> >, std::allocator<std::__cxx11::basic_string"
        "<char, std::char_traits<char>, std::allocator<char> > > >)",
        "helip::open(std::__1::basic_string<char, std::__1::char_traits<char>, "
        "std::__1::allocator<char>> const&, std::__1::vector<std::__1::basic_string<char, "
        "std::__1::char_traits<char>, std::__1::allocator<char>>, std::__1::allocator<std::__1::"
        "basic_string<char, std::__1::char_traits<char>, std::__1::allocator<char>>>>)",
    ],
    ids=["libstdc++", "libc++"],
)
def test_a_name_is_the_same_of_both_standard_libraries(name: str) -> None:
    assert symbols.plain(name) == OPEN


@pytest.mark.parametrize(
    "path", ["std::filesystem::__cxx11::path", "std::__1::__fs::filesystem::path"]
)
def test_paths_are_too(path: str) -> None:
    assert symbols.plain(f"helip::save({path} const&)") == (
        "helip::save(std::filesystem::path const&)"
    )


def test_what_is_gone_and_what_is_new_are_told() -> None:
    assert symbols.differences(["a", "b"], ["b", "c"]) == ["  - a", "  + c"]


def test_what_one_library_takes_of_the_other_is_not_listed() -> None:
    inner = symbols.for_data()
    assert {"Descriptor", "thread_pool"} <= set(inner)
    listed = symbols.LIST.read_text(encoding="utf-8").splitlines()
    heads = [symbols.HEAD.format(library) for library in symbols.LIBRARIES]
    assert [line for line in listed if line.startswith("#")] == heads
    assert not [line for line in listed if line.startswith(tuple(f"helip::{n}(" for n in inner))]


def test_every_function_of_the_c_header_is_listed() -> None:
    header = (ROOT / "cpp/include/helip.h").read_text(encoding="utf-8")
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    listed = symbols.LIST.read_text(encoding="utf-8").splitlines()
    assert set(re.findall(r"\b(helip_\w+)\(", code)) == {n for n in listed if n[:6] == "helip_"}
