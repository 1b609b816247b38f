"""`mtasr subtitle`."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mtasr import atomic
from mtasr.batch import outputs
from mtasr.cli.display import Display
from mtasr.cli.options.command import Command, option
from mtasr.cli.options.decoding import recognition_options, task_options, to_decoding_options, with_word_times
from mtasr.cli.options.files import (
    needs_word_times,
    output_dir_option,
    quiet_option,
    subtitle_options,
    to_layout,
    to_style,
)
from mtasr.cli.options.speakers import asks_for_speakers
from mtasr.cli.work import note_broken, transcribe_one, with_speakers
from mtasr.errors import UsageError

if TYPE_CHECKING:
    from mtasr.audio.video import SubtitleTrack
    from mtasr.formats.cues import Style
    from mtasr.options import DecodingOptions
    from mtasr.transcript import Transcript

_GROUP = "Video"


@click.command("subtitle", cls=Command)
@click.argument("video", metavar="VIDEO", type=click.Path(path_type=Path))
@option(_GROUP, "--embed", is_flag=True, configurable=False, help="Add a subtitle track that players can show or hide.")
@option(
    _GROUP,
    "--burn",
    is_flag=True,
    configurable=False,
    help="Draw the subtitles into the picture, which is encoded again.",
)
@option(
    _GROUP,
    "--subtitles",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Use these (srt, vtt, ass or json) instead of transcribing.",
)
@option(
    _GROUP,
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The new video.  [default: talk.subtitled.mp4 for talk.mp4]",
)
@output_dir_option
@subtitle_options
@quiet_option
@recognition_options
@task_options
@click.pass_context
def subtitle(ctx: click.Context, /, **params: Any) -> None:
    """Put subtitles into VIDEO, as a track (--embed) or in the picture (--burn).

    Transcribes VIDEO, unless --subtitles names a file. The result keeps the container if that is mp4, mov, mkv or webm.
    For other containers, --embed writes an mkv, because mkv holds any picture and sound; --burn writes an mp4.
    """
    from mtasr.audio.read import check_input
    from mtasr.audio.video import check_can_burn, check_can_embed, check_subtitles, container_of

    video: Path = params["video"]
    if params["embed"] == params["burn"]:
        raise UsageError("choose how to put the subtitles into the video: --embed or --burn")
    if params["burn"] and params["also_translate"]:
        raise UsageError("--burn draws one text into the picture: transcribe or translate, not both")
    if params["output"] is not None and ctx.get_parameter_source("directory") is ParameterSource.COMMANDLINE:
        raise UsageError("--output and --output-dir exclude each other")
    given: Path | None = params["subtitles"]
    options, style = _options(ctx, params)
    check_input(str(video))
    if given is not None and given.suffix.lower() != ".json":
        check_input(given)
        check_subtitles(given)
    directory = outputs.to_folder(params["directory"])
    result = params["output"] or directory / _default_name(video, burn=params["burn"])
    outputs.check_target(result, [str(video), *([] if given is None else [str(given)])])
    container_of(result)
    if params["burn"]:
        check_can_burn(result)
    else:
        check_can_embed(video, result)
    display = Display(quiet=params["quiet"], text=False)
    with tempfile.TemporaryDirectory(prefix="mtasr-") as folder:
        tracks = _tracks(ctx, video, result, options, style, display, Path(folder))
        atomic.write_file(result, partial(_put_in, video, tracks, result, display, burn=params["burn"]))
    display.note(f"{video}: wrote {result}")


def _options(ctx: click.Context, params: dict[str, Any]) -> tuple[DecodingOptions, Style]:
    """How to transcribe, and the look of the subtitles. Raises `UsageError` if they do not go together."""
    options = to_decoding_options(params)
    given: Path | None = params["subtitles"]
    if given is not None and given.suffix.lower() != ".json" and asks_for_speakers(ctx):
        raise UsageError(f"--diarize needs a transcript in JSON, and --subtitles is {given}")
    if given is not None:  # whose words may have times
        return options, to_style(params, replace(options, word_timestamps=True))
    needed = needs_word_times({"formats": ("srt",)} | params, options, to_layout(params))
    options = with_word_times(ctx, options, needed=needed)
    return options, to_style(params, options)


def _default_name(video: Path, *, burn: bool) -> str:
    from mtasr.audio.video import CONTAINERS

    ending = video.suffix.lower()
    if ending not in CONTAINERS:
        ending = ".mp4" if burn else ".mkv"
    return f"{video.stem}.subtitled{ending}"


def _tracks(
    ctx: click.Context,
    video: Path,
    result: Path,
    options: DecodingOptions,
    style: Style,
    display: Display,
    folder: Path,
) -> list[SubtitleTrack]:
    """The subtitles as files that ffmpeg can read."""
    from mtasr.audio.video import SubtitleTrack
    from mtasr.formats import transcript_json
    from mtasr.tokenizer.iso639 import three_letters

    given: Path | None = ctx.params["subtitles"]
    language = "en" if options.task == "translate" else options.language
    if given is not None and given.suffix.lower() != ".json":
        return [SubtitleTrack(file=given, language=three_letters(language))]
    if given is not None:
        transcript = with_speakers(ctx, transcript_json.read(given), str(video), display)
    else:
        transcript = transcribe_one(ctx, str(video), options, display)
    # ASS fixes the look of what is drawn. Players choose the look of a track, and srt fits all containers but webm.
    form = "ass" if ctx.params["burn"] else "vtt" if result.suffix.lower() == ".webm" else "srt"
    tracks: list[SubtitleTrack] = []
    for text, code in [(transcript, language or transcript.language), (transcript.translation, "en")]:
        if text is not None:
            file = folder / f"{len(tracks)}.{form}"
            _write_subtitles(text, file, ctx.params, style, video, display)
            tracks.append(SubtitleTrack(file=file, language=three_letters(code)))
    return tracks


def _write_subtitles(
    transcript: Transcript, file: Path, params: dict[str, Any], style: Style, video: Path, display: Display
) -> None:
    from mtasr.subtitles import lay_out

    layout = to_layout(params)
    if layout is not None:
        laid = lay_out(transcript, layout)
        note_broken(str(video), laid.broken, display)
        transcript = laid.transcript
    if file.suffix == ".ass" and not params["highlight_words"]:
        # Without words there is no karaoke, which shows each word in grey until it is spoken.
        transcript = replace(transcript, segments=tuple(replace(each, words=None) for each in transcript))
    outputs.write(transcript, {file.suffix[1:]: file}, style)


def _put_in(
    video: Path, tracks: list[SubtitleTrack], result: Path, display: Display, passing: Path, *, burn: bool
) -> None:
    from mtasr.audio.video import burn as draw_in
    from mtasr.audio.video import embed

    done = 0.0

    def position(seconds: float) -> None:
        nonlocal done
        done = seconds

    with display.working(str(result), lambda: done, lambda: None):
        if not burn:
            embed(video, tracks, passing, result, position)
            return
        missing = draw_in(video, tracks[0].file, passing, result, position)
    if missing:
        letters = " ".join(missing[:10])
        display.note(f"warning: {video}: no font on this machine has the letters {letters}; they are drawn as boxes")
