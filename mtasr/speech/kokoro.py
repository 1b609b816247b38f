"""Kokoro-82M (hexgrad 2024): phonemes -> speech at 24 kHz, by onnxruntime.

The network is a StyleTTS 2 (Li et al. 2023) without its diffusion; a voice is a table of style vectors, one for each
number of phonemes. Facts about tokens, styles and the length of inputs are from the model's card.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.errors import MissingExtraError, ModelIntegrityError
from mtasr.extras import install_extra
from mtasr.models.folder import PHONEMES, SPEECH_ONNX, STYLES
from mtasr.models.hub import Progress
from mtasr.models.voices import VoiceModel, resolve
from mtasr.onnx_session import OnnxSession
from mtasr.speech.phonemes.english import EnglishPhonemes
from mtasr.speech.voice import Speech, checked_speed
from mtasr.system import available_cores

RATE = 24_000
#: Phonemes at once, without the padding at both ends.
_MOST_PHONEMES = 510
#: Values of a style vector.
_STYLE = 256
#: Seconds of silence after a sentence, and between parts of one that is too long to be said at once.
_SENTENCE_PAUSE, _PART_PAUSE = 0.3, 0.1
#: What is quieter than this share of the loudest sample, at the edges, is silence; and the seconds of it that stay.
_QUIET, _EDGE = 0.01, 0.02


class KokoroVoice:
    """A `Voice`."""

    licence: str
    rate = RATE

    def __init__(
        self,
        name: str,
        session: OnnxSession,
        phonemes: EnglishPhonemes,
        numbers: Mapping[str, int],
        styles: Float32Array,
        licence: str = "",
    ) -> None:
        """`styles` (T, 256): by the number of phonemes, from 1."""
        self.name, self.licence = name, licence
        self._session, self._phonemes, self._numbers, self._styles = session, phonemes, numbers, styles
        self._most = min(_MOST_PHONEMES, len(styles))

    @classmethod
    def load(
        cls,
        model: VoiceModel,
        parts: Sequence[str],
        name: str,
        *,
        progress: Progress | None = None,
        local_only: bool = False,
        threads: int = 0,
    ) -> KokoroVoice:
        """The voice whose styles are the mean of those of `parts`. Raises as `mtasr.load_voice` does."""
        try:
            import onnxruntime  # noqa: F401 - before the voice is fetched
        except ModuleNotFoundError as exc:
            raise MissingExtraError(f"speaking needs onnxruntime: {install_extra('speak')} brings it") from exc
        folder = resolve(model.name, progress=progress, local_only=local_only)
        session = OnnxSession(folder / SPEECH_ONNX, "a voice", threads=threads or available_cores())
        if session.inputs.keys() != {"tokens", "style", "speed"}:
            raise session.unfit(f"its inputs are {', '.join(sorted(session.inputs)) or 'none'}")
        styles = np.stack([_styles(folder / STYLES, each) for each in parts]).mean(axis=0, dtype=np.float32)
        return cls(name, session, EnglishPhonemes.read(folder), _numbers(folder / PHONEMES), styles, model.licence)

    def say(self, text: str, speed: float = 1.0) -> Speech:
        checked_speed(speed)
        return Speech(np.concatenate([np.zeros(0, np.float32), *self._sounds(text, speed)]), RATE)

    def _sounds(self, text: str, speed: float) -> Iterator[Float32Array]:
        pause = 0.0
        for phrase in self._phonemes.phrases(text, self._most):
            sound = self._sound(phrase.phonemes, speed)
            if len(sound):
                yield np.zeros(round(pause / speed * RATE), np.float32)
                yield sound
                pause = _SENTENCE_PAUSE if phrase.ends_sentence else _PART_PAUSE

    def _sound(self, phonemes: str, speed: float) -> Float32Array:
        numbers = [self._numbers[each] for each in phonemes if each in self._numbers]
        if not numbers:
            return np.zeros(0, np.float32)
        inputs = {
            "tokens": np.array([[0, *numbers, 0]], np.int64),
            "style": self._styles[len(numbers) - 1][None],
            "speed": np.array([speed], np.float32),
        }
        sound = np.clip(np.nan_to_num(self._session.run(inputs).ravel()), -1, 1)
        return trimmed(sound)


def trimmed(sound: Float32Array) -> Float32Array:
    """Sound (N,) at 24 kHz without the silence at its edges, but for 20 ms; nothing if all of it is silence."""
    (loud,) = np.nonzero(np.abs(sound) > _QUIET * np.abs(sound).max(initial=0))
    if not len(loud):
        return np.zeros(0, np.float32)
    edge = round(_EDGE * RATE)
    return sound[max(0, loud[0] - edge) : loud[-1] + 1 + edge]


def _styles(path: Path, voice: str) -> Float32Array:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = np.asarray(file[voice], np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as exc:
        raise ModelIntegrityError(f"{path} is damaged or has no {voice}: {exc}") from exc
    if found.size == 0 or found.size != len(found) * _STYLE or not np.isfinite(found).all():
        raise ModelIntegrityError(f"{path}: {voice} has the shape {found.shape}, or values that are not finite")
    return found.reshape(-1, _STYLE)


def _numbers(path: Path) -> dict[str, int]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))["vocab"]
        return {str(phoneme): int(number) for phoneme, number in document.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as exc:
        raise ModelIntegrityError(f"{path} is damaged or not a list of phonemes: {exc!r}") from exc
