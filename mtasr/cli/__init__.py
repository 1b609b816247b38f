"""The command line. This module stays light: `mtasr --help` loads click and little else.

A command is one file in this folder, with a `click.Command`, and a line in `COMMANDS`; `mtasr.cli.options` has the
options that commands share. A command returns its exit code or None, and raises the errors of `mtasr.errors`, which
become one line on standard error and an exit code (`mtasr.cli.failures`). A program that uses mtasr can add a command
in the same way:

    from mtasr.cli import COMMANDS, LazyCommand, main

    COMMANDS["count"] = LazyCommand("my_program.count", "count", "Count the words of a transcript.")
    main()
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from mtasr import __version__
from mtasr.cli import failures
from mtasr.cli.options.command import debug_option, normalise


class LazyCommand(NamedTuple):
    """A command whose module is imported when the command runs."""

    module: str
    attribute: str
    #: Its line in `mtasr --help`.
    help: str
    #: Whether configuration files and the environment may set its options.
    configured: bool = False


#: By name, in the order of the help.
COMMANDS = {
    "transcribe": LazyCommand("mtasr.cli.transcribe", "transcribe", "Turn speech into text and subtitles.", True),
    "translate": LazyCommand("mtasr.cli.transcribe", "translate", "Turn speech into English text and subtitles.", True),
    "watch": LazyCommand("mtasr.cli.watch", "watch", "Transcribe recordings as they arrive in a folder.", True),
    "live": LazyCommand("mtasr.cli.live.command", "live", "Turn speech into text while it is spoken.", True),
    "detect-language": LazyCommand("mtasr.cli.detect", "detect_language", "Detect the spoken language.", True),
    "diarize": LazyCommand("mtasr.cli.diarize", "diarize", "Find out who speaks when.", True),
    "subtitle": LazyCommand("mtasr.cli.subtitle", "subtitle", "Put subtitles into a video.", True),
    "view": LazyCommand("mtasr.cli.view", "view", "Write a page to play a recording and read its text.", True),
    "speak": LazyCommand("mtasr.cli.speak", "speak", "Read English text aloud.", True),
    "speak-translation": LazyCommand(
        "mtasr.cli.speak_translation", "speak_translation", "Give recordings an English voice.", True
    ),
    "check-mark": LazyCommand("mtasr.cli.check_mark", "check_mark", "Tell whether speech is marked as synthetic."),
    "serve": LazyCommand("mtasr.cli.serve", "serve", "Serve OpenAI's API for speech, and others.", True),
    "evaluate": LazyCommand("mtasr.cli.evaluate", "evaluate", "Measure a model on recordings with known texts.", True),
    "features": LazyCommand("mtasr.cli.features", "features", "Write what an encoder makes of recordings.", True),
    "units": LazyCommand("mtasr.cli.units", "units", "Turn speech into units that were learnt without text.", True),
    "continue": LazyCommand("mtasr.cli.continue_", "continue_", "Continue speech as a language model would.", True),
    "compress": LazyCommand("mtasr.cli.compress", "compress", "Turn a recording into the codes of a neural codec."),
    "decompress": LazyCommand("mtasr.cli.compress", "decompress", "Turn such codes into sound again."),
    "find": LazyCommand("mtasr.cli.find", "find", "Find where something is said, by an example.", True),
    "classify": LazyCommand("mtasr.cli.classify", "classify", "Tell what a head knows about recordings.", True),
    "models": LazyCommand("mtasr.cli.models", "models", "List, download, check and remove models."),
    "data": LazyCommand("mtasr.cli.data", "data", "Collect and filter recordings with text, for training."),
    "probe": LazyCommand("mtasr.cli.probe", "probe", "Measure what encoders know, as SUPERB does."),
    "tokenizer": LazyCommand("mtasr.cli.tokenizer", "tokenizer", "Learn a vocabulary, for training from scratch."),
    "train": LazyCommand("mtasr.cli.train", "train", "Train a model from a configuration file."),
    "pretrain": LazyCommand("mtasr.cli.pretrain", "pretrain", "Train a model on recordings without text."),
    "finetune": LazyCommand("mtasr.cli.train", "finetune", "Adapt a model to your language or field."),
    "config": LazyCommand("mtasr.cli.config", "config", "Show settings and where they come from."),
    "doctor": LazyCommand("mtasr.cli.doctor", "doctor", "Check what mtasr needs on this machine."),
}


class Program(click.Group):
    """Loads a command when it runs, and turns every error that leaves it into an exit code."""

    @property
    def configured(self) -> list[str]:
        """Commands with settings that a configuration file may hold."""
        return [name for name, command in COMMANDS.items() if command.configured]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        lazy = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(lazy.module), lazy.attribute)
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
            formatter.write_dl([(name, lazy.help) for name, lazy in COMMANDS.items()])

    def main(self, *args: Any, standalone_mode: bool = True, **settings: Any) -> Any:
        """As click has it, but usage errors are one line too."""
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
    """The command line that a user who wrote `word` as the command probably meant."""
    if _is_file(word):  # other speech recognisers take the file as the first argument
        return f"transcribe {shlex.quote(word)}"
    import difflib

    near = [] if word.startswith("-") else difflib.get_close_matches(normalise(word.lower()), COMMANDS, n=1)
    return near[0] if near else None


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # a name longer than names can be, a folder that cannot be entered
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
    if ctx.invoked_subcommand in COMMANDS and COMMANDS[ctx.invoked_subcommand].configured:
        from mtasr.cli import config

        config.apply(ctx)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit; `args` defaults to those of the process."""
    failures.ignore_write_errors_of_stderr()
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
        # After a failure the engine's threads may be in the middle of a window, and crash when Python frees its data.
        if end.code in failures.STOPPED or (end.code and any(thread.daemon for thread in threading.enumerate())):
            _leave_at_once(int(end.code))
        raise


def _leave_at_once(code: int) -> None:
    """End the process without freeing what Python and the engine hold."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h")  # show the cursor, which a bar hides while it is drawn
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
