"""`mtasr train` and `mtasr finetune`."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtasr.cli.display.pace import clock
from mtasr.cli.failures import printable, terminable
from mtasr.cli.options.command import debug_option
from mtasr.cli.options.types import OneOf
from mtasr.extras import extras

if TYPE_CHECKING:
    from mtasr.training.config import Method, TrainConfig
    from mtasr.training.loop import Progress

_PATH = click.Path(path_type=Path)
_OVERRIDES = click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)

#: Steps from one line to the next if stderr is not a terminal.
_STEPS_PER_LINE = 10
#: Runs of more steps have so many seconds at least from one line to the next, and tell how long the rest takes.
_SHORT_RUN, _SECONDS_PER_LINE = 1000, 30.0


@click.command("train")
@click.argument("config", metavar="CONFIG", type=_PATH)
@_OVERRIDES
@debug_option
def train(config: Path, overrides: tuple[str, ...]) -> None:
    """Train a model with the settings in the YAML file CONFIG.

    KEY=VALUE changes a setting (optimizer.learning_rate=1e-5). Resumes from the last checkpoint in the run's folder, if
    there is one. The result is the folder `model` in the run's folder, for `mtasr transcribe --model`. Needs the extra
    `train`.
    """
    with extras():
        from mtasr.training.config import read_config

    run_to_end(read_config(config, overrides))


@click.command("finetune")
@click.argument("model", metavar="MODEL")
@click.argument("records", metavar="RECORDS", type=_PATH)
@_OVERRIDES
@click.option("--output", required=True, type=_PATH, metavar="RUN", help="The folder of the run and its result.")
@click.option(
    "--method",
    type=OneOf("full", "decoder", "lora", "houlsby", "prefix", "prompt"),
    default="full",
    show_default=True,
    help="Train all weights, only the decoder, low-rank changes (less memory), adapters, or a prompt.",
)
@click.option(
    "--epochs",
    type=click.FloatRange(0, min_open=True),
    default=8.0,
    show_default=True,
    help="Number of passes through RECORDS.",
)
@click.option(
    "--rehearsal",
    type=_PATH,
    multiple=True,
    metavar="RECORDS",
    help="Records that keep the model from forgetting other languages or translation.",
)
@click.option(
    "--evaluation",
    type=_PATH,
    multiple=True,
    metavar="RECORDS",
    help="Records to evaluate checkpoints on; the best checkpoint is the result.",
)
@debug_option
def finetune(
    model: str,
    records: Path,
    overrides: tuple[str, ...],
    output: Path,
    method: Method,
    epochs: float,
    rehearsal: tuple[Path, ...],
    evaluation: tuple[Path, ...],
) -> None:
    """Improve MODEL on the recordings in RECORDS, a file that `mtasr data` writes.

    The default settings suit little data; KEY=VALUE changes them (see docs/training.md). The same command resumes a run
    that was stopped. The result is the folder `model` in RUN, for `mtasr transcribe --model`. Needs the extra `train`.
    """
    with extras():
        from mtasr.training.finetune import finetune_config

    run_to_end(
        finetune_config(
            model,
            [records],
            output,
            method=method,
            epochs=epochs,
            rehearsal=rehearsal,
            evaluation=evaluation,
            overrides=overrides,
        )
    )


def run_to_end(config: TrainConfig, result: str = "model") -> None:
    """Train, showing the progress, and write the result; `result` is what the last line calls it."""
    with extras():
        from mtasr.training.loop import export
        from mtasr.training.loop import train as run_training
    logging.getLogger("mtasr").addHandler(logging.StreamHandler(sys.stderr))
    for package in ("mtasr.generative", "mtasr.pretraining", "mtasr.training"):
        logging.getLogger(package).setLevel(logging.INFO)  # which step a run continues from, what is left out
    with _told_how_to_continue(config), terminable():
        with _shown(config.steps) as progress:
            run = run_training(config, progress)
        if not run.crew.leads:
            return
        exported = export(run)
    for line in exported.remark.splitlines():
        click.echo(printable(line), err=True)
    click.echo(printable(f"the {result} is in {exported.path}"), err=True)


@contextlib.contextmanager
def _told_how_to_continue(config: TrainConfig) -> Iterator[None]:
    """A line if Ctrl-C or SIGTERM stops the run, from the first of its processes."""
    from mtasr.training.parallel import is_first
    from mtasr.training.state import checkpoints, step_of

    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if is_first():
            found = checkpoints(Path(config.output))
            same = "the same command with resume=auto" if found and config.resume == "never" else "the same command"
            place = (
                f"continues from step {step_of(found[-1])}" if found else "begins anew, as there is no checkpoint yet"
            )
            click.echo(f"{same} {place}", err=True)
        raise


@contextlib.contextmanager
def _shown(steps: int) -> Iterator[Progress]:
    """A progress bar on a terminal, or else a line now and then. Each evaluation prints a line."""
    if not sys.stderr.isatty():
        yield _Lines(steps).show
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("", total=steps)
    with contextlib.ExitStack() as shown:

        def show(entry: dict[str, Any]) -> None:
            if not bar.live.is_started:  # of several processes, only the first has something to show
                shown.enter_context(bar)
            if "evaluation" in entry:
                console.print(_line(entry, steps))
            else:
                bar.update(task, completed=entry["step"], description=_figures(entry))

        yield show


class _Lines:
    """Prints a line now and then, and one for each evaluation."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        #: The first step that this process took, and the time after it.
        self._first, self._began = 0, 0.0
        self._told = -math.inf

    def show(self, entry: dict[str, Any]) -> None:
        step, now = entry["step"], time.monotonic()
        if "evaluation" in entry:
            click.echo(_line(entry, self._steps), err=True)
            return
        if not self._first:
            self._first, self._began = step, now
        rests = self._steps > _SHORT_RUN and now - self._told < _SECONDS_PER_LINE
        if step in {1, self._steps} or (step % _STEPS_PER_LINE == 0 and not rests):
            self._told = now
            click.echo(_line(entry, self._steps) + self._left(step, now), err=True)

    def _left(self, step: int, now: float) -> str:
        """How long the rest of a long run takes at the pace so far."""
        if self._steps <= _SHORT_RUN or not self._first < step < self._steps:
            return ""
        return f", {clock((now - self._began) / (step - self._first) * (self._steps - step))} left"


def _line(entry: dict[str, Any], steps: int) -> str:
    if "evaluation" in entry:
        found = ", ".join(f"{name} {value:.3f}" for name, value in entry["evaluation"].items())
        return f"step {entry['step']}/{steps}: evaluation: {found}"
    return f"step {entry['step']}/{steps}: {_figures(entry)}"


def _figures(entry: dict[str, Any]) -> str:
    speed = entry["audio_seconds"] / max(entry["seconds"], 1e-6)
    waited = entry["waited"] / max(entry["seconds"], 1e-6)
    heard = f"{speed:.1f} s of audio a second, padding {entry['padding']:.0%}, " if speed else ""
    return f"loss {entry['loss']:.3f}, {heard}waited {waited:.0%} for data"
