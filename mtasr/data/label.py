"""Pseudo-labels: records with the text that a model writes for recordings, where it is sure enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mtasr.data.reading import is_sharded, read_records
from mtasr.data.records import Caption, Record
from mtasr.data.shards.archive import open_recording
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


def recordings_in(paths: Iterable[Path]) -> Iterator[Record]:
    """A record without captions for each recording, with its folder as the source; the records of shards as they are.

    Raises what `read_records` raises, for shards.
    """
    for path in paths:
        if is_sharded(path):
            yield from read_records(path)
        else:
            audio = path.absolute()
            yield Record(
                id=path.stem, audio=str(audio), duration=0, language=None, captions=(), source=audio.parent.name
            )


def labelled(record: Record, model: Model, language: str | None, trust: Trust) -> Record:
    """The record with the text that the model writes for it. Raises `InputError` if its audio cannot be read."""
    with open_recording(record.audio) as source:
        return record_of(model.transcribe(source, language=language), record, trust)


def record_of(transcript: Transcript, record: Record, trust: Trust) -> Record:
    """The record with the text of a transcript.

    Speech without a segment is marked as unknown, so that it does not count as silence.
    """
    captions = [
        Caption(start=segment.start, end=segment.end, text=segment.text.strip() if trust.holds(segment) else "")
        for segment in transcript
    ]
    if transcript.coverage is not None:
        captions += [Caption(start=start, end=end, text="") for start, end in transcript.coverage.speech_without_text]
    return replace(
        record,
        duration=transcript.duration,
        language=transcript.language,
        captions=tuple(sorted(captions, key=lambda caption: (caption.start, caption.end))),
        task="transcribe",
        timed=True,
    )


def label(
    records: Iterable[Record], labelled: Callable[[Record], Record], problem: Callable[[str], None]
) -> Iterator[Record]:
    """The records with new text, in order. `problem` gets a line for each whose audio cannot be read."""
    for record in records:
        try:
            yield labelled(record)
        except InputError as exc:
            problem(str(exc))
