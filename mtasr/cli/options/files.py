"""What comes in and goes out: recordings, results, batches, and the look of subtitles."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from mtasr.cli.options.command import AddressOption, Decorator, normalise, option, switch, together
from mtasr.cli.options.types import Count, NoneOr, OneOf, SomeOf, flat
from mtasr.errors import UsageError
from mtasr.formats.cues import Style
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.options import DecodingOptions
from mtasr.subtitles import STYLES, Layout

_OUTPUT, _BATCHES, _SUBTITLES = "Output", "Batches", "Subtitles"


def _named_files(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    if value.count("-") > 1:
        raise click.BadParameter("standard input (-) can be read only once.", ctx, param)
    if "" in value:
        raise click.BadParameter("a file name is empty.", ctx, param)
    return value


def _complete_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


files_argument = click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, callback=_named_files, shell_complete=_complete_file
)

inputs_argument = click.argument(
    "files", metavar="[FILE]...", nargs=-1, callback=_named_files, shell_complete=_complete_file
)

quiet_option = option(_OUTPUT, "--quiet", "-q", is_flag=True, help="Print only errors.")


def _output_dir(*short: str) -> Decorator:
    return option(
        _OUTPUT,
        "--output-dir",
        *short,
        "directory",
        type=click.Path(),
        default=".",
        configurable=True,
        metavar="FOLDER",
        help="Folder for the results, or its address in a store.",
    )


#: For commands whose -o is something else.
output_dir_option = _output_dir()
output_dir_short_option = _output_dir("-o")


def output_format_option(
    *default: str,
    formats: Iterable[str] = (*OUTPUT_FORMATS, "all"),
    example: str = "srt,json",
    configurable: bool | None = None,
) -> Decorator:
    return option(
        _OUTPUT,
        "--output-format",
        "-f",
        "formats",
        type=SomeOf(*formats),
        multiple=True,
        default=default,
        callback=flat,
        configurable=configurable,
        help=f"Files to write, such as {example}.",
    )


output_options = together(
    output_format_option("srt"),
    output_dir_short_option,
    switch(_OUTPUT, "verbose", default=True, help="Print the text as it is recognised."),
    option(_OUTPUT, "--timings", type=click.Path(dir_okay=False), hidden=True, help="Write seconds by stage as JSON."),
    switch(
        _OUTPUT,
        "strict",
        default=False,
        help="Exit with code 6 if speech has no text, or text no speech.",
    ),
    quiet_option,
)

recursive_option = option(_BATCHES, "--recursive", "-r", is_flag=True, help="Look into subfolders too.")

progress_option = option(
    _OUTPUT,
    "--progress",
    type=OneOf("bar", "json", "none"),
    default="bar",
    help="json: for programs, on standard error.",
)

files_from_option = option(
    _BATCHES,
    "--files-from",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="LIST",
    help="File with one path per line; - for standard input.",
)

allow_scheme_option = option(
    _BATCHES,
    "--allow-scheme",
    "allowed_schemes",
    multiple=True,
    metavar="SCHEME",
    show_default=False,
    help="Open addresses in LIST that begin with SCHEME://, such as s3 or https. Repeatable.",
)

skip_existing_option = option(
    _BATCHES, "--skip-existing", is_flag=True, configurable=False, help="Skip recordings whose results exist."
)

cluster_option = option(
    _BATCHES,
    "--cluster",
    cls=AddressOption,
    metavar="[HOST:PORT]",
    help="Decode on the machines of a Ray cluster.",
)

batch_options = together(
    files_from_option,
    allow_scheme_option,
    recursive_option,
    option(_BATCHES, "--overwrite", is_flag=True, configurable=False, help="Replace existing results (the default)."),
    skip_existing_option,
    option(_BATCHES, "--resume", is_flag=True, configurable=False, help="Continue where the same command stopped."),
    progress_option,
)

subtitle_options = together(
    option(
        _SUBTITLES,
        "--subtitle-style",
        type=OneOf(*STYLES),
        default="web",
        metavar="STYLE",
        help=f"{', '.join(STYLES)} (no layout).",
    ),
    option(_SUBTITLES, "--max-line-width", type=NoneOr(Count(1)), help="Characters per line.  [default: the style's]"),
    option(_SUBTITLES, "--max-line-count", type=NoneOr(Count(1)), help="Lines per subtitle.  [default: the style's]"),
    option(_SUBTITLES, "--max-words-per-line", type=NoneOr(Count(1)), help="Words per line.  [default: the style's]"),
    option(
        _SUBTITLES,
        "--max-cps",
        type=NoneOr(click.FLOAT),
        metavar="X",
        help="Characters per second.  [default: the style's]",
    ),
    switch(_SUBTITLES, "highlight-words", default=False, help="Underline the spoken word, in SRT and VTT."),
)


def check_readings(params: Mapping[str, Any], options: DecodingOptions) -> None:
    """Raise `UsageError` if several readings are asked for, and no format that has them."""
    if options.n_best > 1 and not {"json", "all"} & set(params["formats"]):
        raise UsageError("--n-best goes into JSON: add --output-format json")


def to_style(params: Mapping[str, Any], options: DecodingOptions) -> Style:
    """The look of subtitles in a command's parameters. Raises `UsageError` for one that needs missing word times."""
    if params["highlight_words"] and not options.word_timestamps:
        raise UsageError("--highlight-words needs the times of words: add --word-timestamps")
    return Style(highlight_words=params["highlight_words"])


def to_layout(params: Mapping[str, Any]) -> Layout | None:
    """The `Layout` in a command's parameters, None for raw segments. Raises `UsageError` for limits without one."""
    layout = STYLES[params["subtitle_style"]]
    limits = ("max_line_width", "max_line_count", "max_words_per_line", "max_cps")
    given = {name: params[name] for name in limits if params[name] is not None}
    if layout is None:
        if given:
            raise UsageError(f"--{normalise(next(iter(given)))} needs a --subtitle-style other than raw")
        return None
    # A limit that the user gives holds for every writing system.
    given |= {f"{name}_cjk": given[name] for name in ("max_line_width", "max_cps") if name in given}
    return dataclasses.replace(layout, **given)


def needs_word_times(params: Mapping[str, Any], options: DecodingOptions, layout: Layout | None) -> bool:
    """Whether the layout of subtitles should have word times, if the user has not decided.

    Not of a translation, where word times are vague: the model translates sentences.
    """
    subtitled = any(form == "all" or OUTPUT_FORMATS[form].is_subtitle for form in params["formats"])
    return layout is not None and subtitled and options.task == "transcribe"
