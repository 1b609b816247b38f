"""`mtasr view`."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtasr import atomic
from mtasr.batch import Input, outputs
from mtasr.batch.inputs import name_of
from mtasr.cli import failures
from mtasr.cli.display import Display
from mtasr.cli.options.command import Command, option
from mtasr.cli.options.decoding import recognition_options, to_decoding_options, with_word_times
from mtasr.cli.options.files import quiet_option
from mtasr.cli.options.speakers import to_speakers
from mtasr.cli.options.types import OneOf
from mtasr.cli.work import transcribe_one, with_speakers
from mtasr.errors import UsageError

if TYPE_CHECKING:
    from mtasr.transcript import Transcript
    from mtasr.view import Waveform

#: Bytes of the largest sound inside the page, 100 minutes of speech: browsers take long to open much larger pages.
_EMBEDDED = 25_000_000

#: Seconds, and share of the recording, by which a transcript may be longer than the recording.
_OTHER_LENGTH = 2.0, 0.02


@click.command("view", cls=Command)
@click.argument("file", metavar="FILE", type=click.Path())
@option(
    "Page",
    "--transcript",
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="Show this transcript instead of transcribing.",
)
@option(
    "Page",
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="HTML",
    help="The page.  [default: talk.html for talk.mp3]",
)
@option(
    "Page",
    "--sound",
    type=OneOf("auto", "embed", "beside"),
    default="auto",
    metavar="WHERE",
    help="embed: in the page; beside: in talk.sound.mp3; auto: by size.",
)
@quiet_option
@recognition_options
@click.pass_context
def view(ctx: click.Context, /, **params: Any) -> None:
    """Write a page to listen to FILE and read its text in a browser.

    The page shows the waveform, the speech in it, and the text. Colours mark words that the model was unsure of. Click
    a word to play it. The page is one file and needs no network. If the sound is larger than 25 MB (about 100 minutes),
    it is a second file beside the page.
    """
    from mtasr.audio.read import check_input
    from mtasr.formats import transcript_json

    source: str = params["file"]
    if source == "-":
        raise UsageError("view reads the recording twice, so it cannot use standard input: give the path of a file")
    options = with_word_times(ctx, to_decoding_options({"task": "transcribe"} | params), needed=True)
    _, tracks = to_speakers(ctx, params)
    check_input(source)
    page = params["output"] or Path(f"{Input(source).stem}.html")
    outputs.check_target(page, [source, str(params["transcript"] or source)])
    # Not FILE.mp3: that is the name of many recordings.
    beside = page.with_name(f"{page.stem}.sound.mp3")
    if params["sound"] != "embed":
        outputs.check_target(beside, [source])
    display = Display(quiet=params["quiet"], text=False)
    if params["transcript"] is not None:
        transcript = with_speakers(ctx, transcript_json.read(params["transcript"]), source, display)
    else:
        transcript = transcribe_one(ctx, source, options, display)
    with tempfile.TemporaryDirectory(prefix="mtasr-") as folder:
        heard = Path(folder, beside.name)
        waveform = _listen(source, heard, transcript, tracks.audio_stream, options.vad_threshold, display)
        if params["transcript"] is not None:
            _note_other_length(source, transcript, waveform, page, display)
        embedded = params["sound"] == "embed" or (params["sound"] == "auto" and heard.stat().st_size <= _EMBEDDED)
        _write(page, beside, heard, transcript, waveform, source, embedded=embedded)
    megabytes = f"{page.stat().st_size / 1e6:.1f} MB"
    where = f"wrote {page} ({megabytes})" if embedded else f"wrote {page} ({megabytes}) and {beside}, which it plays"
    display.note(f"{name_of(source)}: {where}")


def _listen(
    source: str, heard: Path, transcript: Transcript, track: int, threshold: float, display: Display
) -> Waveform:
    from mtasr.view import listen

    with display.working(name_of(source), lambda: 0.0, lambda: None):
        return listen(source, heard, track=track, threshold=threshold, speech=transcript.speech)


def _note_other_length(source: str, transcript: Transcript, waveform: Waveform, page: Path, display: Display) -> None:
    """Warn of a transcript that seems to be another recording's. Raises `UsageError` if it would replace a page."""
    allowed = max(_OTHER_LENGTH[0], _OTHER_LENGTH[1] * waveform.duration)
    latest = max((segment.end for segment in transcript), default=0.0)
    if latest <= waveform.duration + allowed:
        return
    doubt = (
        f"{name_of(source)}: lasts {waveform.duration:.1f} s, but the transcript goes on to {latest:.1f} s; "
        "it may be that of another recording"
    )
    if page.exists():
        raise UsageError(f"{doubt}, so {page} is not replaced")
    display.note(f"warning: {doubt}")


def _write(
    page: Path, beside: Path, heard: Path, transcript: Transcript, waveform: Waveform, source: str, *, embedded: bool
) -> None:
    from mtasr.view import Sound, write_page

    if not embedded:
        atomic.write_file(beside, partial(shutil.copyfile, heard))
    title = failures.printable(Path(name_of(source)).name)
    sound = Sound(heard, embedded)
    atomic.write_text(page, lambda stream: write_page(transcript, waveform, sound, title, stream))
