"""`mtasr speak`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mtasr.audio.write import SPEECH_ENDINGS, speech_ending
from mtasr.cli.display import Display, print_line
from mtasr.cli.failures import printable, terminable
from mtasr.cli.options.command import Command, debug_option, option
from mtasr.cli.options.files import quiet_option
from mtasr.errors import InputError, InputNotFoundError, UsageError
from mtasr.speech.voice import DEFAULT_VOICE, FASTEST, SLOWEST, voice_names

_SPEECH = "Speech"


@click.command("speak", cls=Command)
@click.argument("text", metavar="[TEXT]", required=False)
@option(
    _SPEECH,
    "--text-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Read this file aloud, in UTF-8, instead of TEXT.",
)
@option(
    _SPEECH,
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"Where to write the speech. Its ending says how: {', '.join(SPEECH_ENDINGS)}.",
)
@option(
    _SPEECH,
    "--voice",
    default=DEFAULT_VOICE,
    show_default=True,
    metavar="NAME",
    help="The voice; A+B is a voice halfway between A and B. --list-voices shows the names.",
)
@option(
    _SPEECH,
    "--speed",
    type=click.FloatRange(SLOWEST, FASTEST),
    default=1.0,
    show_default=True,
    help="How much faster than by itself the voice speaks.",
)
@option(_SPEECH, "--announce", is_flag=True, help="Say first that a synthetic voice speaks.")
@option(_SPEECH, "--list-voices", is_flag=True, configurable=False, help="Print the voices and their licences.")
@quiet_option
@debug_option
def speak(**params: Any) -> int | None:
    """Read English text aloud.

    TEXT is what to say; - reads it from standard input. The speech is marked as synthetic in the tags of the file;
    mtasr check-mark shows the mark. The first use downloads a voice (73 MB). Needs the extra `speak`.
    """
    if params["list_voices"]:
        for name, model in voice_names().items():
            print_line(f"{name}\t{model.name}\t{model.licence}")
        return None
    target = _target(params["output"])
    text = _text(params["text"], params["text_file"])
    # Here because NumPy and the voice take their time, and most mistakes are known without them.
    from mtasr.speech.files import save_speech
    from mtasr.speech.voice import load_voice

    display = Display(quiet=params["quiet"])
    with terminable():
        with display.downloads() as progress:
            voice = load_voice(params["voice"], progress=progress)
        speech = save_speech(voice, text, target, speed=params["speed"], announce=params["announce"])
    display.note(printable(f"{speech.seconds:.1f} s of speech in {target}"))
    return None


def _target(output: Path | None) -> Path:
    if output is None:
        raise UsageError("where to? Name a file with --output, such as speech.wav")
    speech_ending(output)
    return output


def _text(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise UsageError("give either TEXT or --text-file" + (", not both" if text is not None else ""))
    if text == "-":
        data = sys.stdin.buffer.read()
    elif file is None:
        return text or ""
    else:
        try:
            data = file.read_bytes()
        except OSError as exc:
            raise InputNotFoundError(f"{file}: {exc.strerror or exc}") from exc
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InputError(f"{file or 'standard input'}: is not text in UTF-8") from exc
