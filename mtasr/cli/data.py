"""`mtasr data`: recordings with text of any quality -> records fit for training."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtasr.batch.outputs import check_target
from mtasr.cli import clusters
from mtasr.cli.display import print_line
from mtasr.cli.failures import ExitCode, printable, terminable
from mtasr.cli.options.command import AddressOption, Command, option
from mtasr.cli.options.types import Language, OneOf
from mtasr.errors import InputError, UsageError

if TYPE_CHECKING:
    from mtasr.data.filters import Filter
    from mtasr.data.records import Record
    from mtasr.data.shards.packing import Packed

_PATH = click.Path(path_type=Path)
_RECORDS = click.argument("records", metavar="RECORDS", type=_PATH)
_cluster = option(
    "Other",
    "--cluster",
    cls=AddressOption,
    configurable=False,
    metavar="[HOST:PORT]",
    help="Work on the machines of a Ray cluster.",
)


@click.group("data")
def data() -> None:
    """Prepare data for training: gather, filter and audit recordings with their text.

    RECORDS is a file with one recording and its text per line, in JSON; or a shard, a folder of shards or a pattern
    ('talks/*.tar'), which have the recordings in them. Needs the extra `train`.
    """


@data.command()
@click.argument("source", metavar="SRC", type=_PATH)
@click.argument("records", metavar="RECORDS", type=_PATH)
@click.option(
    "--language",
    type=Language(),
    help="Language spoken in the folder, or in recordings for which the manifest names none.",
)
@click.option(
    "--source-name", metavar="NAME", help="The name of this source in reports.  [default: folder or file name]"
)
@click.option(
    "--time-by-speech",
    is_flag=True,
    help="If a text has no times, let it begin with the first speech and end with the last. For short recordings.",
)
def ingest(source: Path, records: Path, language: str | None, source_name: str | None, time_by_speech: bool) -> int:
    """Gather recordings with their text into RECORDS.

    SRC is a folder of recordings with srt, vtt, json or txt files of the same name beside them, or a manifest: CSV or
    TSV with the columns audio and text (optionally language and translation), JSON or JSONL with the same fields, or
    lhotse cuts. talk.en.srt beside a recording in another language is its English translation.
    """
    from mtasr.data.ingest import IngestOptions, ingest
    from mtasr.data.records import counted, write_records

    _check_target(records, [source])
    options = IngestOptions(language=language, source=source_name, time_by_speech=time_by_speech)
    skipped, unnamed = _Skipped(), 0

    def gathered() -> Iterator[Record]:
        nonlocal unnamed
        for record in ingest(source, options, skipped):
            unnamed += record.language is None
            yield record

    with terminable():
        count = write_records(_some(gathered(), skipped), records)
    _print_count(count, records)
    if unnamed:
        click.echo(
            f"mtasr: warning: {counted(unnamed)} without a language, which training refuses: give --language, or name "
            "the language of each (talk.it.srt, a column language)",
            err=True,
        )
    return skipped.code


def _some(records: Iterable[Record], skipped: _Skipped) -> Iterator[Record]:
    """The records; raises `InputError` if every one was skipped, so that no empty file is written."""
    count = 0
    for count, record in enumerate(records, start=1):  # noqa: B007
        yield record
    if not count and skipped.code is not ExitCode.DONE:
        raise InputError("no recording can be used, so nothing is written")


def _check_target(target: Path, sources: Sequence[Path]) -> None:
    """Check that lines can be written there, and that this replaces neither a source nor any other shard.

    Raises `UsageError`, `OutputError`, and `InputError` for sources that are not there.
    """
    from mtasr.data.reading import files_of, is_sharded
    from mtasr.data.shards.archive import ENDING

    if target.suffix == ENDING:
        raise UsageError(f"{target}: this writes lines of JSON; mtasr data pack makes shards of them")
    files = [[each] if each.is_dir() and not is_sharded(each) else files_of(each) for each in sources]
    check_target(target, [str(file) for some in files for file in some])


class _Skipped:
    """Prints a line for each recording that cannot be used, and makes the exit code tell of it."""

    code = ExitCode.DONE

    def __call__(self, text: str) -> None:
        self.code = ExitCode.PART_FAILED
        click.echo(f"mtasr: skipped: {printable(text)}", err=True)


def _print_count(count: int, records: Path) -> None:
    from mtasr.data.records import counted

    click.echo(printable(f"{counted(count)} written to {records}"), err=True)


@data.command(cls=Command)
@click.argument("recordings", metavar="FILE...", nargs=-1, required=True, type=_PATH)
@click.argument("records", metavar="RECORDS", type=_PATH)
@click.option("--language", type=Language(), help="The language spoken.  [default: detected]")
@click.option("--model", metavar="NAME", default="base", show_default=True, help="The model that writes the text.")
@click.option(
    "--least-logprob",
    type=click.FloatRange(max=0),
    default=-0.6,
    show_default=True,
    help="Mark the text of segments with a lower log-probability as unknown.",
)
@_cluster
def label(
    recordings: tuple[Path, ...],
    records: Path,
    language: str | None,
    model: str,
    least_logprob: float,
    cluster: str | None,
) -> int:
    """Transcribe recordings that have no text, and write them to RECORDS.

    FILE is a recording, or a shard, a folder of shards or a pattern, whose recordings get new text.

    RECORDS appears when all recordings are transcribed. A run that is stopped keeps no results, and the next one begins
    anew, also with --cluster.

    Train on them to keep what the model knows (`mtasr finetune --rehearsal`), or to teach a smaller model.
    """
    from mtasr.data.label import Trust, labelled, recordings_in
    from mtasr.data.label import label as label_recordings
    from mtasr.data.records import write_records
    from mtasr.transcribe import load_model

    _check_target(records, recordings)
    skipped = _Skipped()
    with terminable():
        trust = Trust(avg_logprob=least_logprob)
        if cluster is not None:
            paths = [str(each) for each in recordings]
            with clusters.record_workers(cluster, model, paths) as workers:
                found = workers.labelled(recordings_in(recordings), language, trust, skipped)
                count = write_records(_some(found, skipped), records)
        else:
            loaded = load_model(model)
            found = label_recordings(
                recordings_in(recordings), lambda record: labelled(record, loaded, language, trust), skipped
            )
            count = write_records(_some(found, skipped), records)
    _print_count(count, records)
    return skipped.code


@data.command()
@_RECORDS
@click.argument("folder", metavar="FOLDER", type=_PATH)
@click.option(
    "--audio",
    type=OneOf("flac", "opus", "copy"),
    default="flac",
    show_default=True,
    help="FLAC has all that training hears, Opus is smaller, copy keeps the files as they are.",
)
@click.option(
    "--shard-size",
    metavar="MB",
    type=click.IntRange(min=1, max=1_000_000),
    default=500,
    show_default=True,
    help="Megabytes from which a shard ends.",
)
@click.option("--shuffle", metavar="SEED", type=click.IntRange(min=0), help="Put the records into a random order.")
def pack(records: Path, folder: Path, audio: Packed, shard_size: int, shuffle: int | None) -> int:
    """Write RECORDS with their audio to tar files in FOLDER, the shards, laid out as WebDataset does.

    Commands that take RECORDS take FOLDER as well. FOLDER appears when all shards are written. The same command
    continues a packing that was stopped.
    """
    from mtasr.data.records import counted
    from mtasr.data.shards.packing import pack

    skipped = _Skipped()
    with terminable():
        written = pack(records, folder, skipped, audio=audio, shard_bytes=shard_size * 1_000_000, shuffle=shuffle)
    if written.before:
        click.echo(f"{counted(written.before)} were there already", err=True)
    shards = f"{written.shards} shard" + "s" * (written.shards != 1)
    click.echo(printable(f"{counted(written.records)} written to {folder}, in {shards}"), err=True)
    if written.skipped:
        click.echo(f"mtasr: {counted(written.skipped)} left out, because their recordings cannot be read", err=True)
    return ExitCode.PART_FAILED if written.skipped else ExitCode.DONE


@data.command("filter", cls=Command)
@_RECORDS
@click.argument("kept", metavar="KEPT", type=_PATH)
@click.option("--report", "report_path", type=_PATH, metavar="FILE", help="Also write the report as JSON.")
@click.option(
    "--evaluation",
    type=_PATH,
    multiple=True,
    metavar="RECORDS",
    help="Drop recordings and texts that are in this file. You can give several.",
)
@click.option(
    "--speech/--no-speech",
    default=True,
    show_default=True,
    help="Drop records whose captions do not match the voice activity.",
)
@click.option("--model", metavar="NAME", help="Drop records whose captions this model finds improbable. Slow.")
@click.option(
    "--duplicates/--no-duplicates",
    default=True,
    show_default=True,
    help="Drop texts that were there before, which takes 5 GB of memory per million records.",
)
@_cluster
def filter_command(
    records: Path,
    kept: Path,
    report_path: Path | None,
    evaluation: tuple[Path, ...],
    speech: bool,
    model: str | None,
    duplicates: bool,
    cluster: str | None,
) -> int:
    """Copy to KEPT the records that are fit for training.

    Drops text that machines wrote, text in another language than its record says, impossible times and speaking rates,
    boilerplate, duplicates, captions outside the speech, and recordings that cannot be read. The report gives reasons
    and examples.

    KEPT appears when all records are judged. A run that is stopped keeps no results, and the next one begins anew, also
    with --cluster.
    """
    import json

    from mtasr.data.duplicates import NearDuplicates
    from mtasr.data.filtering import FAILURES, Report, judged
    from mtasr.data.filtering import kept as kept_records
    from mtasr.data.reading import read_records
    from mtasr.data.records import write_records, written_whole

    for target in (kept, report_path):
        if target is not None:
            _check_target(target, [records, *evaluation])
    report = Report()
    if cluster is not None and not speech and model is None:
        raise UsageError("--cluster has nothing to do with --no-speech and without --model")
    with terminable(), contextlib.ExitStack() as stack:
        if cluster is not None:
            filters = list(filters_for(evaluation, speech=False, model=None))
            remaining = read_records(records)
            first = list(itertools.islice(remaining, clusters.LOOKED_FOR))
            workers = stack.enter_context(clusters.record_workers(cluster, model, [each.audio for each in first]))
            found = itertools.chain(first, remaining)
            verdicts = workers.judged(found, filters, speech=speech, model=model is not None)
        else:
            filters = list(filters_for(evaluation, speech=speech, model=model))
            verdicts = judged(read_records(records), filters)
        # Last, so that it does not remember a record that another filter drops.
        write_records(kept_records(verdicts, report, [NearDuplicates()] if duplicates else []), kept)
        if report_path is not None:
            with written_whole(report_path) as staging:
                text = json.dumps(report.to_json(), ensure_ascii=False, indent=1)
                staging.write_text(text, encoding="utf-8", errors="backslashreplace")
    for line in report.lines():
        print_line(printable(line))
    has_failed = any(reason in FAILURES for reason, _ in report.dropped)
    return ExitCode.PART_FAILED if has_failed else ExitCode.DONE


def filters_for(evaluation: tuple[Path, ...], *, speech: bool, model: str | None) -> Iterator[Filter]:
    """The filters that judge each record by itself, cheap ones first: they spare the others what they drop."""
    from mtasr.data import duplicates, speech_found
    from mtasr.data.filters import TEXT_FILTERS
    from mtasr.data.reading import read_records

    yield from TEXT_FILTERS
    if evaluation:
        yield duplicates.EvaluationOverlap(record for path in evaluation for record in read_records(path))
    if speech:
        yield speech_found.CaptionsBesideSpeech()
    if model is not None:
        from mtasr.data.listening import ModelHears
        from mtasr.transcribe import load_model

        yield ModelHears(load_model(model).engine)


@data.command()
@_RECORDS
@click.option(
    "--model", metavar="NAME", default="base", show_default=True, help="The model whose transcripts are compared."
)
def audit(records: Path, model: str) -> int:
    """Rank sources by how much of their text is probably wrong.

    The rank is the hours of a source times its word error rate against a model's transcripts. Prints word error
    rate, hours and source, separated by tabs. Check the first sources by hand.
    """
    from mtasr.data.reading import read_records
    from mtasr.data.shards.archive import open_recording
    from mtasr.data.speech_found import audit as audit_sources
    from mtasr.transcribe import load_model

    loaded, skipped = load_model(model), _Skipped()

    def heard(record: Record) -> str:
        with open_recording(record.audio) as source:
            return loaded.transcribe(source).text

    for each in audit_sources(read_records(records), heard, skipped):
        print_line(f"{each.errors.rate:.3f}\t{each.hours:.3f}\t{printable(each.source)}")
    return skipped.code
