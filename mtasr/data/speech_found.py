"""Where there is speech in recordings; captions compared with it, and sources compared with a model's transcripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtasr.audio.read import open_audio
from mtasr.data.records import Record
from mtasr.data.shards.archive import open_recording
from mtasr.data.texts import word_errors
from mtasr.edit_distance import ErrorCount
from mtasr.errors import FfmpegNotFoundError, InputError
from mtasr.spans import Interval
from mtasr.vad import SileroDetector, SpeechTrack

#: Speech probability from which audio counts as speech, as in decoding.
_THRESHOLD = 0.5
#: Seconds by which a caption may miss the speech.
_SLACK = 0.5


def speech_in(audio: str | Path) -> list[Interval]:
    """Start and end in seconds of each stretch of speech in the audio of a record. Raises `InputError`."""
    track = SpeechTrack(_THRESHOLD, SileroDetector())
    with open_recording(audio) as source, open_audio(source) as stream:
        for _ in track.follow(stream):
            pass
    return track.intervals()


class CaptionsBesideSpeech:
    """Drops records with much speech without captions, or many captions without speech: shifted, truncated, unrelated.

    `most` is the share from which it is too much.
    """

    def __init__(self, most: float = 0.4, speech: Callable[[str], list[Interval]] = speech_in) -> None:
        self._most, self._speech = most, speech

    def __call__(self, record: Record) -> str | None:
        if not record.timed:
            return None
        speech = self._speech(record.audio)
        # Captions without text mark speech whose words are unknown, so they cover it.
        captions = [(caption.start - _SLACK, caption.end + _SLACK) for caption in record.captions]
        if not speech:
            return "nobody speaks"
        if 1 - _overlap(speech, captions) / _total(speech) > self._most:
            return "speech without captions"
        texts = [(caption.start, caption.end) for caption in record.captions if caption.text.strip()]
        wide = [(start - _SLACK, end + _SLACK) for start, end in speech]
        silent = sum(_overlap([caption], wide) < 0.2 * (caption[1] - caption[0]) for caption in texts)
        return "captions without speech" if silent > self._most * len(texts) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAudit:
    """How well a source agrees with a model. A high `badness`, error rate times hours, deserves a look first."""

    source: str
    errors: ErrorCount
    hours: float

    @property
    def badness(self) -> float:
        return self.errors.rate * self.hours


def audit(
    records: Iterable[Record], hear: Callable[[Record], str], problem: Callable[[str], None]
) -> list[SourceAudit]:
    """Compare the texts of each source with those of `hear`, the worst source first (Whisper paper, section 2.1).

    `problem` gets a line for each recording that cannot be read; it counts for nothing. Raises `FfmpegNotFoundError`.
    """
    totals: dict[str, tuple[ErrorCount, float]] = {}
    for record in records:
        if record.task == "transcribe":
            try:
                found = word_errors(record.text, hear(record))
            except FfmpegNotFoundError:
                raise
            except InputError as exc:
                problem(str(exc))
                continue
            errors, hours = totals.get(record.source, (ErrorCount(), 0.0))
            totals[record.source] = errors + found, hours + record.duration / 3600
    audits = [SourceAudit(source=source, errors=errors, hours=hours) for source, (errors, hours) in totals.items()]
    return sorted(audits, key=lambda each: -each.badness)


def _total(stretches: Sequence[Interval]) -> float:
    return sum(end - start for start, end in stretches)


def _overlap(stretches: Sequence[Interval], others: Sequence[Interval]) -> float:
    """Seconds of `stretches`, which must not overlap each other, that lie in any of the others."""
    total = 0.0
    for start, end in stretches:
        reached = start
        for low, high in sorted(others):
            shared = min(high, end) - max(low, reached)
            if shared > 0:
                total += shared
                reached = min(high, end)
    return total
