"""Groups of options: frozen dataclasses in which every option is written once.

A field has a type, a default and, in the string below it, a sentence. The keywords of public
functions, the options of the shell, the keys of YAML files, what a resume compares and the
reference pages all come from the fields. A group imports no heavy library, so that ``--help`` is
quick.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import itertools
import math
import os
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Concatenate, Literal, ParamSpec, TypeVar

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from helip.common.errors import InvalidArgumentError, errors_of_paths

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")
S = TypeVar("S")
G = TypeVar("G", bound="Options")

#: Marks a float that may be infinite.
INFINITE = "may be infinite"
# Kinds of values that many options have.
Precision = Literal["float32", "bfloat16", "float16"]
# Below what the integers of the core hold.
Whole = Annotated[int, Ge(0), Lt(2**63)]
Positive = Annotated[int, Ge(1), Lt(2**63)]
Threads = Annotated[int, Ge(0), Lt(2**31)]
Share = Annotated[float, Ge(0.0), Le(1.0)]
Seed = Annotated[int, Ge(0), Lt(2**64)]  # what the core draws from

_BOUNDS = {
    Ge: (lambda value, bound: value >= bound.ge, lambda bound: f"at least {bound.ge}"),
    Gt: (lambda value, bound: value > bound.gt, lambda bound: f"above {bound.gt}"),
    Le: (lambda value, bound: value <= bound.le, lambda bound: f"at most {bound.le}"),
    Lt: (lambda value, bound: value < bound.lt, lambda bound: f"below {bound.lt}"),
    MultipleOf: (
        lambda value, bound: value % bound.multiple_of == 0,
        lambda bound: f"a multiple of {bound.multiple_of}",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """A group of options; types and bounds of its fields are checked when it is made."""

    label: ClassVar[str] = "options"  # what messages call it
    example: ClassVar[str] = ""  # of its use, for a call that cannot be understood

    def __post_init__(self) -> None:
        group: Any = type(self)
        kinds = hints_of(group)
        for name, default in _defaults(group):
            value = getattr(self, name)
            if value is not default:  # which a test checks, of every group
                check(name, value, kinds[name])

    @classmethod
    def of(cls: type[G], other: Any) -> G:
        """The fields of this group that ``other`` has, an object of a larger group."""
        return cls(**{field.name: getattr(other, field.name) for field in fields(cls)})

    @classmethod
    def parse(cls: type[G], text: str) -> G:
        """The group that such words as ``name=value,name=a+b`` describe."""
        group: Any = cls  # which type checkers do not take for hashable
        hints = hints_of(group)
        try:
            named = dict(part.strip().split("=", 1) for part in text.split(","))
            return cls(**{name: _read(part, hints[name]) for name, part in named.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgumentError(
                f"{cls.label} {text!r} must be such as {next(iter(hints))}=1, with commas between "
                f"options of {', '.join(hints)} ({error})"
            ) from error

    def as_dict(self) -> dict[str, Any]:
        """Name → value, values as they are."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def plain(self) -> dict[str, Any]:
        """Name → value as JSON and YAML know it."""
        return {name: _plain(value) for name, value in self.as_dict().items()}


@dataclass(frozen=True, kw_only=True)
class PrecisionOptions(Options):
    """In which format torch multiplies."""

    precision: Precision = "float32"
    """Of autocast; float32 is no autocast, float16 needs a GPU. Weights stay as they are."""


@dataclass(frozen=True, kw_only=True)
class ProgressOptions(Options):
    """Whether a job shows how far it is."""

    progress: bool = True
    """A bar on a terminal."""


@dataclass(frozen=True, kw_only=True)
class ThreadOptions(Options):
    """How many cores a job may take."""

    threads: Threads | None = None
    """Threads; 0: all cores. None: in the shell as many as cores are idle, else all."""


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Where torch computes."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:1; auto: a GPU if there is one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(self.device))  # a torch.device does as well
        super().__post_init__()


def _read(text: str, hint: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        return tuple(text.split("+"))
    return plain_kind(hint)(text)


def _plain(value: Any) -> Any:
    if isinstance(value, Options):
        return value.plain()
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def require(holds: bool, name: str, value: Any, bound: str) -> None:
    """Raise InvalidArgumentError ``{name} is {value}, must be {bound}`` unless ``holds``."""
    if not holds:
        raise InvalidArgumentError(f"{name} is {value!r}, must be {bound}")


def choices_of(hint: Any) -> tuple[Any, ...]:
    """The values of a Literal, also within a union or Annotated; empty for other types."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return tuple(itertools.chain.from_iterable(map(choices_of, typing.get_args(hint))))


def plain_kind(hint: Any) -> type:
    """int, float, bool or str: as what a program reads a value of this type from text."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return type(parts[0])
    if typing.get_origin(hint) is typing.Annotated:
        return plain_kind(parts[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = {plain_kind(part) for part in parts if part is not type(None)}
        return kinds.pop() if len(kinds) == 1 else str
    return hint if hint in (int, float, bool) else str


def check(name: str, value: Any, hint: Any, *, infinite: bool = False) -> None:
    """Raise InvalidArgumentError where ``value`` is not of a plain type or outside a bound."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        kind, *bounds = typing.get_args(hint)
        check(name, value, kind, infinite=INFINITE in bounds)
        if value is not None:
            for bound in bounds:
                if type(bound) in _BOUNDS:
                    holds, words = _BOUNDS[type(bound)]
                    require(holds(value, bound), name, value, words(bound))
    elif origin in (tuple, Sequence) and isinstance(value, tuple):
        kinds = typing.get_args(hint)
        any_number = origin is Sequence or kinds[-1] is ...
        kinds = kinds[:1] * len(value) if any_number else kinds
        require(len(value) == len(kinds), name, value, f"{len(kinds)} values")
        for each, kind in zip(value, kinds, strict=True):
            check(name, each, kind)
    elif origin in (typing.Union, types.UnionType):
        kinds = typing.get_args(hint)
        if value is None and type(None) in kinds:
            return
        plain = [kind for kind in kinds if kind is not type(None)]
        if len(plain) == 1:
            check(name, value, plain[0])
    elif origin is Literal:
        allowed = typing.get_args(hint)
        require(value in allowed, name, value, f"one of {', '.join(map(repr, allowed))}")
    elif hint is bool:
        require(isinstance(value, bool), name, value, "True or False")
    elif hint is int:
        whole = hasattr(value, "__index__") and not isinstance(value, bool)
        require(whole, name, value, "a whole number")
    elif hint is float:
        number = hasattr(value, "__float__") and not isinstance(value, (bool, str))
        require(number and not math.isnan(value), name, value, "a number")
        require(infinite or math.isfinite(value), name, value, "finite")
    elif hint is str:
        require(isinstance(value, str), name, value, "text")


@functools.cache
def hints_of(group: Any) -> dict[str, Any]:
    """Name → type of each field, with its bounds."""
    hints = typing.get_type_hints(group, include_extras=True)
    return {field.name: hints[field.name] for field in fields(group)}


@functools.cache
def _defaults(group: Any) -> tuple[tuple[str, Any], ...]:
    """(name, default) of each field; an object like no value where it has none."""
    return tuple((field.name, field.default) for field in fields(group))


@functools.cache
def sentences(group: Any) -> dict[str, str]:
    """Name → the sentence below each field, of a group and those that it is made of."""
    found: dict[str, str] = {}
    for part in reversed(group.__mro__):
        if not issubclass(part, Options) or part is Options:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0].body  # type: ignore[attr-defined]
        for field, below in itertools.pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found[field.target.id] = " ".join(below.value.value.split())
    return found


def keywords(
    call: Callable[P, C], *, complete: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
) -> Callable[[Callable[[C], R]], Callable[P, R]]:
    """Give a function the parameters of the group ``call``; it gets one object of that group.

    ``complete`` may add options to those that the caller gave, before defaults fill the rest.

    Type checkers and editors see the parameters, since those of a dataclass are its fields.
    """

    def decorate(work: Callable[[C], R]) -> Callable[P, R]:
        @functools.wraps(work)
        def called(*arguments: P.args, **options: P.kwargs) -> R:
            with errors_of_paths():
                return work(_made(call, work.__name__, arguments, options, complete))

        _describe(called, call, work)
        return called

    return decorate


def method_keywords(
    call: Callable[P, C],
) -> Callable[[Callable[[S, C], R]], Callable[Concatenate[S, P], R]]:
    """`keywords` for a method, such as ``__init__``, or a class method."""

    def decorate(work: Callable[[S, C], R]) -> Callable[Concatenate[S, P], R]:
        @functools.wraps(work)
        def called(self: S, /, *arguments: P.args, **options: P.kwargs) -> R:
            name = work.__qualname__.removesuffix(".__init__")
            return work(self, _made(call, name, arguments, options))

        _describe(called, call, work, bound=True)
        return called

    return decorate


def _made(
    call: Any, name: str, arguments: Any, options: Mapping[str, Any], complete: Any = dict
) -> Any:
    signature = inspect.signature(call)
    try:
        signature.bind(*arguments, **options)
    except TypeError as error:
        words = _wrong_use(signature, arguments, options) or str(error)
        if len(arguments) > 1 and (example := getattr(call, "example", "")):
            words += f", such as helip.{name}({example})"
        raise TypeError(f"{name}(): {words}") from None
    return call(*arguments, **complete(options))


def _wrong_use(signature: inspect.Signature, arguments: Any, options: Mapping[str, Any]) -> str:
    """What is wrong with arguments that cannot be bound, where a word helps; else nothing."""
    placed = [p.name for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    if len(arguments) > len(placed):
        given = "1 argument is" if len(arguments) == 1 else f"{len(arguments)} arguments are"
        most = f"at most {len(placed)} can be ({', '.join(placed)}); give the others by name"
        return f"{given} given by position, {most if placed else 'none can be; give each by name'}"
    for name in options.keys() - signature.parameters.keys():
        near = difflib.get_close_matches(name, signature.parameters, n=1)
        if near:
            return f"there is no option {name!r}; did you mean {near[0]}=?"
    return ""


def _describe(called: Any, call: Any, work: Any, *, bound: bool = False) -> None:
    parameters = list(inspect.signature(call).parameters.values())
    own = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)] if bound else []
    returns = inspect.signature(work).return_annotation
    called.__signature__ = inspect.Signature([*own, *parameters], return_annotation=returns)
