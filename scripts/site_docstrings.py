"""Extension of Griffe, which reads the code for the Python reference without importing it.

A function with ``@keywords(MineCall)`` is called with the fields of ``MineCall``, and its signature
says so. Roles such as ``:func:`plan``` become code, for the pages are Markdown. Errors that share a
line of ``Raises:`` get a line each.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|meth|class|attr|mod):`~?([^`]+)`")
# Behind the end of a sentence, or at the beginning of a continued line.
_ERROR = re.compile(r"(?:(?<=\.) +|\n {8,})(?=[A-Z]\w*Error: )")
_SECTION = re.compile(r"(?m)^(?=(?:Args|Examples|Raises|Returns|Yields):$)")


class Docstrings(griffe.Extension):
    """What the docstrings and decorators of helip mean on a page of Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Roles become code, and errors lines of their own."""
        if obj.docstring is not None:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            parts = _SECTION.split(text)
            obj.docstring.value = "".join(
                _ERROR.sub("\n    ", part) if part.startswith("Raises:") else part for part in parts
            )

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """The fields of a call are named in the signature, and linked to."""
        for decorator in func.decorators:
            call = decorator.value
            if isinstance(call, griffe.ExprCall) and str(call.function).endswith("keywords"):
                first = [given for given in func.parameters if given.name in ("self", "cls")]
                options = griffe.Parameter(
                    "options", annotation=call.arguments[0], kind=griffe.ParameterKind.var_keyword
                )
                func.parameters = griffe.Parameters(*first, options)
                _link(func)


def _link(func: griffe.Function) -> None:
    """To the heading of a function on the page of all options."""
    names = ["helip"]
    if func.parent is not None and func.parent.is_class:
        names.append(func.parent.name)
    if func.name != "__init__":
        names.append(func.name)
    words = f"[Its options][{''.join(names).lower()}], with their types, bounds and defaults."
    if func.docstring is None:
        func.docstring = griffe.Docstring(words, parent=func)
    else:
        head, *sections = _SECTION.split(func.docstring.value)
        func.docstring.value = "\n\n".join([head.rstrip(), words, "".join(sections)]).rstrip()
