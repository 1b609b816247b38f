"""Settings from files: `mtasr.toml` in the current folder, `config.toml` in the user's configuration folder.

A flag goes before the environment (MTASR_LANGUAGE), the project's file, the user's file and the default, in this order.
Keys are the names of options. Keys at the top are for every command that has the option; a table with the name of a
command is for that command.

The project's file may come with a folder from someone else. So it is read from the current folder alone, can set only
how recordings are decoded and text is laid out, and commands note what it sets.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from mtasr import system
from mtasr.cli.display import print_line
from mtasr.cli.failures import DEBUG, ExitCode, printable, report
from mtasr.cli.options.command import MISSPELT, PROJECT, Command, Option, Switch, debug_option
from mtasr.errors import UsageError

if TYPE_CHECKING:
    from mtasr.cli import Program

#: The project's file.
PROJECT_FILE = "mtasr.toml"

#: What a project's file can set: options under these headings of the help, and these keys besides. It cannot set output
#: paths, what to overwrite, device options or unpublished models, whose files nothing checks.
_PROJECT_GROUPS = frozenset({
    "Language", "Subtitles", "Word times", "Search", "Checks and fallback", "Prompt and tokens",
    "Input and voice activity", "Evaluation",
})  # fmt: skip
_PROJECT_KEYS = frozenset({"model", "output_format", "strict", "verbose"})

#: A larger file is not a configuration.
_MOST_BYTES = 20_000


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The settings of a file, by command and name of the parameter, with values as in the file; and its errors."""

    file: Path
    by_command: dict[str, dict[str, Any]]
    errors: list[UsageError]

    @contextlib.contextmanager
    def noting_errors(self) -> Iterator[None]:
        """Add a `UsageError` raised within to the errors."""
        try:
            yield
        except UsageError as error:
            self.errors.append(error)


def user_file() -> Path:
    from platformdirs import user_config_path

    return user_config_path("mtasr", appauthor=False) / "config.toml"


def apply(ctx: click.Context) -> None:
    """Make the files' settings the defaults of the commands. Raises `UsageError` for the first error in a file.

    Notes misspelt variables, for the command to warn of.
    """
    program: Program = ctx.command  # type: ignore[assignment]
    ctx.meta[MISSPELT] = [_warning_of(*each) for each in _unknown_variables(program).items() if each[1] is not None]
    files = _settings(program)
    for error in _errors(files):
        raise error
    merged: dict[str, dict[str, Any]] = {}
    for settings in files:
        for command, values in settings.by_command.items():
            merged.setdefault(command, {}).update(values)
    ctx.default_map = merged
    own = files[-1] if files and files[-1].file == Path(PROJECT_FILE) else None
    if own is not None and ctx.invoked_subcommand is not None:
        ctx.meta[PROJECT] = (PROJECT_FILE, frozenset(own.by_command.get(ctx.invoked_subcommand, {})))


def _settings(program: Program) -> list[ConfigFile]:
    """The settings of the files that exist, the user's first."""
    found = []
    for file, project in ((user_file(), False), (Path(PROJECT_FILE), True)):
        try:
            document = _read(file)
        except UsageError as error:
            found.append(ConfigFile(file, {name: {} for name in program.configured}, [error]))
        else:
            if document is not None:
                found.append(_checked(file, document, _commands(program), project=project))
    return found


def _errors(files: Sequence[ConfigFile]) -> list[UsageError]:
    return [error for settings in files for error in settings.errors]


def _read(file: Path) -> dict[str, Any] | None:
    import tomllib

    try:
        # In a folder from someone else it may be a pipe, which would block.
        with open(file, "rb", opener=system.open_at_once) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UsageError(f"{file}: is not a file")
            data = stream.read(_MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from error
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{file}: is not a configuration: it has more than {_MOST_BYTES:,} bytes")
    try:
        document = tomllib.loads(data.decode())
        repr(document)  # fails for a hexadecimal number too long to be shown in messages
        return document
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML
        raise UsageError(f"{file}: is not TOML: {error}") from error


#: The start of our variables' names, and those that are not options.
_PREFIX, _OTHER_VARIABLES = (
    "MTASR_",
    frozenset({"MTASR_CACHE", "MTASR_FFMPEG", "MTASR_REMOTE_TIMEOUT", "MTASR_SPEAKER_MODEL"}),
)


def _unknown_variables(program: Program) -> dict[str, str | None]:
    """Variables in the environment with our prefix that mtasr does not read, and the nearest name that it reads."""
    found = sorted(name for name in os.environ if name.startswith(_PREFIX) and name not in _OTHER_VARIABLES)
    if not found:
        return {}  # without loading the other commands
    known = {str(option.envvar) for options in _commands(program).values() for option in options.values()}
    # Without the prefix, which makes any two names alike.
    endings = sorted(name.removeprefix(_PREFIX) for name in known | _OTHER_VARIABLES)
    unknown = {}
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name.removeprefix(_PREFIX), endings, n=1)
            unknown[name] = _PREFIX + near[0] if near else None
    return unknown


def _warning_of(variable: str, near: str | None) -> str:
    return f"{variable} in the environment sets nothing" + ("" if near is None else f"; did you mean {near}?")


_Commands = Mapping[str, Mapping[str, Option]]


def _commands(program: Program) -> _Commands:
    """Command -> key -> option, of all options that files can set."""
    found = {}
    for name in program.configured:
        command = program.get_command(click.Context(program), name)
        params = command.params if command is not None else []
        found[name] = {param.key: param for param in params if isinstance(param, Option) and param.configurable}
    return found


def _checked(file: Path, document: Mapping[str, Any], commands: _Commands, *, project: bool) -> ConfigFile:
    """The settings of a file; its errors are unknown names and values that an option refuses."""
    settings = ConfigFile(file, {name: {} for name in commands}, [])
    common = {key: option for options in commands.values() for key, option in options.items()}

    def take(command: str, key: str, value: Any, shown: str) -> None:
        option = commands[command][key]
        settings.by_command[command][str(option.name)] = _value(file, shown, value, option, project=project)

    for name, value in sorted(document.items(), key=lambda item: isinstance(item[1], dict)):  # tables go last
        with settings.noting_errors():
            if not isinstance(value, dict):
                key = _known(file, name, [*common], "setting")
                for command in commands:
                    if key in commands[command]:
                        take(command, key, value, key)
                continue
            command = _known(file, name, [*commands], "command")
            for inner, each in value.items():
                with settings.noting_errors():
                    key = _known(file, inner, [*commands[command]], f"setting of {command}")
                    take(command, key, each, f"{command}.{key}")
    return settings


def _known(file: Path, name: str, names: list[str], what: str) -> str:
    wanted = name.replace("-", "_")
    same = next((each for each in names if each.replace("-", "_") == wanted), None)
    if same is not None:
        return same
    near = difflib.get_close_matches(wanted, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; `mtasr config show` lists them"
    raise UsageError(f"{file}: {name!r} is not a {what}{hint}")


def _value(file: Path, key: str, value: Any, option: Option, *, project: bool) -> Any:
    """A value in the form of the command line, which the type of the option accepts."""
    if project and option.group not in _PROJECT_GROUPS and option.key not in _PROJECT_KEYS:
        raise UsageError(f"{file}: {key} cannot be set in this file; use {user_file()}, the environment or a flag")
    if project and option.key == "model":
        _refuse_unpublished(file, value)
    is_switch = isinstance(option, Switch) or option.is_flag
    if is_switch != isinstance(value, bool):
        raise UsageError(
            f"{file}: {key} must be true or false, not {value!r}" if is_switch else f"{file}: {key} cannot be {value}"
        )
    if not isinstance(value, bool | int | float | str | list) or (
        isinstance(value, list) and not all(isinstance(each, str | int | float) for each in value)
    ):
        raise UsageError(f"{file}: {key} cannot be {value!r}")
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    given: Any = value if is_switch else [text] if option.multiple else text
    try:
        option.type_cast_value(click.Context(click.Command(key)), given)
    except click.BadParameter as error:
        raise UsageError(f"{file}: {key}: {error.message.rstrip('.')}") from error
    return given


def _refuse_unpublished(file: Path, value: object) -> None:
    """Only the user can name a folder or a repository."""
    from mtasr.models.registry import MODELS

    if value not in {name for spec in MODELS.values() for name in (spec.name, *spec.aliases)}:
        raise UsageError(
            f"{file}: model must be a name of `mtasr models list` in this file, not {value!r}; use --model for others"
        )


# --- the command ---------------------------------------------------------------------------------------------------


def _complete_command(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    program: Program = ctx.find_root().command  # type: ignore[assignment]
    return [CompletionItem(name) for name in _commands(program) if name.startswith(incomplete)]


@click.group("config")
def config() -> None:
    """Settings from files and the environment."""


@config.command("show", cls=Command)
@click.argument("command", required=False, shell_complete=_complete_command)
@debug_option
@click.pass_context
def show(ctx: click.Context, command: str | None) -> int:
    """Show each setting of COMMAND, or of all commands: its value and where it comes from.

    Settings have the names of options. mtasr takes a setting from the first of these places that has it: the flag, the
    environment (MTASR_LANGUAGE), mtasr.toml in the current folder, config.toml in your configuration folder. mtasr.toml
    cannot set output paths or device options, and can choose only a model with a plain name, such as `small`. In both
    files a table such as [evaluate] is for that command alone. Errors in a file are shown at the end.
    """
    program: Program = ctx.find_root().command  # type: ignore[assignment]
    commands = _commands(program)
    if command is not None and command not in commands:
        raise UsageError(f"{command!r} has no settings; those that have are {', '.join(commands)}")
    files = _settings(program)
    for file, what in ((user_file(), "of the user"), (Path(PROJECT_FILE), "of this folder")):
        state = "" if any(settings.file == file for settings in files) else ", missing"
        print_line(printable(f"# {file} ({what}{state})"))
    rows: dict[str, dict[tuple[str, str], list[str]]] = {}
    for name in commands if command is None else [command]:
        for key, option in commands[name].items():
            rows.setdefault(key, {}).setdefault(_origin(ctx, name, option, files), []).append(name)
    shown = [
        (key if len(found) == 1 else f"{name}.{key}", *setting)
        for key, found in rows.items()
        for setting, names in found.items()
        for name in (names[:1] if len(found) == 1 else names)
    ]
    width = max(len(key) for key, _, _ in shown)
    for key, value, origin in sorted(shown):
        print_line(printable(f"{key:<{width}} = {value}  ({origin})"))
    for variable, near in _unknown_variables(program).items():
        print_line(printable(f"# {_warning_of(variable, near)}"))
    codes = [report(error, debug=ctx.meta.get(DEBUG, False)) for error in _errors(files)]
    return codes[0] if codes else ExitCode.DONE


def _origin(parent: click.Context, own: str, option: Option, files: list[ConfigFile]) -> tuple[str, str]:
    """The value that an option of the command `own` has without a flag, and where it comes from."""
    program: Program = parent.find_root().command  # type: ignore[assignment]
    name, command = str(option.name), program.get_command(parent, own)
    assert command is not None  # noqa: S101 - it has the option
    merged = {key: value for settings in files for key, value in settings.by_command[own].items()}
    # Resilient parsing needs no arguments of the command, and gives None for a wrong variable.
    ctx = command.make_context(own, [], parent=parent, default_map=merged, resilient_parsing=True)
    value = ctx.params.get(name)
    if ctx.get_parameter_source(name) is ParameterSource.ENVIRONMENT:
        variable = str(option.envvar)
        return _displayed(os.environ[variable] if value is None else value), variable
    setting = next((each for each in reversed(files) if name in each.by_command[own]), None)
    return _displayed(value), "default" if setting is None else str(setting.file)


def _displayed(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
