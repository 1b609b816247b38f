"""The command line. This module stays light: `mtasr --help` loads click and nothing else of weight."""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from mtasr import __version__
from mtasr.cli import failures
from mtasr.cli.options import debug_option, normalise


class _Lazy(NamedTuple):
    module: str
    attribute: str
    help: str


_COMMANDS = {
    "transcribe": _Lazy("mtasr.cli.transcribe", "transcribe", "Write down what is said, as text and subtitles."),
    "translate": _Lazy("mtasr.cli.transcribe", "translate", "Write down what is said in English."),
    "watch": _Lazy("mtasr.cli.watch", "watch", "Transcribe what comes into a folder."),
    "detect-language": _Lazy("mtasr.cli.detect", "detect_language", "Tell which language is spoken."),
    "subtitle": _Lazy("mtasr.cli.subtitle", "subtitle", "Put subtitles into a video."),
    "view": _Lazy("mtasr.cli.view", "view", "Write a page to listen to a recording and read its text."),
    "evaluate": _Lazy("mtasr.cli.evaluate", "evaluate", "Measure a model on recordings with known texts."),
    "models": _Lazy("mtasr.cli.models", "models", "List, fetch, check and remove models."),
    "data": _Lazy("mtasr.cli.data", "data", "Gather and filter recordings with text, for training."),
    "tokenizer": _Lazy("mtasr.cli.tokenizer", "tokenizer", "Make a vocabulary, for training from scratch."),
    "train": _Lazy("mtasr.cli.train", "train", "Train a model as a configuration says."),
    "finetune": _Lazy("mtasr.cli.train", "finetune", "Make a model better at your language or field."),
    "config": _Lazy("mtasr.cli.config", "config", "Show settings and where they come from."),
    "doctor": _Lazy("mtasr.cli.doctor", "doctor", "Look at what mtasr needs on this machine."),
}


class Program(click.Group):
    """Loads a command when it runs, and turns whatever escapes it into an exit code."""

    #: Commands with settings that a configuration file may hold.
    configured = ("transcribe", "translate", "watch", "detect-language", "subtitle", "view", "evaluate")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        lazy = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(lazy.module), lazy.attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker; the tests load each
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            meant = _meant(args[0])
            if meant is None:
                raise
            raise click.UsageError(f"No such command {args[0]!r}; did you mean: mtasr {meant}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in _COMMANDS.items()])

    def main(self, *args: Any, standalone_mode: bool = True, **settings: Any) -> Any:
        """As click has it, but an error of the command line is one line too."""
        settings["standalone_mode"] = False
        try:
            code = super().main(*args, **settings)
        except click.ClickException as error:
            if not standalone_mode:
                raise
            failures.report_usage(error)
            code = error.exit_code
        if standalone_mode:
            sys.exit(code)
        return code

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        try:
            return super().make_context(*args, **settings)
        except BrokenPipeError as error:
            failures.silence(sys.stdout)
            raise click.exceptions.Exit(failures.ExitCode.BROKEN_PIPE) from error
        except OSError as error:
            raise click.exceptions.Exit(failures.report(failures.of_output(error))) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with failures.terminable():
                code = super().invoke(ctx)
                sys.stdout.flush()
        except BrokenPipeError:
            failures.silence(sys.stdout)
            code = failures.ExitCode.BROKEN_PIPE
        except (KeyboardInterrupt, click.Abort):
            click.echo("mtasr: stopped", err=True)
            code = failures.ExitCode.INTERRUPTED
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            code = failures.report(failures.of_output(error), debug=ctx.meta.get(failures.DEBUG, False))
        ctx.exit(code if isinstance(code, int) else failures.ExitCode.DONE)


# NumPy, which is loaded after this, would start a thread for each core that would never be used (`mtasr.blas`).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _meant(word: str) -> str | None:
    """What somebody may have meant who gave `word` as the command."""
    if _is_file(word):  # other programs of the trade take the file as the first argument
        return f"transcribe {shlex.quote(word)}"
    import difflib

    near = [] if word.startswith("-") else difflib.get_close_matches(normalise(word.lower()), _COMMANDS, n=1)
    return near[0] if near else None


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # a name longer than names can be, a folder that may not be entered
        return False


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["--help", "-h"], "token_normalize_func": normalise},
    epilog="Try: mtasr transcribe interview.mp3",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@debug_option
@click.pass_context
def program(ctx: click.Context) -> None:
    """Speech to text: transcripts, subtitles, language and English translation."""
    if ctx.invoked_subcommand in Program.configured:
        from mtasr.cli import config

        config.apply(ctx)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit; `args` defaults to those of the process."""
    failures.tell_what_can_be_told()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: >&-
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - lives as long as the process
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks must not end an hour of work.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        program.main(args=args, prog_name="mtasr")
    except SystemExit as end:
        if end.code in failures.STOPPED:
            leave_at_once(int(end.code))
        raise


def leave_at_once(code: int) -> None:
    """End the process without taking down what Python and the engine hold.

    Where somebody stops the program, the engine's threads are in the middle of a window, and crash when Python takes
    away what they work on.
    """
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h")  # the cursor, which a bar hides that was stopped while it was drawn
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
