"""Pseudo-labels: records with the text that a model writes for recordings, where it is sure enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtasr.data.records import Caption, Record
from mtasr.errors import InputError
from mtasr.transcribe import Model
from mtasr.transcript import Segment, Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a segment needs for its text to be used; the text of others is marked as unknown."""

    avg_logprob: float = -0.6
    compression_ratio: float = 2.2
    temperature: float = 0.0

    def holds(self, segment: Segment) -> bool:
        return (
            segment.avg_logprob >= self.avg_logprob
            and segment.compression_ratio <= self.compression_ratio
            and segment.temperature <= self.temperature
        )


def record_of(transcript: Transcript, audio: Path, source: str, trust: Trust) -> Record:
    """A transcript as a record. Speech without a segment is marked as unknown, so that it does not count as silence."""
    captions = [
        Caption(start=segment.start, end=segment.end, text=segment.text.strip() if trust.holds(segment) else "")
        for segment in transcript
    ]
    if transcript.coverage is not None:
        captions += [Caption(start=start, end=end, text="") for start, end in transcript.coverage.speech_without_text]
    return Record(
        id=audio.stem,
        audio=str(audio.absolute()),
        duration=transcript.duration,
        language=transcript.language,
        captions=tuple(sorted(captions, key=lambda caption: (caption.start, caption.end))),
        source=source,
    )


def label(
    recordings: Sequence[Path], model: Model, language: str | None, trust: Trust, problem: Callable[[str], None]
) -> Iterator[Record]:
    """A record for each recording, with its folder as the source. `problem` gets a line for each unreadable one."""
    for audio in recordings:
        try:
            transcript = model.transcribe(audio, language=language)
        except InputError as exc:
            problem(str(exc))
        else:
            yield record_of(transcript, audio, audio.absolute().parent.name, trust)
