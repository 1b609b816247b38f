"""Speakers of a live session: at once as far as is known, and corrected as more is heard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from fakes import HearingEngine, LoudIsSpeech
from loudness_diarizer import LoudnessDiarizer, dialogue

from mtasr.arrays import Float32Array
from mtasr.errors import LiveError, UsageError
from mtasr.live import Committed, Event, Final, LivePolicy, LiveSession, SpeakersChanged, attribution
from mtasr.live.attribution import Attribution
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.diarized import SpeakerListener
from mtasr.speakers.options import SpeakerOptions
from mtasr.speakers.speaker_times import SpeakerTimes
from mtasr.speakers.voices import Diarizes, Heard
from mtasr.transcribe import Model
from mtasr.transcript import Segment, Turn, Word

pytestmark = pytest.mark.timeout(60)


def model(diarizer: Diarizes | None = None) -> Model:
    diarizer = diarizer or LoudnessDiarizer()
    return Model(HearingEngine(pause=0.0), detector=LoudIsSpeech, diarizer=lambda: diarizer)


def whole(session: LiveSession, samples: Float32Array, size: int = 1600) -> list[Event]:
    for start in range(0, len(samples), size):
        session.add(samples[start : start + size])
    session.end()
    return list(session.events())


def known_at_the_end(events: Sequence[Event]) -> dict[int, tuple[Segment, ...]]:
    """The segments of each stretch, as they were corrected last."""
    return {event.stretch: event.segments for event in events if isinstance(event, Final | SpeakersChanged)}


def said(segments: Sequence[Segment]) -> list[tuple[str | None, str]]:
    return [(segment.speaker, segment.text) for segment in segments]


@pytest.mark.parametrize("size", [333, 40_000])
@pytest.mark.parametrize("more", [{}, {"also_translate": True}, {"speakers": ("Ann", "Ben")}], ids=str)
def test_the_transcript_is_that_of_the_file(size: int, more: dict[str, object]) -> None:
    shared = model()
    with LiveSession(shared, language="fr", diarize=True, **more) as session:
        whole(session, dialogue(), size)
        found = session.transcript()
    assert found == shared.transcribe(dialogue(), language="fr", diarize=True, **more)
    assert found.turns


def test_texts_have_speakers_and_end_with_those_of_all_turns() -> None:
    """The voices are two, the second of which is heard from the second stretch on."""
    with LiveSession(model(), policy=LivePolicy(exact=False), diarize=True, clock=lambda: 0.0) as session:
        events = whole(session, dialogue())
        transcript = session.transcript()
    segments = [segment for stretch in known_at_the_end(events).values() for segment in stretch]
    assert said(segments) == said(transcript.segments)
    assert {segment.speaker for segment in segments} == {"Speaker 1", "Speaker 2"}
    assert all(segment.words for segment in segments)
    committed = [event for event in events if isinstance(event, Committed)]
    assert committed[-1].words[-1].speaker is not None
    assert transcript.turns is not None
    assert [turn.speaker for turn in transcript.turns] == ["Speaker 1", "Speaker 2", "Speaker 2", "Speaker 1"]


def test_without_it_nobody_is_named() -> None:
    with LiveSession(model(), language="fr") as session:
        events = whole(session, dialogue())
        assert session.transcript().turns is None
    assert not any(isinstance(event, SpeakersChanged) for event in events)
    assert {segment.speaker for stretch in known_at_the_end(events).values() for segment in stretch} == {None}


def test_options_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="needs diarize"):
        LiveSession(model(), num_speakers=2)


def test_a_diarizer_that_fails_ends_the_session() -> None:
    with LiveSession(model(LoudnessDiarizer(fails_at=5.0)), diarize=True) as session:
        with pytest.raises(LiveError, match="the diarizer stopped"):
            whole(session, dialogue())
        with pytest.raises(LiveError, match="the diarizer stopped"):
            session.transcript()


@pytest.mark.parametrize("seconds", [0.5, 5.0])
def test_closing_ends_its_thread(seconds: float) -> None:
    before = set(threading.enumerate())
    session = LiveSession(model(), diarize=True)
    session.add(dialogue()[: round(seconds * SAMPLE_RATE)])
    session.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
        assert not thread.is_alive()


# Without a model


@dataclass
class Script:
    """A diarizer that is told what to find: at each asking the next turns, the last ones again and again."""

    found: Sequence[tuple[Turn, ...]]
    asked: Callable[[], None] = lambda: None
    #: How many seconds had been heard at each asking.
    heard_at: list[float] = field(default_factory=list)
    samples: int = 0

    def listen(self) -> Script:
        return self

    def add(self, samples: Float32Array) -> None:
        self.samples += len(samples)

    def heard(self, options: SpeakerOptions) -> Heard:
        self.asked()
        turns = self.found[min(len(self.heard_at), len(self.found) - 1)]
        self.heard_at.append(self.samples / SAMPLE_RATE)
        return Heard(turns=turns, voices={})


def turn(start: float, end: float, speaker: str, confidence: float = 1.0) -> Turn:
    return Turn(start=start, end=end, speaker=speaker, confidence=confidence)


def words(text: str, start: float) -> tuple[Word, ...]:
    return tuple(
        Word(word=f" {word}", start=start + place, end=start + place + 0.9, probability=0.9)
        for place, word in enumerate(text.split())
    )


def final(stretch: int, text: str, start: float) -> Final:
    said = words(text, start)
    segment = Segment(
        id=0, start=start, end=said[-1].end, text="".join(each.word for each in said), tokens=(), avg_logprob=-0.1,
        compression_ratio=1.0, no_speech_prob=0.0, temperature=0.0, words=said,
    )  # fmt: skip
    return Final(stretch=stretch, segments=(segment,), language="en")


class Session:
    """An `Attribution` with its thread, and what it tells."""

    def __init__(self, script: Script, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.told: list[Event] = []
        self.script = script
        self.attribution = Attribution(SpeakerListener(script, SpeakerOptions()), self.told.append, clock)
        self._stretch = -1
        self._thread = threading.Thread(target=self.attribution.run, daemon=True)
        self._thread.start()

    def hear(self, seconds: float) -> None:
        self.attribution.add(np.zeros(round(seconds * SAMPLE_RATE), np.float32))

    def pause(self) -> None:
        """The end of the next stretch; waits until what is to be done then is done."""
        self._stretch += 1
        self.attribution.pause(self._stretch)
        while self.attribution._settled < self._stretch:
            threading.Event().wait(0.001)

    def end(self) -> None:
        self.attribution.end()
        self._thread.join(20)


ANN, BEN = turn(0.0, 2.0, "Ann"), turn(2.0, 4.0, "Ben")


def test_a_final_text_is_corrected_once_others_are_known_to_speak() -> None:
    session = Session(Script([(turn(0.0, 4.0, "Ann"),), (ANN, BEN), (ANN, replace(BEN, confidence=0.5))]))
    session.hear(5)
    session.pause()
    session.attribution.final(final(0, "one two three four", 0.0))
    session.hear(5)
    session.pause()
    session.end()
    first, changed = session.told
    assert isinstance(first, Final)
    assert said(first.segments) == [("Ann", " one two three four")]
    assert isinstance(changed, SpeakersChanged)
    assert changed.stretch == 0
    assert said(changed.segments) == [("Ann", " one two"), ("Ben", " three four")]
    assert [segment.id for segment in changed.segments] == [0, 1]


def test_a_correction_may_join_what_was_divided() -> None:
    session = Session(Script([(ANN, BEN), (turn(0.0, 4.0, "Ann"),)]))
    session.hear(5)
    session.pause()
    session.attribution.final(final(0, "one two three four", 0.0))
    session.end()
    assert [said(event.segments) for event in session.told if isinstance(event, Final | SpeakersChanged)] == [
        [("Ann", " one two"), ("Ben", " three four")],
        [("Ann", " one two three four")],
    ]


def test_texts_far_from_a_change_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    later = tuple(turn(100.0 + 20 * place, 104.0 + 20 * place, "Ann") for place in range(50))
    session = Session(Script([(turn(0.0, 4.0, "Ann"), *later), (ANN, BEN, *later)]))
    session.hear(5)
    session.pause()
    session.attribution.final(final(0, "one two three four", 0.0))
    for place in range(50):
        session.attribution.final(final(1 + place, "one two three four", 100.0 + 20 * place))
    assigned = []
    whole = attribution.assign_segments

    def watched(segments: Sequence[Segment], voices: Sequence[SpeakerTimes]) -> tuple[Segment, ...]:
        assigned.extend(segments)
        return whole(segments, voices)

    monkeypatch.setattr(attribution, "assign_segments", watched)
    session.hear(5)
    session.pause()
    assert [segment.start for segment in assigned] == [0.0]
    assert isinstance(session.told[-1], SpeakersChanged)
    session.end()


def test_words_get_the_nearest_speaker() -> None:
    session = Session(Script([(ANN, BEN)]))
    event = Committed(stretch=1, words=words("five six", 4.5))
    assert session.attribution.committed(event) == event
    session.hear(5)
    session.pause()
    assert {word.speaker for word in session.attribution.committed(event).words} == {"Ben"}
    session.end()


def test_finding_turns_takes_a_tenth_of_the_time() -> None:
    """Each asking takes two seconds of a clock that goes on with the sound; somebody pauses each second."""
    now = 0.0

    def ask() -> None:
        nonlocal now
        now += 2.0

    session = Session(Script([()], ask), lambda: now)
    for _ in range(200):
        session.hear(1)
        now += 1.0
        session.pause()
    assert 10 <= len(session.script.heard_at) <= 12
    session.end()
    assert session.script.heard_at[-1] == 200.0


def test_sound_that_is_faster_than_time_counts_as_time() -> None:
    """Each asking takes a tenth of a second, and so does a minute of sound."""
    now = 0.0

    def ask() -> None:
        nonlocal now
        now += 0.1

    session = Session(Script([()], ask), lambda: now)
    for _ in range(60):
        session.hear(1)
        now += 0.1 / 60
        session.pause()
    assert len(session.script.heard_at) == 60
    session.end()


def test_a_final_text_waits_a_moment_for_the_turns_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.live.attribution._PATIENCE", 20.0)
    resume = threading.Event()

    def ask() -> None:
        resume.wait(20)

    session = Session(Script([(turn(0.0, 4.0, "Ann"),)], ask))
    session.hear(5)
    session.attribution.pause(0)
    telling = threading.Thread(target=lambda: session.attribution.final(final(0, "one two", 0.0)), daemon=True)
    telling.start()
    telling.join(0.2)
    assert session.told == []
    resume.set()
    telling.join(20)
    session.end()
    (told,) = session.told
    assert isinstance(told, Final)
    assert said(told.segments) == [("Ann", " one two")]


def test_sound_that_waits_is_bounded() -> None:
    resume = threading.Event()

    def ask() -> None:
        resume.wait(20)

    session = Session(Script([()], ask))
    session.hear(1)
    session.attribution.pause(0)
    adding = threading.Thread(target=lambda: [session.hear(1) for _ in range(60)], daemon=True)
    adding.start()
    adding.join(0.5)
    assert adding.is_alive()
    assert session.attribution._waiting <= 11 * SAMPLE_RATE
    resume.set()
    adding.join(20)
    session.end()
    assert session.script.heard_at[-1] == 61.0


def test_options_need_no_word_times() -> None:
    with LiveSession(model(), DecodingOptions(language="fr", word_timestamps=False), diarize=True) as session:
        events = whole(session, dialogue())
    assert all(segment.words for stretch in known_at_the_end(events).values() for segment in stretch)
