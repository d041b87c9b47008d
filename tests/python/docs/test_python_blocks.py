"""Python on the pages compiles, and calls what there is by the keywords that it takes."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import helip
from support.document_blocks import PAGES, Block, blocks

BLOCKS = [block for page in PAGES for block in blocks(page) if block.language == "python"]


@dataclass(frozen=True)
class Made:
    """An object of a class."""

    of: type


# What pages call an object, also where another block has made it.
CALLED = {
    "pairs": Made(helip.HardPairs),
    "store": Made(helip.EmbeddingStore),
    "loader": Made(helip.HardPairLoader),
    "miner": Made(helip.StreamingMiner),
    "trainer": Made(helip.Trainer),
    "loss": Made(helip.HelipLoss),
}


def parsed(block: Block) -> ast.Module:
    return ast.parse(block.text.replace("…", "..."))


def known_names(tree: ast.Module) -> dict[str, Any]:
    known: dict[str, Any] = {"helip": helip, **CALLED}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "helip":
            module = importlib.import_module(node.module or "helip")
            known |= {a.asname or a.name: getattr(module, a.name) for a in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            made = named(node.value.func, known) if isinstance(node.value, ast.Call) else None
            if inspect.isclass(made):
                known[name] = Made(made)
            elif made is None:
                known.pop(name, None)
    return known


def named(node: ast.expr, known: dict[str, Any]) -> Any:
    """What ``helip.HardPairs.open`` or ``pairs.save`` names; None where it is not helip's."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    owner = named(node.value, known)
    if owner is None:
        return None
    if inspect.ismodule(owner) and not hasattr(owner, node.attr):
        return importlib.import_module(f"{owner.__name__}.{node.attr}")
    if isinstance(owner, Made):
        found = getattr(owner.of, node.attr, None)
        return None if isinstance(found, property) else found
    return getattr(owner, node.attr)


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, inspect.Signature | None]]:
    """Calls of helip's with the parameters that each takes; None where there is no such method."""
    known = known_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        target = named(node.func, known)
        if isinstance(target, Made):
            forward = getattr(target.of, "forward", None) or target.of.__call__
            yield node, inspect.signature(forward)
        elif target is not None:
            yield node, inspect.signature(target)
        elif isinstance(node.func, ast.Attribute):
            owner = named(node.func.value, known)
            if isinstance(owner, Made):
                yield node, None


def test_pages_have_python() -> None:
    assert len(BLOCKS) > 20


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_python_of_a_page_compiles(block: Block) -> None:
    compile(parsed(block), str(block), "exec")


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_calls_are_of_what_there_is_by_keywords_that_it_takes(block: Block) -> None:
    wrong = []
    for node, signature in calls(parsed(block)):
        function = ast.unparse(node.func)
        if signature is None:
            wrong.append(function)
            continue
        taken = signature.parameters.values()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
            given = {word.arg for word in node.keywords if word.arg is not None}
            wrong += [f"{function}({word}=)" for word in given - {p.name for p in taken}]
    assert not wrong, f"{block}: {wrong}"
