"""`mtasr probe`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mtasr.atomic import write_text
from mtasr.batch.outputs import check_target
from mtasr.cli.display import Display, print_line
from mtasr.cli.listening import ready_encoder
from mtasr.cli.options.command import Command, debug_option, option, switch
from mtasr.cli.options.encoder import device_option
from mtasr.cli.options.files import quiet_option
from mtasr.cli.options.model import complete_model
from mtasr.cli.options.types import Count, Numbers, OneOf
from mtasr.errors import OutputError, UsageError
from mtasr.extras import extras

if TYPE_CHECKING:
    from mtasr.probing.fitting import ProbeSettings
    from mtasr.probing.run import ProbeResult
    from mtasr.probing.tasks.task import Task

_PROBE, _HEADS = "Probe", "Heads"
_PATH = click.Path(path_type=Path)
#: Lines about states, at most, for one encoder.
_LINES = 4
#: Options of the training of heads, and of what is done without adapters.
_OF_HEADS: tuple[str, ...] = ("steps", "batch_size", "learning_rates", "sizes", "adapters", "single_layers", "seed")
_OF_FROZEN: tuple[str, ...] = ("cache_size", "single_layers")
#: Characters that no table is wide.
_WIDEST = 1000


@click.command("probe", cls=Command)
@click.argument("labels", metavar="LABELS...", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@option(
    _PROBE,
    "--encoder",
    "encoders",
    metavar="ENCODER",
    multiple=True,
    required=True,
    configurable=False,
    shell_complete=complete_model,
    help="What to probe, any number of times: a model or its folder, a run of training, log-mel, mfcc, random:NAME; "
    "NAME+5 adds 5 frames before and after each.",
)
@option(_PROBE, "--task", metavar="TASK", required=True, configurable=False, help="What the labels say.")
@option(_PROBE, "--output", type=_PATH, metavar="FOLDER", required=True, help="Folder of the results, and of heads.")
@option(_PROBE, "--json", "json_file", type=_PATH, metavar="FILE", help="Write the results of this run to this file.")
@device_option
@option(
    _PROBE,
    "--cache-size",
    type=click.FloatRange(0),
    default=10.0,
    metavar="GB",
    help="Most states to keep on disk, so that each recording is heard once.",
)
@option(_HEADS, "--steps", type=Count(1), default=1000, help="Steps of training, each for every learning rate.")
@option(_HEADS, "--batch-size", type=Count(1), default=32, help="Recordings in a step.")
@option(
    _HEADS,
    "--learning-rates",
    type=Numbers("rates", float, "learning rates such as 0.001,0.01"),
    default="1e-4,1e-3,1e-2,1e-1",
    help="Rates to try; that of the best head on the dev recordings is used.",
)
@option(
    _HEADS,
    "--sizes",
    type=Numbers("sizes", int, "sizes such as 256,256"),
    help="Sizes of the head instead of SUPERB's.",
)
@option(
    _HEADS,
    "--adapters",
    type=OneOf("houlsby", "prefix"),
    metavar="KIND",
    help="Also train houlsby or prefix adapters inside the frozen encoder; each step then hears its recordings again.",
)
@option(_HEADS, "--adapter-size", type=Count(1), help="Width of bottlenecks (32 by default), or vectors (16).")
@switch(_HEADS, "layer-norm", default=False, help="Normalise each state over its width.")
@switch(_HEADS, "single-layers", default=True, help="Train heads on single layers, too.")
@option(_HEADS, "--seed", type=Count(), default=0, help="Decides the first weights and the order of recordings.")
@quiet_option
@debug_option
def probe(labels: tuple[Path, ...], **params: Any) -> None:
    """Measure what encoders know, as the benchmark SUPERB does: light heads on their frozen states.

    LABELS are files of labels (JSON lines or CSV), or the folders of a corpus that SUPERB uses. TASK is one of phones,
    phones-ctc, characters, keyword, search, speaker, verification, diarization, intent, slots, emotion and language, or
    SUPERB's name for it: PR, ASR, KS, QbE, SID, ASV, SD, IC, SF, ER.

    FOLDER gets report.html, results.json, plots of the layers, and the heads, for `mtasr classify`. Results of other
    tasks and encoders in it stay, and appear in the same report. Needs the extra `train`.
    """
    with extras():
        from mtasr.probing.run import check_recordings, tasks_of
        from mtasr.probing.tasks import task_class
        from mtasr.probing.tasks.task import read_clips

    if params["adapter_size"] and not params["adapters"]:
        raise UsageError("--adapter-size needs --adapters")
    kind = task_class(params["task"])
    _refuse_without_effect(kind, params)
    settings = _settings(params)
    tasks = tasks_of(kind, read_clips(kind, labels))
    check_recordings(tasks)
    if params["output"].exists() and not params["output"].is_dir():
        raise OutputError(f"{params['output']}: is not a folder")
    if params["json_file"]:
        check_target(params["json_file"], [str(path) for path in labels])
    display = Display(quiet=params["quiet"])
    results = _probed(tasks, settings, params, display)
    if params["json_file"]:
        text = json.dumps([result.to_json() for result in results], ensure_ascii=False, indent=1)
        write_text(params["json_file"], lambda stream: stream.write(f"{text}\n"))
    _print(results)
    display.note(f"wrote {params['output'] / 'report.html'}")


def _refuse_without_effect(kind: type[Task], params: dict[str, Any]) -> None:
    """Raise `UsageError` for options on the command line that change nothing."""
    from mtasr.probing.tasks.task import LayerTask

    source = click.get_current_context().get_parameter_source
    if issubclass(kind, LayerTask):
        names, reason = _OF_HEADS, f"task {kind.name} trains no heads"
    elif params["adapters"]:
        names, reason = _OF_FROZEN, "with --adapters no states are kept, nor heads on single layers trained"
    else:
        return
    for name in names:
        if source(name) is ParameterSource.COMMANDLINE and params[name] is not False:
            raise UsageError(f"--{name.replace('_', '-')} has no effect: {reason}")


def _probed(
    tasks: Sequence[Task], settings: ProbeSettings, params: dict[str, Any], display: Display
) -> list[ProbeResult]:
    """The results of all encoders; those so far are written after each."""
    from mtasr.networks.adapters import DEFAULT_SIZES
    from mtasr.probing.adapted import probe_adapted, save_adapted_head
    from mtasr.probing.heads import save_head
    from mtasr.probing.report import add_results, head_folder, read_results, shown
    from mtasr.probing.run import probe as run

    folder = params["output"]
    read_results(folder)  # a damaged file shows before the work
    results: list[ProbeResult] = []
    head: Path | None
    for name in dict.fromkeys(params["encoders"]):
        encoder = ready_encoder(name, params["device"], display)
        tell = partial(_tell, display, encoder.name)
        if params["adapters"]:
            size = params["adapter_size"] or DEFAULT_SIZES[params["adapters"]]
            result, adapted = probe_adapted(tasks, encoder, params["adapters"], size, settings, tell)
            head = head_folder(folder, result.task, result.encoder, adapted.head.config.encoder)
            save_adapted_head(adapted, head)
        else:
            most = params["cache_size"] * 1e9
            done = partial(_count, display, encoder.name)
            found = run(tasks, encoder, settings, folder / "states", most_bytes=most, tell=tell, done=done)
            result, head = found.result, None
            if found.head is not None:
                head = head_folder(folder, result.task, result.encoder, found.head.config.encoder)
                save_head(found.head, head)
        results.append(result)
        add_results([result], folder)
        kept = f"; its head is {head}" if head is not None else ""
        display.note(f"{result.encoder}: {result.task} {result.figure} {shown(result.figure, result.value)}{kept}")
    return results


def _settings(params: dict[str, Any]) -> ProbeSettings:
    from mtasr.probing.fitting import ProbeSettings

    names = ("steps", "batch_size", "learning_rates", "layer_norm", "single_layers", "sizes", "seed")
    return ProbeSettings(**{name: params[name] for name in names})


def _tell(display: Display, name: str, line: str) -> None:
    display.note(f"{name}: {line}")


def _count(display: Display, name: str, count: int, total: int) -> None:
    """Tell now and then of how many recordings the states are there."""
    if count * _LINES // total > (count - 1) * _LINES // total:
        display.note(f"{name}: heard {count} of {total} recordings")


def _print(results: Sequence[ProbeResult]) -> None:
    from rich.console import Console
    from rich.table import Table

    from mtasr.probing.report import best_layer, shown, table

    heads, rows = table(results)
    screen = StringIO()  # not stdout itself: rich would end the process if its reader has exited
    # As wide as the table is: rich would cut the names of columns off.
    console = Console(file=screen, force_terminal=sys.stdout.isatty() or None, highlight=False, width=_WIDEST)
    printed = Table(box=None, pad_edge=False)
    printed.add_column(heads[0], no_wrap=True)
    for head in (*heads[1:], "test clips", "best layer", "learning rate"):
        printed.add_column(head, justify="right", no_wrap=True)
    for result, row in zip(results, rows, strict=True):
        best = best_layer(result)
        layer = "" if best is None else f"{best.layer} ({shown(result.figure, best.test)})"
        rate = "" if result.learning_rate is None else f"{result.learning_rate:g}"
        printed.add_row(*row, str(result.clips["test"]), layer, rate)
    console.print(printed)
    print_line(screen.getvalue().rstrip("\n"))
