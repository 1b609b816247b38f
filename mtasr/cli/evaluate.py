"""`mtasr evaluate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtasr.atomic import write_text
from mtasr.batch.outputs import check_target
from mtasr.cli import failures
from mtasr.cli.display import Display, print_line
from mtasr.cli.options.command import Command, debug_option, option
from mtasr.cli.options.decoding import text_options, to_decoding_options
from mtasr.cli.options.files import quiet_option
from mtasr.cli.options.model import model_options
from mtasr.cli.options.speakers import number_options, to_speakers
from mtasr.cli.options.types import Count, SomeOf, flat
from mtasr.cli.work import english_name, load, load_diarizer
from mtasr.errors import MtasrError, UsageError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from mtasr.evaluation import Clip, Evaluation, Figure, Measure, Result, Scores
    from mtasr.transcribe import Model

_FILE = click.Path(dir_okay=False)
_MEASURES = ("transcription", "translation", "language", "speakers")


@click.command(cls=Command)
@click.argument("manifest", metavar="MANIFEST", type=click.Path(path_type=Path))
@option(
    "Evaluation",
    "--measure",
    "measures",
    type=SomeOf(*_MEASURES),
    multiple=True,
    default=_MEASURES,
    callback=flat,
    show_default=False,
    help="Measure only these, separated by commas.  [default: all]",
)
@option(
    "Evaluation", "--limit", type=Count(1), configurable=False, help="Only the first N recordings of each language."
)
@option(
    "Evaluation",
    "--collar",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Ignore errors this near to where a speaker begins or ends.",
)
@option("Evaluation", "--worst", type=Count(), default=5, help="Show the N worst recordings.")
@option("Evaluation", "--json", "json_file", type=_FILE, help="Write all figures to this file.")
@option("Evaluation", "--html", "html_file", type=_FILE, help="Write a report to this file.")
@quiet_option
@model_options
@number_options
@text_options
@debug_option
@click.pass_context
def evaluate(ctx: click.Context, /, **params: Any) -> int:
    """Measure a model on the recordings that MANIFEST lists.

    MANIFEST is a JSON list, JSON lines or CSV with the fields audio, text, translation, language and rttm. Paths are
    relative to its folder. Prints these figures for each language and in total: word and character error rate, BLEU and
    chrF of the translation into English, share of recordings whose language is detected correctly (LID), and real-time
    factor.

    Where the manifest says who speaks, in an RTTM file or by a speaker on each of its segments, speakers are told apart
    and these are printed too: word error rate by speaker (cpWER), diarization error rate (DER) with missed speech,
    false alarms (FA) and confusion, Jaccard error rate (JER), by how many the number N of speakers is off, and the
    share of recordings in which it is right.
    """
    from mtasr.evaluation import evaluate as run
    from mtasr.evaluation import read_manifest, require_libraries

    require_libraries()
    options = to_decoding_options({"task": "transcribe", "language": None} | params)
    speakers, _ = to_speakers(ctx, {"diarize": True, "channels": "mix", "audio_stream": 0} | params)
    clips = _limited(read_manifest(params["manifest"]), params["limit"])
    measures = _possible(clips, params["measures"])
    attempts = failures.Attempts(len(clips), partial(failures.report, debug=ctx.meta.get(failures.DEBUG, False)))
    files = [Path(params[name]) for name in ("json_file", "html_file") if params[name]]
    for file in files:
        check_target(file, [str(params["manifest"]), *(str(clip.audio) for clip in clips)])
    ready, refused = _checked(clips, attempts)
    if not ready:
        return attempts.code
    display = Display(quiet=params["quiet"])
    model = _load(ready, measures, params, display)
    finished = 0

    def done(clip: Clip) -> None:
        nonlocal finished
        finished += 1

    with display.working(str(params["manifest"]), lambda: finished, lambda: None):
        evaluation = run(
            model,
            ready,
            options,
            measures,
            speakers=speakers,
            collar=params["collar"],
            diarizer=partial(load_diarizer, display),
            done=done,
        )
    for result in evaluation.results:
        if result.failures:  # one of a recording: several measures fail alike, and recordings are counted
            attempts.fail(str(result.clip.audio), result.failures[0])
    evaluation = replace(evaluation, results=_in_order(clips, (*evaluation.results, *refused)))
    title = params["manifest"].name if model is None else f"{params['manifest'].name}: {params['model'] or 'base'}"
    _write(evaluation, params, title)  # first: the reader of standard output may have exited
    _print(evaluation, params["worst"])
    if files:
        display.note(f"wrote {' and '.join(map(str, files))}")
    return attempts.code


def _load(clips: Sequence[Clip], measures: Sequence[Measure], params: dict[str, Any], display: Display) -> Model | None:
    """The model, None if only who speaks when is measured. What tells speakers apart is loaded too where it is needed.

    Raises `UsageError` if the model is English-only, and recordings are in other languages.
    """
    from mtasr.evaluation import needs_model
    from mtasr.models import english_only

    if not needs_model(clips, measures):
        load_diarizer(display)
        return None
    if english_only(params["model"]):
        _refuse_other_languages(clips, params["model"])
    model = load(params | {"diarize": "speakers" in measures}, display)
    if not model.engine.tokenizer.is_multilingual:  # a folder, of which only loading shows it
        _refuse_other_languages(clips, params["model"])
    return model


def _checked(clips: Sequence[Clip], attempts: failures.Attempts) -> tuple[list[Clip], list[Result]]:
    """The recordings that can be read, and results for the others."""
    from mtasr.audio.read import check_input
    from mtasr.evaluation import Result

    ready: list[Clip] = []
    refused: list[Result] = []
    for clip in clips:
        try:
            check_input(str(clip.audio))
            ready.append(clip)
        except MtasrError as error:
            attempts.fail(str(clip.audio), error)
            refused.append(Result(clip=clip, failures=[error]))
    return ready, refused


def _in_order(clips: Sequence[Clip], results: Sequence[Result]) -> tuple[Result, ...]:
    places = {id(clip): place for place, clip in enumerate(clips)}
    return tuple(sorted(results, key=lambda result: places[id(result.clip)]))


def _refuse_other_languages(clips: Sequence[Clip], model: str | None) -> None:
    """Raises `UsageError` for recordings that an English-only model cannot be measured on."""
    codes = sorted({clip.language for clip in clips if clip.language is not None} - {"en"})
    if codes:
        names = ", ".join(f"{english_name(code)} ({code})" for code in codes)
        raise UsageError(
            f"{model} is English-only, and the manifest has recordings in {names}: use a multilingual model"
        )


def _limited(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    seen: dict[str | None, int] = {}
    kept = []
    for clip in clips:
        seen[clip.language] = seen.get(clip.language, 0) + 1
        if limit is None or seen[clip.language] <= limit:
            kept.append(clip)
    return kept


def _possible(clips: Sequence[Clip], asked: Sequence[str]) -> list[Any]:
    """The measures asked for that the manifest has data for. Raises `UsageError` if there is none."""
    allowed = {
        "transcription": any(clip.text is not None for clip in clips),
        "translation": any(clip.translation is not None for clip in clips),
        "language": any(clip.language is not None for clip in clips),
        "speakers": any(clip.turns is not None or clip.speaker_texts is not None for clip in clips),
    }
    possible = [measure for measure in _MEASURES if measure in asked and allowed[measure]]
    if not possible:
        raise UsageError(f"the manifest lacks the fields to measure {' or '.join(asked)}")
    return possible


def _write(evaluation: Evaluation, params: dict[str, Any], title: str) -> None:
    from mtasr.evaluation import write_page

    if params["json_file"]:
        text = json.dumps(evaluation.to_json(), ensure_ascii=False, indent=1)
        write_text(Path(params["json_file"]), lambda stream: stream.write(f"{text}\n"))
    if params["html_file"]:
        write_text(Path(params["html_file"]), lambda stream: write_page(evaluation, title, stream))


# --- on the screen -------------------------------------------------------------------------------------------------

_Column = tuple[str, str, int]
#: Heading, field of `Scores`, and by what it is shown: rates in percent.
_COLUMNS = (
    ("WER", "wer", 100),
    ("cpWER", "cpwer", 100),
    ("CER", "cer", 100),
    ("BLEU", "bleu", 1),
    ("chrF", "chrf", 1),
    ("LID", "language_accuracy", 100),
)
#: The same of speakers, for a table of its own: with all columns a table would be wider than a terminal.
_SPEAKER_COLUMNS = (
    ("DER", "der", 100),
    ("missed", "missed_speech", 100),
    ("FA", "false_alarm", 100),
    ("conf.", "confusion", 100),
    ("JER", "jer", 100),
    ("N off", "speaker_count_error", 1),
    ("N right", "speaker_count_accuracy", 100),
)


def _print(evaluation: Evaluation, worst: int) -> None:
    from rich.console import Console

    # Not to stdout itself: rich would end the process if its reader has exited, with a code of its own.
    screen = StringIO()
    console = Console(file=screen, force_terminal=sys.stdout.isatty() or None, highlight=False)
    if _shown(evaluation, _COLUMNS):
        console.print(_table(evaluation, _COLUMNS, is_first=True))
    else:
        console.print(_line(evaluation.total))
    if evaluation.total.speaker_count_error is not None:
        console.print()
        console.print(_table(evaluation, _SPEAKER_COLUMNS, is_first=False))
    wrong = evaluation.worst(worst)
    if wrong:
        console.print("\nRecordings with the most words wrong:")
    for result in wrong:
        console.print()
        console.print(_headline(evaluation, result))
        console.print(_alignment(result))
    speakers = evaluation.worst_speakers(worst)
    if speakers:
        console.print(f"\nRecordings with the most {_unit(evaluation)} of speakers wrong:\n")
        console.print(_speaker_table(evaluation, speakers), crop=False)
    print_line(screen.getvalue().rstrip("\n"))


def _shown(evaluation: Evaluation, columns: Sequence[_Column]) -> list[_Column]:
    """The columns of what was measured."""
    return [column for column in columns if getattr(evaluation.total, column[1]) is not None]


def _line(scores: Scores) -> str:
    """What is measured of all recordings, if it is not their texts."""
    factor = "" if scores.real_time_factor is None else f", real-time factor (RTF) {scores.real_time_factor:.3f}"
    return f"{scores.clips} recording{'' if scores.clips == 1 else 's'}, {scores.audio / 60:.1f} min{factor}"


def _table(evaluation: Evaluation, columns: Sequence[_Column], *, is_first: bool) -> Table:
    """The figures of each language and in total; the first table has the time, too."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    shown = _shown(evaluation, columns)
    timed = is_first and evaluation.total.real_time_factor is not None
    table.add_column("", no_wrap=True)
    heads = [*(["clips", "min"] if is_first else []), *(head for head, _, _ in shown), *(["RTF"] if timed else [])]
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for name, scores in [*evaluation.by_language.items(), ("all", evaluation.total)]:
        cells = [_figure(getattr(scores, field), scale) for _, field, scale in shown]
        if is_first:
            cells = [str(scores.clips), f"{scores.audio / 60:.1f}", *cells]
        if timed:
            cells.append("" if scores.real_time_factor is None else f"{scores.real_time_factor:.3f}")
        table.add_row(name, *cells)
    return table


def _unit(evaluation: Evaluation) -> str:
    """What errors of speakers are counted in."""
    return "seconds" if evaluation.counts_seconds else "words"


def _speaker_table(evaluation: Evaluation, results: Sequence[Result]) -> Table:
    """The errors of speakers in each of these recordings, in percent, and how many speakers were found."""
    from rich.cells import cell_len
    from rich.table import Table

    from mtasr.evaluation import rates_shown

    names = [failures.printable(evaluation.name(result)) for result in results]
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True, min_width=max(map(cell_len, names)))  # whole, however narrow the terminal
    heads = ("DER", "missed", "FA", "conf.", "JER", "cpWER")
    shown = rates_shown(results)
    for head in (_unit(evaluation), *(heads[place] for place in shown), "speakers"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, result in zip(names, results, strict=True):
        there, found = result.speaker_counts or (0, 0)
        rates = [result.speaker_rates[place] for place in shown]
        cells = ["" if rate is None else f"{100 * rate:.1f}" for rate in rates]
        table.add_row(name, evaluation.wrong(result), *cells, f"{found} of {there}")
    return table


def _figure(figure: Figure | None, scale: int) -> str:
    """A value and half the width of its interval, which is unknown if all recordings are alike."""
    if figure is None:
        return ""
    if figure.low == figure.high:
        return f"{figure.value * scale:.1f}"
    return f"{figure.value * scale:.1f}±{(figure.high - figure.low) / 2 * scale:.1f}"


def _headline(evaluation: Evaluation, result: Result) -> Text:
    from rich.text import Text

    wrong, total = (result.words.errors, result.words.length) if result.words is not None else (0, 0)
    return Text.assemble((failures.printable(evaluation.name(result)), "bold"), f"  {wrong} of {total} words wrong")


def _alignment(result: Result) -> Text:
    """The reference, with missed words in red and what was recognised instead in green.

    Brackets mark the same without colours: [-said-] {+recognised+}.
    """
    from rich.text import Text

    pieces = []
    for step in result.steps:
        if step.reference == step.hypothesis:
            pieces.append(Text(step.reference))
            continue
        gone = [Text(f"[-{step.reference}-]", "red")] if step.reference else []
        new = [Text("{+" + step.hypothesis + "+}", "green")] if step.hypothesis else []
        pieces += gone + new
    return Text(" ").join(pieces)
