"""Replaces `mtasr.live.LiveSession`: tells set events as sound comes in.

Run as a program it is `mtasr` with this session, for the tests that need a process of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from mtasr.live import Committed, Draft, Event, Final, Lag, LanguageFound, LivePolicy, SpeechStarted, SpeechStopped
from mtasr.options import DecodingOptions
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Coverage, Segment, Transcript, Word


def words(text: str, at: float = 0.0) -> tuple[Word, ...]:
    return tuple(
        Word(word=f" {word}", start=at + number / 4, end=at + number / 4 + 0.2, probability=0.9)
        for number, word in enumerate(text.split())
    )


def final(stretch: int, *texts: str, language: str = "en", translation: str = "") -> Final:
    segments = [_segment(stretch, number, text) for number, text in enumerate(texts)]
    translated = (_segment(stretch, 0, translation),) if translation else ()
    return Final(stretch=stretch, segments=tuple(segments), language=language, translation=translated)


def _segment(stretch: int, number: int, text: str) -> Segment:
    start = 10.0 * stretch + 2 * number
    return Segment(
        id=number,
        start=start,
        end=start + 2.0,
        text=f" {text}",
        tokens=(1,),
        avg_logprob=-0.1,
        compression_ratio=1.0,
        no_speech_prob=0.0,
        temperature=0.0,
    )


#: Seconds of sound after which each event is told.
SCRIPT: tuple[tuple[float, Event], ...] = (
    (0.5, SpeechStarted(stretch=0, at=0.25)),
    (1.0, LanguageFound(language="en", probability=0.5)),
    (1.0, Draft(stretch=0, words=words("Good mourning"))),
    (2.0, Committed(stretch=0, words=words("Good morning"))),
    (2.0, Draft(stretch=0, words=words("every buddy", 0.5))),
    (2.5, SpeechStopped(stretch=0, at=2.4)),
    (3.0, final(0, "Good morning, everybody.", "Welcome.")),
    (3.5, Lag(seconds=12.25)),
    (4.0, Draft(stretch=1, words=words("To day", 10.0))),
    (5.0, final(1, "Today we talk about bridges.")),
)


@dataclass
class FakeLive:
    """One session after the other."""

    script: Sequence[tuple[float, Event]] = SCRIPT
    #: Raised after all events.
    error: BaseException | None = None
    coverage: Coverage | None = None
    options: DecodingOptions | None = None
    policy: LivePolicy | None = None
    diarize: bool | SpeakerOptions = False
    warnings: tuple[str, ...] = ()
    blocks: list[Any] = field(default_factory=list)
    is_ended: bool = False

    def __post_init__(self) -> None:
        self._changed = threading.Condition()

    def __call__(
        self, model: object, options: DecodingOptions, policy: LivePolicy, *, diarize: bool | SpeakerOptions = False
    ) -> Self:
        self.options, self.policy, self.diarize = options, policy, diarize
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @property
    def samples(self) -> Any:
        return np.concatenate([np.zeros(0, np.float32), *self.blocks])

    def add(self, samples: Any) -> None:
        with self._changed:
            self.blocks.append(samples)
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self.is_ended = True
            self._changed.notify_all()

    def events(self) -> Iterator[Event]:
        for seconds, event in self.script:
            with self._changed:
                while not self.is_ended and sum(map(len, self.blocks)) < 16000 * seconds:
                    self._changed.wait()
            yield event
        if self.error is not None:
            raise self.error
        with self._changed:
            self._changed.wait_for(lambda: self.is_ended)

    def transcript(self) -> Transcript:
        """The final texts, with a mark at the end that they lack."""
        finals = [event for _, event in self.script if isinstance(event, Final)]

        def whole(parts: list[tuple[Segment, ...]]) -> Transcript:
            segments = [replace(segment, id=0) for part in parts for segment in part]
            segments[-1] = replace(segments[-1], text=f"{segments[-1].text} (end)")
            return Transcript(language="en", language_probability=1.0, duration=60.0, segments=tuple(segments))

        transcript = replace(whole([event.segments for event in finals]), coverage=self.coverage)
        if self.options is not None and self.options.also_translate:
            transcript = replace(transcript, translation=whole([event.translation for event in finals]))
        return transcript


if __name__ == "__main__":
    from fake_model import FakeModel

    import mtasr.live
    import mtasr.transcribe
    from mtasr.cli import main
    from mtasr.cli.live import growing_files

    growing_files._PAUSE = 0.2
    mtasr.transcribe.load_model = FakeModel().load  # type: ignore[assignment]
    mtasr.live.LiveSession = FakeLive()  # type: ignore[assignment, misc]
    main()
