"""`mtasr speak-translation`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtasr.batch import outputs
from mtasr.cli import failures
from mtasr.cli.display import Display
from mtasr.cli.failures import printable, terminable
from mtasr.cli.options.command import Command, option
from mtasr.cli.options.decoding import recognition_options, to_decoding_options
from mtasr.cli.options.files import files_argument, output_dir_short_option, output_format_option, quiet_option
from mtasr.cli.work import load
from mtasr.errors import InputError, UsageError
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.speech.voice import DEFAULT_VOICE, voice_names

if TYPE_CHECKING:
    from mtasr.dubbing.dub import Dub
    from mtasr.options import DecodingOptions
    from mtasr.speech.voice import Voice
    from mtasr.transcribe import Model

_DUB = "English track"


@click.command("speak-translation", cls=Command)
@files_argument
@option(_DUB, "--voice", default=DEFAULT_VOICE, show_default=True, metavar="NAME", help="Who speaks; see mtasr speak.")
@option(
    _DUB,
    "--keep-original",
    type=click.FloatRange(-60, 0),
    metavar="DB",
    help="Leave the original audible underneath, changed by this many dB, such as -18.",
)
@option(
    _DUB,
    "--max-speed",
    type=click.FloatRange(1, 2),
    default=1.3,
    show_default=True,
    help="How much faster than by itself the voice may speak where time is short.",
)
@option(
    _DUB,
    "--resume",
    is_flag=True,
    configurable=False,
    help="Skip recordings whose result is there already, from the same recording and voice.",
)
@output_dir_short_option
@output_format_option(formats=OUTPUT_FORMATS, example="srt,vtt", configurable=False)
@quiet_option
@recognition_options
@click.pass_context
def speak_translation(ctx: click.Context, /, **params: Any) -> int:
    """Give recordings an English voice that speaks their translation.

    Writes talk.en.mp4 for talk.mp4: the same picture, an English track that is marked as synthetic, and the original
    sound as a second track. A recording without a picture becomes speech alone. --output-format also writes what is
    said as subtitles. Needs the extra `speak`.
    """
    options = to_decoding_options(params | {"task": "translate"})
    unknown = [each for each in params["voice"].split("+") if each not in voice_names()]
    if unknown:
        raise UsageError(f"there is no voice {unknown[0]!r}; the voices are {', '.join(voice_names())}")
    folder = outputs.to_folder(params["directory"])
    run = _Run(ctx, folder, options)
    return run.all(params["files"])


class _Run:
    """Recordings that are dubbed one after the other; models are loaded for the first that needs them."""

    def __init__(self, ctx: click.Context, folder: Path, options: DecodingOptions) -> None:
        self._params, self._folder, self._options = ctx.params, folder, options
        self._display = Display(quiet=ctx.params["quiet"], text=False)
        self._debug: bool = ctx.meta.get(failures.DEBUG, False)
        #: By the files that they become.
        self._owners: dict[Path, Path] = {}
        self._model: Model | None = None
        self._voice: Voice | None = None

    def all(self, files: tuple[str, ...]) -> int:
        attempts = failures.Attempts(len(files), partial(failures.report, debug=self._debug))
        with terminable(), outputs.new_folders([self._folder]):
            for file in files:
                attempts.attempt(file, partial(self._one, Path(file)))
        return attempts.code

    def _one(self, recording: Path) -> None:
        from mtasr.audio.read import check_input
        from mtasr.dubbing.dub import check_result, dub_transcript, dubbed_name, is_dubbed

        check_input(str(recording))
        if str(recording) == "-" or not recording.is_file():
            raise InputError(f"{recording}: only files can be dubbed")
        target = self._folder / dubbed_name(recording)
        check_result(target, recording)
        if (owner := self._owners.setdefault(target, recording)) != recording:
            raise UsageError(
                f"{owner} and {recording} would both be written to {target}; run them with different --output-dir"
            )
        texts = {form: target.with_suffix(f".{form}") for form in self._params["formats"]}
        there = all(each.exists() for each in [target, *texts.values()])
        if self._params["resume"] and there and is_dubbed(target, recording, self._params["voice"]):
            self._display.note(printable(f"{recording}: {target} is there already"))
            return
        model, voice = self._loaded()
        heard = model.stream(str(recording), self._options)
        with (
            heard as stream,
            self._display.working(str(recording), lambda: stream.position, lambda: stream.total, lambda: False),
        ):
            transcript = stream.transcript()
        for warning in stream.warnings:
            self._display.note(f"warning: {warning}")
        done = [0.0]
        with self._display.working(
            f"speaking {recording}", lambda: done[0], lambda: transcript.duration, lambda: False
        ):
            dub = dub_transcript(
                recording,
                transcript,
                voice,
                target,
                options=self._options,
                keep_original=self._params["keep_original"],
                max_speed=self._params["max_speed"],
                audio_stream=self._params["audio_stream"],
                progress=lambda seconds: done.__setitem__(0, seconds),
            )
        for form, file in texts.items():
            dub.transcript.write(file, form)
        self._tell(recording, dub)

    def _loaded(self) -> tuple[Model, Voice]:
        if self._model is None or self._voice is None:
            from mtasr.speech.voice import load_voice

            # The voice first: it is the smaller download, and needs the extra.
            with self._display.downloads() as progress:
                self._voice = load_voice(self._params["voice"], progress=progress)
            self._model = load(self._params, self._display, "translate")
        return self._model, self._voice

    def _tell(self, recording: Path, dub: Dub) -> None:
        from mtasr.dubbing.dub import LATE

        words = [f"{recording}: wrote {dub.path}"]
        if dub.late:
            latest = max(each.late for each in dub.late)
            words.append(f"{len(dub.late)} of {len(dub.lines)} lines are late, by {latest:.1f} s at most")
        if dub.beyond > LATE:
            words.append(f"the voice goes on for {dub.beyond:.1f} s after the end")
        if dub.left_out:
            words.append(f"{len(dub.left_out)} not spoken, because the translation is not reliable")
        self._display.note(printable("; ".join(words)))
