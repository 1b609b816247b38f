"""Replaces `mtasr.transcribe.Model`, and recognises what a test sets.

Run as a program it is `mtasr` with this model, for the tests that need a process of their own.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Self

from click.testing import Result

from mtasr.audio.tracks import Tracks
from mtasr.engines.engine import LanguageGuess
from mtasr.options import DecodingOptions
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Coverage, Segment, Transcript, Turn

#: Runs the command line in this process: run("transcribe", "a.wav").
Run = Callable[..., Result]


def segment(number: int, text: str) -> Segment:
    return Segment(
        id=number,
        start=number * 2.0,
        end=number * 2.0 + 2.0,
        text=text,
        tokens=(1,),
        avg_logprob=-0.1,
        compression_ratio=1.0,
        no_speech_prob=0.0,
        temperature=0.0,
    )


@dataclass
class FakeModel:
    texts: list[str] = field(default_factory=lambda: [" Hello there.", " How are you?"])
    #: Source -> what it raises after the first segment.
    errors: dict[str, BaseException] = field(default_factory=dict)
    delay: float = 0.0
    #: Seconds for telling speakers apart, after the last segment.
    telling: float = 0.0
    warnings: tuple[str, ...] = ()
    coverage: Coverage | None = None
    loads: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, DecodingOptions]] = field(default_factory=list)
    tracks: list[Tracks] = field(default_factory=list)
    #: How speakers were to be told apart.
    speakers: list[bool | SpeakerOptions] = field(default_factory=list)
    #: Instead of segments made from `texts`.
    segments: list[Segment] | None = None
    #: Who speaks when, if speakers are to be told apart.
    turns: tuple[Turn, ...] = ()
    timings: dict[str, float] = field(default_factory=lambda: {"decode": 0.5})
    engine: Any = field(default_factory=lambda: SimpleNamespace(tokenizer=SimpleNamespace(is_multilingual=True)))

    def load(self, name: str | None = None, **settings: Any) -> Self:
        self.loads.append({"name": name} | settings)
        return self

    @contextlib.contextmanager
    def stream_all(
        self,
        sources: Sequence[str],
        options: DecodingOptions,
        *,
        tracks: Tracks | None = None,
        notes: Sequence[object] = (),
        priority: int = 0,
        most_seconds: float | None = None,
        diarize: bool | SpeakerOptions = False,
    ) -> Iterator[FakeTranscriptions]:
        self.speakers.append(diarize)
        self.tracks.append(tracks or Tracks())
        self.calls += [(source, options) for source in sources]
        turns = self.turns if diarize else None
        yield FakeTranscriptions(FakeTranscription(self, source, options, turns) for source in sources)

    def enrolled(self, speakers: SpeakerOptions) -> SpeakerOptions:
        return speakers

    def fingerprint(self) -> str:
        return "fake"

    def detect_language(
        self, source: str, languages: Sequence[str] | None = None, *, audio_stream: int = 0
    ) -> list[LanguageGuess]:
        self.tracks.append(Tracks(audio_stream=audio_stream))
        if source in self.errors:
            raise self.errors[source]
        guesses = [LanguageGuess("fr", 0.75), LanguageGuess("haw", 0.2), LanguageGuess("en", 0.05)]
        return [guess for guess in guesses if not languages or guess.code in languages]


class FakeTranscription:
    language = "fr"
    language_probability = 0.75
    is_telling_apart = False

    def __init__(
        self, model: FakeModel, source: str, options: DecodingOptions, turns: tuple[Turn, ...] | None = None
    ) -> None:
        self._turns = turns
        self._options = options
        self._model = model
        self._source = source
        self.position = 0.0
        self.total: float | None = 2.0 * len(model.texts)
        self.warnings = model.warnings

    def _segments(self) -> list[Segment]:
        if self._model.segments is not None:
            return self._model.segments
        return [segment(number, text) for number, text in enumerate(self._model.texts)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if "FAKE_TRACE" in os.environ:
            sys.stderr.write("closed\n")

    def __iter__(self) -> Iterator[Segment]:
        for number, each in enumerate(self._segments()):
            time.sleep(self._model.delay if number else 0)
            self.position = number * 2.0 + 2.0
            yield each
            if self._source in self._model.errors:
                raise self._model.errors[self._source]
        self.is_telling_apart = self._model.telling > 0
        time.sleep(self._model.telling)

    def transcript(self) -> Transcript:
        if self._source in self._model.errors:
            raise self._model.errors[self._source]
        transcript = Transcript(
            language="fr",
            language_probability=0.75,
            duration=2.0 * len(self._model.texts),
            segments=tuple(self._segments()),
            coverage=self._model.coverage,
            turns=self._turns,
        )
        if self._options.also_translate:
            english = tuple(replace(each, text=f" English:{each.text}") for each in transcript)
            transcript = replace(transcript, translation=replace(transcript, segments=english))
        return transcript


class FakeTranscriptions(list[FakeTranscription]):
    def drain(self) -> Iterator[FakeTranscription]:
        yield from self


if __name__ == "__main__":
    import mtasr.transcribe
    from mtasr.cli import main

    count = int(os.environ.get("FAKE_SEGMENTS", "2"))
    texts = [f" Line {number} [bold]:smile:[/bold]" for number in range(count)]
    delay, telling = (float(os.environ.get(name, "0")) for name in ("FAKE_DELAY", "FAKE_TELLING"))
    mtasr.transcribe.load_model = FakeModel(texts, delay=delay, telling=telling).load  # type: ignore[assignment]
    main()
