"""Speech into files that say that it is synthetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mtasr.atomic import check_replaceable, write_file
from mtasr.audio.write import speech_ending, write_sound
from mtasr.errors import UsageError
from mtasr.speech.marking import new_mark
from mtasr.speech.voice import Speech, Voice

#: What `announce` says, and the seconds of silence after it.
ANNOUNCEMENT = "The following is synthetic speech."
_PAUSE = 0.6


def save_speech(voice: Voice, text: str, target: str | Path, *, speed: float = 1.0, announce: bool = False) -> Speech:
    """Have the voice read the text, and write it with its mark; the ending of the target says in which format.

    Raises `UsageError` for a text without letters and digits or another ending than in `SPEECH_ENDINGS`, `OutputError`
    if the target cannot be written, and then leaves what was there.
    """
    target = Path(target)
    ending = speech_ending(target)
    check_replaceable(target)
    speech = spoken(voice, text, speed=speed, announce=announce)
    mark = new_mark(engine="text", voice=voice.name, source=text.encode())
    write_file(target, lambda path: write_sound(speech.samples, speech.rate, path, ending, mark.tags))
    return speech


def spoken(voice: Voice, text: str, *, speed: float = 1.0, announce: bool = False) -> Speech:
    """The text, after an announcement if that is wanted. Raises `UsageError` if there is nothing in it to say."""
    speech = voice.say(text, speed)
    if not len(speech.samples):
        raise UsageError("there is nothing to say: the text has no letters or digits that the voice can read")
    if not announce:
        return speech
    first = voice.say(ANNOUNCEMENT, speed).samples
    pause = np.zeros(round(_PAUSE * speech.rate), np.float32)
    return replace(speech, samples=np.concatenate([first, pause, speech.samples]))
