"""The one place that turns errors into a line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from enum import IntEnum
from types import FrameType
from typing import TYPE_CHECKING, TextIO

import click

from mtasr import system
from mtasr.errors import (
    ClusterError,
    InputError,
    LiveError,
    ModelError,
    MtasrError,
    OutputError,
    UsageError,
    WorkerDiedError,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: Key in click's context that is set by `--debug`.
DEBUG = "mtasr.debug"


class ExitCode(IntEnum):
    """The exit code of the process."""

    DONE = 0
    BUG = 1
    USAGE = 2
    INPUT = 3
    OUTPUT = 4
    MODEL = 5
    PART_FAILED = 6
    CLUSTER = 7
    INTERRUPTED = 128 + signal.SIGINT
    #: The program that reads standard output exited: the code a shell reports for programs that SIGPIPE ends.
    BROKEN_PIPE = 128 + system.SIGPIPE
    TERMINATED = 128 + signal.SIGTERM


#: The codes of a process that was stopped in the middle of its work.
STOPPED = (ExitCode.INTERRUPTED, ExitCode.BROKEN_PIPE, ExitCode.TERMINATED)

_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (UsageError, ExitCode.USAGE),
    (InputError, ExitCode.INPUT),
    (OutputError, ExitCode.OUTPUT),
    (ModelError, ExitCode.MODEL),
    (WorkerDiedError, ExitCode.PART_FAILED),  # the cluster goes on with the others
    (ClusterError, ExitCode.CLUSTER),
    # Events wait where nobody reads standard output.
    (LiveError, ExitCode.OUTPUT),
)


#: Errors of a file system that takes no more data.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def of_output(error: Exception) -> Exception:
    """The error, as an `OutputError` if it arose while click printed help or a version on standard output."""
    if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
        return not_written(error)
    return error


def not_written(error: OSError) -> OutputError:
    """The error to raise for one of standard output, to which nothing more is written then."""
    silence(sys.stdout)
    return OutputError(f"standard output: {error.strerror}")


class _Lenient(io.FileIO):
    """A file that ignores what it cannot write, except to a closed pipe."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError:
            return memoryview(data).nbytes


def ignore_write_errors_of_stderr() -> None:
    """A full disk behind standard error must not end the work."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no file, or closed by the shell
        lenient = io.BufferedWriter(_Lenient(sys.stderr.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(lenient, sys.stderr.encoding, "backslashreplace", line_buffering=True)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code of an error. One that is not in the tree of `mtasr.errors` is a bug, unless memory ran out."""
    if _is_out_of_memory(error):
        return ExitCode.MODEL
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.BUG)


def report(error: Exception, source: str | None = None, *, debug: bool = False) -> ExitCode:
    """Write one line about `error` to stderr, after its traceback if `debug`; returns the exit code.

    `source` is the name of the recording being worked on.
    """
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
        for line in getattr(error, "details", ()):  # what ffmpeg wrote
            click.echo(printable(line), err=True)
    click.echo(f"mtasr: error: {printable(message_of(error, source, debug=debug))}", err=True)
    return exit_code(error)


def message_of(error: Exception, source: str | None = None, *, debug: bool = False) -> str:
    """One line about an error. Input and output errors name their file; others get `source` in front."""
    if isinstance(error, MtasrError):
        message = str(error)
    elif _is_out_of_memory(error):
        message = f"there is not enough memory for it{_least_memory()}"
    else:
        hint = "" if debug else "; run it again with --debug to see where"
        message = f"this is a bug in mtasr: {type(error).__name__}: {error}{hint}"
    if source is not None and not isinstance(error, InputError | OutputError):
        message = f"{source}: {message}"
    return message


def _least_memory() -> str:
    """Which options take least memory, of those that the command has that runs in this thread, if one does."""
    known = None
    if (ctx := click.get_current_context(silent=True)) is not None:
        command: click.Command | None = ctx.command
        if isinstance(command, click.Group) and ctx.invoked_subcommand is not None:
            command = command.get_command(ctx, ctx.invoked_subcommand)
        known = {name for param in (command or ctx.command).params for name in param.opts}
    hints = [f"{name} 1" for name in ("--workers", "--batch-size") if known is None or name in known]
    return f"; {' '.join(hints)} takes least" if hints else ""


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, which Python reports in several ways.

    A library cannot be mapped under a limit on memory; without a limit that error has another cause, such as a folder
    mounted with `noexec`.
    """
    if isinstance(error, ImportError) and "failed to map segment from shared object" in str(error):
        return system.memory_is_limited()
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or str(error) in ("can't allocate lock", "can't start new thread")


def report_usage(error: click.ClickException) -> None:
    """Write one line about a wrong command line, and where to read on; for an empty one, the help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return
    context = getattr(error, "ctx", None)
    help_text = f" (see `{context.command_path} --help`)" if context is not None else ""
    # Click puts each choice on a line of its own. Spaces stay: a file name may have several.
    message = error.format_message().rstrip(".").replace("\n\t", " ")
    click.echo(f"mtasr: error: {printable(message)}{help_text}", err=True)


def printable(text: str) -> str:
    r"""`text` on one line that every terminal can show.

    A file name may hold newlines, escape sequences, marks that reverse the writing direction, and bytes that are not
    UTF-8 (surrogates in Python): each is written as in Python's literals, a newline as \n.
    """
    unsafe = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in unsafe else char for char in text
    )


class Attempts:
    """Work on several inputs, where one that fails does not stop the others, and the exit code of all of it."""

    def __init__(self, size: int, tell: Callable[[Exception, str], object] = report) -> None:
        self._left = size
        self._tell = tell
        self._codes: set[ExitCode] = set()

    @property
    def code(self) -> ExitCode:
        """The code of the failures where all inputs failed alike, so also for a single one; else PART_FAILED."""
        if not self._codes:
            return ExitCode.DONE
        return next(iter(self._codes)) if len(self._codes) == 1 and self._left == 0 else ExitCode.PART_FAILED

    def doubt(self) -> None:
        """Count an input that is done, but not reliable."""
        self._codes.add(ExitCode.PART_FAILED)

    def fail(self, source: str, error: Exception) -> None:
        """Count the input `source` as failed, and report why."""
        _let_through(error)
        self._tell(error, source)
        self._codes.add(exit_code(error))
        self._left -= 1

    def attempt(self, source: str, work: Callable[[], None]) -> bool:
        """Call `work`, and count and report a failure of it; returns whether it succeeded."""
        try:
            work()
        except (BrokenPipeError, click.ClickException, click.Abort):
            raise
        except Exception as error:
            self.fail(source, error)
            return False
        return True


#: What a signal raised.
_stopped: list[BaseException] = []


def _let_through(error: Exception) -> None:
    """Raise what a signal raised, if `error` came of it: native modules turn it into an error while they are loaded."""
    if _stopped:
        raise _stopped[0] from error


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Within it SIGTERM unwinds the stack as Ctrl-C does, so that ffmpeg and half-written files are cleaned up.

    A second signal ends the process at once.
    """
    _stopped.clear()

    def unwind(signum: int, frame: FrameType | None) -> None:
        for each in before:
            # Not SIG_DFL: Python fails if the second signal has come already.
            signal.signal(each, lambda signum, frame: os._exit(128 + signum))
        _stopped.append(KeyboardInterrupt() if signum == signal.SIGINT else SystemExit(ExitCode.TERMINATED))
        raise _stopped[0]

    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only.
        return
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    for each, handler in before.items():
        if handler != signal.SIG_IGN:  # which shells set for background jobs
            signal.signal(each, unwind)
    try:
        yield
    except Exception as error:
        _let_through(error)
        raise
    finally:
        if not _stopped:  # else the process is about to end, and another Ctrl-C must not disturb it
            for each, handler in before.items():
                signal.signal(each, handler)


@contextlib.contextmanager
def ending_on_signal(end: Callable[[], object]) -> Iterator[list[int]]:
    """Within it the first Ctrl-C, SIGTERM or hang-up calls `end`, and the second signal ends the process at once.

    Yields a list, to which the number of the signal is added.
    """
    received: list[int] = []

    def handle(signum: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, lambda signum, frame: os._exit(128 + signum))
        received.append(signum)
        end()

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    hang_up = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # Windows has none
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, *hang_up)}
    for each, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(each, handle)
    try:
        yield received
    finally:
        if not received:  # else the process is about to end
            for each, handler in before.items():
                signal.signal(each, handler)


def silence(stream: TextIO) -> None:
    """Discard what `stream` still buffers, so that Python does not fail to write it on exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
