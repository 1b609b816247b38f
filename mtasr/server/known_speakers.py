"""Known speakers of a request, as in OpenAI's API: names, and for each a data URL with a recording of the voice."""

from __future__ import annotations

import asyncio
import binascii
import re
import unicodedata
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtasr.audio.read import open_audio
from mtasr.audio.write import to_16_bits
from mtasr.errors import InputError
from mtasr.server.problems import bad_field, shown, unusable_voice
from mtasr.server.transcribing import in_thread
from mtasr.server.upload import REFERENCES, Upload
from mtasr.spans import SAMPLE_RATE

_NAMES = "known_speaker_names"
#: As many as OpenAI's API takes.
_MOST = 4
#: Seconds of a recording of a voice.
_SHORTEST, _LONGEST = 1.0, 30.0
#: Recordings decoded at a time.
_AT_ONCE = 2

#: A file is called after the speaker, so a name has none of the characters that some systems refuse, and no path.
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|.][^\x00-\x1f\x7f/\\:*?\"<>|]{0,59}")
_SCHEME = re.compile(rb"data:[^,]*;base64", re.IGNORECASE)
#: Bytes of a data URL before its comma, at most, and bytes decoded at a time: whole groups of four.
_HEAD, _PIECE = 256, 1 << 16


class KnownSpeakers:
    """Makes folders of known voices."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def folder(self, upload: Upload, names: Sequence[str]) -> Path | None:
        """A folder with a recording of each known voice, whose file is called after the speaker; None if none is known.

        It is deleted with the upload. Raises `Problem` 400 for a name or a recording that cannot be used.
        """
        if not names and not upload.references:
            return None
        _check_names(names)
        if len(names) != len(upload.references):
            raise bad_field(REFERENCES, f"{REFERENCES} must have one value for each of {_NAMES}")
        async with self._places:
            await in_thread(lambda: _write_voices(upload, names))
        return upload.voices


def _check_names(names: Sequence[str]) -> None:
    if len(names) > _MOST:
        raise bad_field(_NAMES, f"{_NAMES} can have {_MOST} values at most")
    for name in names:
        if not _NAME.fullmatch(name.strip()):
            raise bad_field(_NAMES, f"{_NAMES} must be plain names of up to 60 characters, not {shown(name)}")
    if len({unicodedata.normalize("NFC", name).strip().casefold() for name in names}) < len(names):
        raise bad_field(_NAMES, f"{_NAMES} must differ")


def _write_voices(upload: Upload, names: Sequence[str]) -> None:
    upload.voices.mkdir(mode=0o700)
    for name, reference in zip(names, upload.references, strict=True):
        sound = upload.voices / "sound"
        _decode(reference, sound, name)
        _write_wav(upload.voices / f"{name.strip()}.wav", _samples(sound, name))
        sound.unlink()


def _decode(reference: Path, target: Path, name: str) -> None:
    """Write the bytes that a data URL holds."""
    wrong = bad_field(REFERENCES, f"the reference of {shown(name)} must be a data URL: data:audio/wav;base64,...")
    with reference.open("rb") as source, target.open("wb") as sink:
        head, comma, _ = source.read(_HEAD).lstrip().partition(b",")
        if not comma or not _SCHEME.fullmatch(head):
            raise wrong
        source.seek(0)
        source.seek(source.read(_HEAD).index(b",") + 1)
        while piece := source.read(_PIECE):
            try:
                sink.write(binascii.a2b_base64(piece.strip(), strict_mode=True))
            except binascii.Error as error:
                raise wrong from error


def _samples(sound: Path, name: str) -> np.ndarray:
    """The samples of a recording of a voice, within the limits on its length."""
    blocks: list[np.ndarray] = []
    count = 0
    try:
        with open_audio(sound) as audio:
            for block in audio:
                blocks.append(block)
                count += len(block)
                if count > _LONGEST * SAMPLE_RATE:
                    break
    except InputError as error:
        message = str(error).replace(str(sound), f"the reference of {shown(name)}")
        raise unusable_voice(message) from error
    if not _SHORTEST <= count / SAMPLE_RATE <= _LONGEST:
        message = f"the reference of {shown(name)} must last from {_SHORTEST:g} to {_LONGEST:g} seconds"
        raise unusable_voice(message)
    return np.concatenate(blocks)


def _write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(to_16_bits(samples).tobytes())
