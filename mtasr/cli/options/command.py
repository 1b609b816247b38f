"""How options behave: spellings, switches with values, headings in the help, settings from files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import click
from click.core import ParameterSource

from mtasr.cli import failures

_F = TypeVar("_F", bound=Callable[..., Any])


class Decorator(Protocol):
    """Adds an option, or several, to a command."""

    def __call__(self, function: _F, /) -> _F: ...


#: Heading of the options without a group.
_OTHER = "Other"

#: Key in click's context for the project's file and the names of the settings in it.
PROJECT = "mtasr.project"
#: Key in click's context for warnings about variables whose names are nearly those of settings.
MISSPELT = "mtasr.misspelt"


def normalise(name: str) -> str:
    """One spelling of `--beam-size` and `--beam_size`; click applies it to names, never to values."""
    return name.replace("_", "-")


class Option(click.Option):
    """An option with a heading in the help, which a configuration file and the environment can set.

    They cannot set options that name a file, nor those with `configurable=False`, which concern one recording alone.
    """

    def __init__(self, *args: Any, group: str = _OTHER, configurable: bool | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        if configurable is None:
            configurable = not self.hidden and not isinstance(self.type, click.Path)
        if configurable:
            self.envvar = f"MTASR_{self.key.upper()}"
        self.configurable = configurable

    @property
    def key(self) -> str:
        """Its name in configuration files."""
        return next(name for name in self.opts if name.startswith("--"))[2:].replace("-", "_")

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        try:
            return super().handle_parse_result(ctx, opts, args)
        except click.BadParameter as error:
            if ctx.get_parameter_source(str(self.name)) is ParameterSource.ENVIRONMENT:
                error.param_hint = str(self.envvar)
            raise


class Switch(Option):
    """A boolean: `--name`, `--no-name`, and `--name True`, which `Command` translates."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self.hidden:
            return None
        text = f"{self.help}  [default: on]" if self.default is True else self.help
        return f"--[no-]{self.opts[0].removeprefix('--')}", text or ""


class AddressOption(Option):
    """An option whose value may be left out: the next word is its value only if it looks like HOST:PORT or a URL.

    So `--cluster a.wav` names a file. Without a value it has the value `auto`.
    """

    @staticmethod
    def is_address(word: str) -> bool:
        return _ADDRESS.fullmatch(word) is not None


#: A host or an address in brackets, and a port; or a URL such as ray://HOST:PORT.
_ADDRESS = re.compile(r"auto|ray://\S+|([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}")


class Command(click.Command):
    """A command with grouped help, whose switches take the values True and False.

    Before it runs, it notes the settings of a project's file, which may be someone else's, and misspelt variables.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{"context_settings": {"show_default": True}} | settings)

    def invoke(self, ctx: click.Context) -> Any:
        from mtasr.cli.display import Display

        display = Display(quiet=ctx.params.get("quiet", False), progress=ctx.params.get("progress", "bar"))
        for line in ctx.meta.get(MISSPELT, ()):
            display.note(f"warning: {line}")
        file, names = ctx.meta.get(PROJECT, ("", frozenset()))
        used = [
            param.key
            for param in self.params
            if isinstance(param, Option)
            and param.name in names
            and ctx.get_parameter_source(str(param.name)) is ParameterSource.DEFAULT_MAP
        ]
        if used:
            display.note(f"{file} sets {', '.join(used)}")
        return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _fold_switches(self, ctx, args))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if not isinstance(param, click.Option):
                continue
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", _OTHER), []).append(record)
        groups[_OTHER] = groups.pop(_OTHER)  # last; --help is always in it
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=28)


def _fold_switches(command: click.Command, ctx: click.Context, args: list[str]) -> list[str]:
    """`args` with `--name True`, `--name=False` and so on as the bare `--name` or `--no-name`.

    Only the words True, False and None are taken as a switch's value, so a file after a switch stays a file. Values of
    other options, and everything after `--`, stay as they are.
    """
    options = {name: p for p in command.get_params(ctx) if isinstance(p, click.Option) for name in p.opts}
    folded: list[str] = []
    rest = iter([*args])
    pending = next(rest, None)
    while pending is not None:
        arg, pending = pending, next(rest, None)
        if arg == "--":
            return [*folded, arg, *([] if pending is None else [pending]), *rest]
        name, equals, value = arg.partition("=")
        option = options.get(f"--{normalise(name[2:])}") if arg.startswith("--") else None
        if isinstance(option, Switch):
            if not equals and pending is not None and _truth(pending) is not None:
                value, equals, pending = pending, "=", next(rest, None)
            folded.append(_bare(option, arg, value if equals else "True"))
            continue
        if isinstance(option, AddressOption) and not equals:
            is_given = pending is not None and option.is_address(pending)
            folded.append(f"{arg}={pending if is_given else 'auto'}")
            pending = next(rest, None) if is_given else pending
            continue
        folded.append(arg)
        takes_next = not equals and not option.is_flag if option else _short_takes_next(arg, options)
        if takes_next and pending is not None:
            folded.append(pending)
            pending = next(rest, None)
    return folded


def _bare(switch: Switch, arg: str, value: str) -> str:
    truth = _truth(value)
    if truth is None:
        raise click.BadOptionUsage(arg, f"Option {switch.opts[0]!r} must be True or False, not {value!r}.")
    return switch.opts[0] if truth else switch.secondary_opts[0]


def _truth(text: str) -> bool | None:
    return {"true": True, "false": False, "none": False}.get(text.lower())


def _short_takes_next(arg: str, options: Mapping[str, click.Option]) -> bool:
    """Whether the next argument is the value of a group of short options such as `-qo`."""
    if arg.startswith("--") or not arg.startswith("-"):
        return False
    for place, letter in enumerate(arg[1:], start=2):
        option = options.get(f"-{letter}")
        if option is None:
            return False
        if not option.is_flag:
            return place == len(arg)
    return False


def option(group: str, *names: str, **settings: Any) -> Decorator:
    return click.option(*names, group=group, **{"cls": Option, **settings})


def switch(group: str, name: str, **settings: Any) -> Decorator:
    return click.option(f"--{name}/--no-{name}", cls=Switch, group=group, **settings)


def together(*decorators: Decorator) -> Decorator:
    """One decorator that adds several options, in this order."""

    def apply(function: _F, /) -> _F:
        for decorator in reversed(decorators):  # click adds the last decorator first
            function = decorator(function)
        return function

    return apply


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[failures.DEBUG] = True


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set_debug,
    help="Show the traceback of an error.",
)
