"""What every part exchanges: words, segments and the transcript, as frozen values in file time (seconds)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word with its times in seconds from the start of the file.

    `word` keeps its leading space, so that joining the words of a segment gives its text.
    `probability` is the mean probability of its tokens, 0 to 1.
    """

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of speech that the model wrote down in one go: 0 <= start < end <= duration.

    `tokens` are its token ids, timestamp tokens included. `avg_logprob` (natural logarithm, per token),
    `compression_ratio` (zlib, of the text), `no_speech_prob` and `temperature` describe the decoding of the
    window that the segment came from. `words` is None unless word times were asked for.
    """

    id: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float
    words: tuple[Word, ...] | None = None
    #: Code of the language spoken in it, None where that is not told.
    language: str | None = None
    #: Who speaks it, None where the channels are not told apart.
    speaker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One way to write down a window, and its mean log-probability per token (natural logarithm)."""

    text: str
    avg_logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """The most probable readings of the window from `start` to `end` seconds, the one in the transcript first.

    They differ in their text: those that differ in time stamps alone are told once.
    """

    start: float
    end: float
    readings: tuple[Reading, ...]
    #: As in `Segment`.
    speaker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What voice activity says of a transcript; times in seconds of the file.

    `speech` is how much speech there is, `speech_without_text` where some was not written down, and
    `text_without_speech` where something was written down and nobody was heard.
    """

    speech: float
    speech_without_text: tuple[tuple[float, float], ...] = ()
    text_without_speech: tuple[tuple[float, float], ...] = ()

    @property
    def complete(self) -> bool:
        return not self.speech_without_text and not self.text_without_speech


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """The whole result for one recording.

    `language` is a code such as "en": the language spoken (also when translating). `language_probability`
    is 1.0 when the language was given rather than detected. `duration` is the decoded length in seconds. `coverage`
    compares the text with where somebody speaks. `alternatives`, a window each, are there if they were asked for, and
    so is `translation`, the same recording in English. `text_language` is the code of the language of the text, None
    where that is not told or changes.
    """

    language: str
    language_probability: float
    duration: float
    segments: tuple[Segment, ...]
    coverage: Coverage | None = None
    alternatives: tuple[Alternatives, ...] | None = None
    translation: Transcript | None = None
    text_language: str | None = None

    @property
    def text(self) -> str:
        """All text, as the segments' texts joined."""
        return "".join(segment.text for segment in self.segments).strip()

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)
