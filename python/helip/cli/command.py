"""Commands whose options are those of the library: fields of its groups of options.

A command is a function with parameters of its own and ``**options``. Its groups give the rest: the
shell's flags, the keys of ``--config``, what ``--print-config`` prints, and the sentences of
``--help`` all come from their fields.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from helip.cli.configuration import (
    OptionsFile,
    fill_from_recipe,
    print_options,
    refuse_fractions,
)
from helip.cli.messages import remark, say, show_next, telling
from helip.cli.showing import print_json, show_table
from helip.cli.wording import option_forms, shell_words
from helip.common.errors import Error, InvalidArgumentError
from helip.common.idle_cores import share_cores
from helip.common.machine import usable_processors, use_threads
from helip.common.options import Options, ThreadOptions, hints_of, sentences

# Beside --name.
_SHORT = {"k": ("-k", "--k"), "quiet": ("--quiet", "-q"), "verbose": ("--verbose", "-v")}
#: Flags of the shell alone, the last in --help. Each command has them, --json where it gives
#: `Done`; its function takes those that it names.
FLAGS = {
    "json": "Print JSON.",
    "quiet": "No progress display, no next step.",
    "verbose": "Log each stage to stderr.",
}


def text(sentence: str) -> Parameter:
    """A sentence for ``--help`` about a parameter of a command's own."""
    return Parameter(help=sentence, negative_iterable=())


def flag(sentence: str) -> Parameter:
    """The same of a switch that is on where it is given."""
    return Parameter(help=sentence, negative=(), show_default=False)


def several(sentence: str) -> Parameter:
    """The same of an option that takes all words up to the next option."""
    return Parameter(help=sentence, negative_iterable=(), consume_multiple=True)


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command has done, and what it shows of that."""

    output: Path | None = None
    """The file or folder that it has written, beside which its options are saved."""
    next: str | None = None
    """What to do next, the last line on stderr."""
    failure: Error | None = None
    """Raised once the options are saved: there is an output, and it is not what was wanted."""
    facts: Any = None
    """What --json prints; None where the command printed itself."""
    rows: Sequence[tuple[str, str]] = ()
    """Without --json: a table of names and values, to stdout."""
    text: str = ""
    """The same as text that follows the table."""
    said: Sequence[str] = ()
    """The same as lines on stderr."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A function of the shell, and the groups of options that it takes.

    ``**options`` of the function are the fields of the groups, and ``progress``, which is the
    contrary of --quiet.
    """

    work: Callable[..., Done | None]
    name: str
    groups: tuple[type[Options], ...]  # with ThreadOptions itself, where its work takes no threads
    usual: Collection[str] | None  # fields that --help shows; None for all
    without: Collection[str]  # fields that the shell has no use for

    def fields(self) -> Iterator[tuple[str, Any, Any, str]]:
        """(name, type, default, sentence) of each option of the groups, once."""
        own = {*inspect.signature(self.work).parameters, *self.without}
        group: Any
        for group in self.groups:
            hints, words = hints_of(group), sentences(group)
            for field in dataclasses.fields(group):
                if field.name not in own:
                    own.add(field.name)
                    yield field.name, hints[field.name], field.default, words[field.name]

    def signature(self, hidden: Collection[str] = ()) -> inspect.Signature:
        """All its parameters as the shell reads them; the help of those ``hidden`` is not shown."""
        signature = inspect.signature(self.work, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        more = [
            _parameter(name, shell_type(hint), default, help=words, show=name not in hidden)
            for name, hint, default, words in self.fields()
        ]
        gives = signature.return_annotation is Done
        flags = [
            _parameter(
                name, bool, False, negative=(), help=words, show=name != "verbose" or not hidden
            )
            for name, words in FLAGS.items()
            if name != "json" or gives
        ]
        writes = "out" in signature.parameters and gives
        if more or writes:
            files = [
                _parameter("config", Path | None, None, help="Options from a YAML file."),
                _parameter("print_config", bool, False, negative=(), help="Print them as YAML."),
            ]
        else:
            files = []
        return inspect.Signature([*(p for p in own if p.name not in FLAGS), *more, *flags, *files])

    def register(self, app: cyclopts.App, place: int, *, show_all: bool) -> None:
        """Put it into ``app`` at this place; ``show_all``: its help hides nothing."""
        hidden = set() if show_all or self.usual is None else {
            name for name, *_ in self.fields() if name not in self.usual
        }  # fmt: skip
        whole, file = self.signature(hidden), OptionsFile(self.name)

        @functools.wraps(self.work)
        def called(*words: Any, **options: Any) -> None:
            self._call(whole.bind(*words, **options), file)

        called.__signature__ = whole  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in whole.parameters.values()}
        words = inspect.getdoc(self.work) or ""
        if hidden:
            words += f"\n\n{len(hidden)} more options: helip {self.name} --help-all"
        layers = (file, fill_from_recipe, refuse_fractions)  # the first that gives an option wins
        app.command(called, name=self.name, help=words, sort_key=place, config=layers)

    def _call(self, bound: inspect.BoundArguments, file: OptionsFile) -> None:
        bound.apply_defaults()
        given, forms = [*bound.arguments.values()], option_forms(bound.signature)

        def in_shell(message: str) -> str:
            return shell_words(message, forms, given)

        try:
            self._do(bound, file, in_shell)
        except Error as error:
            error.args = tuple(in_shell(x) if isinstance(x, str) else x for x in error.args)
            if isinstance(error, OSError) and error.strerror:
                error.strerror = in_shell(error.strerror)
            raise

    def _do(
        self, bound: inspect.BoundArguments, file: OptionsFile, in_shell: Callable[[str], str]
    ) -> None:
        given = bound.arguments
        config, wanted = given.pop("config", None), given.pop("print_config", False)
        told = {name: v for name, v in given.items() if name not in FLAGS}
        if wanted:
            print_options(told)
            return
        options = {name: given[name] for name, *_ in self.fields()}
        for group in self.groups:  # what is out of its bound is refused before anything is loaded
            self._check(group, options, config)
        if "threads" in given and given["threads"] is None:
            given["threads"] = _threads_of_idle_cores(quiet=given.get("quiet", False))
        else:
            use_threads(given.get("threads") or 0)
        from helip._core import __version__  # loads NumPy, so after threads are bounded
        from helip.store.mapped_files import guard_mapped_files

        guard_mapped_files()
        if ThreadOptions in self.groups:  # of the shell alone
            del given["threads"]
        flags = {name: given.pop(name) for name in FLAGS if name in given}
        takes = inspect.signature(self.work).parameters
        more = {name: value for name, value in flags.items() if name in takes}
        if "options" in takes:
            more["progress"] = not flags["quiet"]
        with telling(quiet=flags["quiet"], verbose=flags["verbose"], words=in_shell):
            if file.version not in (None, __version__):
                remark(f"{config} was saved by helip {file.version}, and this is {__version__}")
            done = self.work(*bound.args, **bound.kwargs, **more)
            if done is None:
                return
            _show(done, flags["json"])
            if done.output is not None:
                from helip.cli.saved_options import save_options

                save_options(done.output, self.name, told, file.given, __version__)
            if done.next is not None:
                show_next(done.next)
            if done.failure is not None:
                raise done.failure

    def _check(self, group: type[Options], options: dict[str, Any], config: Path | None) -> None:
        names = {field.name for field in dataclasses.fields(group)} & options.keys()
        try:
            group(**{name: options[name] for name in names})
        except TypeError:  # a field without a default that is a parameter of the command's own
            return
        except InvalidArgumentError as error:
            name = str(error).split(" ", 1)[0]
            raise InvalidArgumentError(f"{error}{OptionsFile.place(config, name)}") from error


def _threads_of_idle_cores(*, quiet: bool) -> int | None:
    """What a command takes that is not told; None for all."""
    threads = share_cores()
    if threads is not None and not quiet:
        cores = usable_processors()
        say(
            f"others use some of the {cores} cores: begins with {threads} "
            f"thread{'s' * (threads > 1)}; --threads N takes N, whatever others use"
        )
    return threads


def _show(done: Done, as_json: bool) -> None:
    if as_json:
        if done.facts is not None:
            print_json(done.facts)
        return
    show_table(done.rows)
    if done.text:
        print(done.text)
    for line in done.said:
        say(line)


def command(
    *groups: type[Options],
    name: str | None = None,
    usual: Collection[str] | None = None,
    without: Collection[str] = (),
) -> Callable[[Callable[..., Done | None]], Command]:
    """Make a function a command with the options of ``groups``."""

    def decorate(work: Callable[..., Done | None]) -> Command:
        return Command(work, name or work.__name__, groups, usual, without)

    return decorate


def refuse_of_others(
    action: str,
    takes: Mapping[str, Collection[str]],
    needs: Mapping[str, Collection[str]],
    given: Mapping[str, Any],
) -> None:
    """Refuse what a command of several actions is given for another of them, and what is missing.

    takes, needs: names of options by the action. given: what the command line gave.
    """
    for name, value in given.items():
        if name not in takes[action]:
            takers = ", ".join(each for each, names in takes.items() if name in names)
            form = name.replace("_", "-")
            raise InvalidArgumentError(f"--{form} is {value}, which is for {takers}; drop it")
    for name in needs[action]:
        if name not in given:
            raise InvalidArgumentError(f"--{name} is missing, which {action} needs")


def shell_type(hint: Any) -> Any:
    """What the shell reads for a field of this type: text where the library takes objects too."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return shell_type(parts[0])
    if origin in (typing.Union, types.UnionType):
        kinds = [shell_type(part) for part in parts if part is not type(None)]
        # Where the library takes one or many, many words do for both; else the plainest kind.
        kind = next(kind for kind in (list[str], str, *kinds) if kind in kinds)
        return kind | None if type(None) in parts else kind
    if origin is collections.abc.Sequence:
        return list[shell_type(parts[0])]  # type: ignore[misc]
    if origin is tuple:
        return list[shell_type(parts[0])] if parts[-1] is ... else hint  # type: ignore[misc]
    return hint if origin is typing.Literal or hint in (bool, int, float) else str


def _parameter(name: str, kind: Any, default: Any, **how: Any) -> inspect.Parameter:
    kinds = (kind, *typing.get_args(kind))
    if any(typing.get_origin(each) in (list, tuple) for each in kinds):
        how["negative"] = ()
    told = Parameter(
        name=_SHORT.get(name),
        show_default=default not in (None, (), dataclasses.MISSING) and default is not False,
        **how,
    )
    if default is dataclasses.MISSING:
        default = inspect.Parameter.empty
    if default is None:  # cyclopts checks defaults too, where pydantic happens to be imported
        kind = kind | None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, told]
    )
