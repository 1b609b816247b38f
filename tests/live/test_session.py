"""Live sessions on a model that writes a word for each fifth of a second of sound."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from fakes import Heard, HearingEngine, LoudIsSpeech
from waiting import wait_until

from mtasr.arrays import Float32Array
from mtasr.decoding.submission import DecodedWindow
from mtasr.engines.engine import EngineLimits, Hypothesis
from mtasr.errors import InputError, LiveError, UsageError
from mtasr.live import (
    Committed,
    Draft,
    Event,
    Final,
    Lag,
    LanguageFound,
    LivePolicy,
    LiveSession,
    Repeated,
    Skipped,
    SpeechStarted,
    SpeechStopped,
)
from mtasr.live.captioner import FinalTask
from mtasr.live.decoding import LiveDecoder
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import Model

# What goes wrong here is often a wait without end.
pytestmark = pytest.mark.timeout(60)

#: What is dictated, in which no row of words comes twice in a row.
WORDS = random.Random(0).choices(["the", "day", "water", "people", "sound", "number"], k=200)


class Dictation(HearingEngine):
    """Writes a word for each fifth of a second of sound; the prompt may have the first of them."""

    def encode(self, features: Sequence[Float32Array]) -> list[Heard]:
        heard = super().encode(features)
        loud = [int((each.max(axis=0) > each.max() - 0.5).sum()) for each in features]
        return [replace(each, number=count) for each, count in zip(heard, loud, strict=True)]

    def _says(self, heard: Heard, prompt: Sequence[int]) -> Hypothesis:
        given = list(self.tokenizer.text_in(prompt))
        first = sum(token < self.tokenizer.eot for token in given)
        words = [WORDS[place % len(WORDS)] for place in range(first, max(first, heard.number // 20))]
        tokens = [*given, *(self.tokenizer.encode(f" {word}")[0] for word in words)]
        if self.tokenizer.no_timestamps not in prompt:
            tokens = self.tokenizer.encoding.encode("<|0.00|>", allowed_special="all") + tokens
        return Hypothesis(tokens=tuple(tokens), avg_logprob=-0.2, no_speech_prob=0.01)


def model(engine: HearingEngine | None = None) -> Model:
    return Model(engine or Dictation(pause=0.0), detector=LoudIsSpeech)


def sound(*seconds: float, seed: int = 0) -> Float32Array:
    """Noise and silence by turns, so many seconds each, the noise first."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(0, 0.1, round(each * SAMPLE_RATE)) * (place % 2 == 0) for place, each in enumerate(seconds)]
    return np.concatenate(parts).astype(np.float32)


SPOKEN = sound(0, 0.7, 4.0, 1.2, 7.0, 0.3, 15.0, 3.0, 2.0, 1.0)


def feed(session: LiveSession, samples: Float32Array, size: int = 1600) -> None:
    for start in range(0, len(samples), size):
        session.add(samples[start : start + size])


def whole(session: LiveSession, samples: Float32Array, size: int = 1600) -> list[Event]:
    feed(session, samples, size)
    session.end()
    return list(session.events())


def kinds(events: Sequence[Event]) -> list[type]:
    return [type(event) for event in events]


def committed(events: Sequence[Event]) -> list[tuple[int, str]]:
    stretches: dict[int, str] = {}
    for event in events:
        if isinstance(event, Committed):
            stretches[event.stretch] = stretches.get(event.stretch, "") + event.text
    return list(stretches.items())


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.01)


@pytest.mark.parametrize("size", [333, 1600, 40_000])
def test_the_transcript_is_that_of_the_file(size: int) -> None:
    shared = model()
    with LiveSession(shared, language="en", word_timestamps=True) as session:
        whole(session, SPOKEN, size)
        assert session.transcript() == shared.transcribe(SPOKEN, language="en", word_timestamps=True)


def test_without_exactness_the_transcript_consists_of_the_final_texts() -> None:
    with LiveSession(model(), policy=LivePolicy(exact=False), language="en") as session:
        events = whole(session, SPOKEN)
        transcript = session.transcript()
    finals = [event for event in events if isinstance(event, Final)]
    assert transcript.text == "".join(final.text for final in finals).strip()
    assert [segment.id for segment in transcript] == list(range(len(transcript.segments)))
    assert transcript.duration == pytest.approx(len(SPOKEN) / SAMPLE_RATE, abs=0.001)
    assert transcript.coverage is not None
    assert transcript.coverage.speech == pytest.approx(28.0, abs=0.6)


def test_the_same_is_committed_whatever_the_size_of_blocks() -> None:
    found = []
    for size in (333, 1600, 16_000):
        with LiveSession(model(), language="en", clock=lambda: 0.0) as session:
            found.append(committed(whole(session, SPOKEN, size)))
    assert found[0] == found[1] == found[2]
    assert [stretch for stretch, _ in found[0]] == sorted({stretch for stretch, _ in found[0]})


def test_events_come_in_order() -> None:
    with LiveSession(model(), language="en") as session:
        events = whole(session, sound(0, 1.0, 3.0, 2.0))
    assert kinds(events)[0] is SpeechStarted
    assert kinds(events)[-2:] == [SpeechStopped, Final]
    assert any(isinstance(event, Draft) for event in events)
    final = events[-1]
    assert isinstance(final, Final)
    assert final.language == "en"
    ((stretch, text),) = committed(events)
    assert stretch == 0
    assert len(text.split()) > 10
    assert final.text.startswith(text)
    for segment in final.segments:
        assert 0.9 < segment.start < segment.end < 4.6


def test_silence_is_not_decoded() -> None:
    engine = Dictation()
    with LiveSession(model(engine), language="en") as session:
        assert whole(session, np.zeros(30 * SAMPLE_RATE, np.float32), 16_000) == []
        assert session.transcript().text == ""
    assert engine.encoded == []


def test_a_session_without_samples() -> None:
    with LiveSession(model(), language="en") as session:
        session.end()
        assert list(session.events()) == []
        assert session.transcript().segments == ()


def test_the_language_is_detected_and_told() -> None:
    with LiveSession(model()) as session:
        events = whole(session, sound(0, 1.0, 5.0, 2.0))
    told = [event for event in events if isinstance(event, LanguageFound)]
    assert told
    final = next(event for event in events if isinstance(event, Final))
    assert told[-1].language == final.language


def test_lag_is_measured_and_told_and_makes_drafts_fewer() -> None:
    engine = Dictation(pause=0.0)
    with LiveSession(model(engine), language="en", clock=lambda: 2.0 * len(engine.generated)) as session:
        late = whole(session, sound(9.0), 9 * SAMPLE_RATE)
    assert max(event.seconds for event in late if isinstance(event, Lag)) >= 2.0
    with LiveSession(model(), language="en", clock=lambda: 0.0) as session:
        events = whole(session, sound(9.0), 9 * SAMPLE_RATE)
    assert not any(isinstance(event, Lag) for event in events)
    assert kinds(late).count(Committed) < kinds(events).count(Committed)


def test_a_model_without_reliable_alignment_commits_by_agreement_alone() -> None:
    """A margin of 5 s keeps everything back while somebody speaks, where it counts."""

    def committed_while_spoken(policy: LivePolicy, *, reliable: bool) -> bool:
        engine = Dictation(pause=0.0, limits=EngineLimits(reliable_alignment=reliable))
        with LiveSession(model(engine), policy=policy, language="en", clock=lambda: 0.0) as session:
            events = kinds(whole(session, sound(4.0)))
        return Committed in events[: events.index(SpeechStopped)]

    assert committed_while_spoken(LivePolicy(margin=5.0), reliable=False)
    assert not committed_while_spoken(LivePolicy(margin=5.0), reliable=True)
    assert not committed_while_spoken(LivePolicy(margin=5.0, trusts_times=True), reliable=False)


def test_a_cut_ends_the_stretch() -> None:
    with LiveSession(model(), policy=LivePolicy(pause=None), language="en") as session:
        feed(session, sound(3.0))
        session.cut()
        feed(session, sound(3.0))
        session.end()
        finals = [event for event in session.events() if isinstance(event, Final)]
    assert [final.stretch for final in finals] == [0, 1]
    assert all(final.text for final in finals)


def test_missing_and_repeated_audio_is_told() -> None:
    samples = sound(4.0)
    with LiveSession(model(), language="en") as session:
        session.add(samples[:16_000], position=0)
        session.add(samples[8_000:24_000], position=8_000)
        session.add(samples[40_000:], position=40_000)
        session.end()
        events = list(session.events())
        assert session.transcript().duration == 4.0
    assert [each for each in events if isinstance(each, Skipped | Repeated)] == [
        Repeated(at=1.0, seconds=0.5),
        Skipped(at=1.5, seconds=1.0),
    ]


@pytest.mark.parametrize("samples", [[0.0], np.zeros(10, np.int16), np.zeros((10, 2), np.float32)])
def test_what_are_no_samples_is_refused(samples: object) -> None:
    with LiveSession(model(), language="en") as session:
        with pytest.raises(InputError, match="samples must be"):
            session.add(samples)  # type: ignore[arg-type]
        assert kinds(whole(session, sound(2.0, 1.0)))[-1] is Final  # and nothing is lost


@pytest.mark.parametrize(
    "options",
    [{"condition_on_previous_text": True}, {"clip_timestamps": (0.0, 1.0)}, {"language": "xx"}, {"nosuch": 1}],
)
def test_options_that_make_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        LiveSession(model(), **options)


@pytest.mark.parametrize("changes", [{"step": 0}, {"margin": -1}, {"pause": 0}, {"longest": 60}])
def test_policies_that_make_no_sense(changes: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        LivePolicy(**changes)  # type: ignore[arg-type]


def test_after_the_end_nothing_is_taken() -> None:
    with LiveSession(model(), language="en") as session:
        session.end()
        session.end()
        with pytest.raises(ValueError, match="ended"):
            session.add(sound(1.0))
        with pytest.raises(ValueError, match="ended"):
            session.cut()


@pytest.mark.parametrize("seconds", [0.0, 0.5, 3.0, 8.0])
def test_closing_at_any_moment_is_clean(seconds: float) -> None:
    shared = model(Dictation(pause=0.05))
    before = set(threading.enumerate())
    session = LiveSession(shared, language="en")
    feed(session, sound(max(seconds, 0.01)))
    session.close()
    session.close()
    assert list(session.events()) == []
    with pytest.raises(ValueError, match="closed"):
        session.transcript()
    with pytest.raises(ValueError, match="ended"):
        session.add(sound(1.0))
    until(lambda: set(threading.enumerate()) <= before)
    assert not shared._scheduler._groups
    assert not shared._scheduler._waiting


def test_closing_after_the_end_keeps_the_transcript() -> None:
    with LiveSession(model(), language="en") as session:
        whole(session, sound(3.0, 1.0))
        session.transcript()
    assert session.transcript().text


def test_an_engine_that_fails_ends_the_session() -> None:
    shared = model(Dictation(fails=lambda heard: True))
    with LiveSession(shared, language="en") as session:
        feed(session, sound(2.0))
        with pytest.raises(LiveError, match="the engine stopped"):
            list(session.events())
        with pytest.raises(LiveError, match="the engine stopped"):
            session.transcript()
        with pytest.raises(LiveError, match="the engine stopped"):
            feed(session, sound(90.0))


def test_a_model_that_is_closed_ends_the_session() -> None:
    shared = model(Dictation(pause=0.5))
    with LiveSession(shared, language="en") as session:
        feed(session, sound(2.0))
        until(lambda: shared._scheduler._workers)
        shared.close()
        with pytest.raises(LiveError):
            feed(session, sound(90.0))
        with pytest.raises(LiveError):
            session.transcript()


def test_a_session_that_nobody_reads_fails_before_it_fills_the_memory() -> None:
    def speak(session: LiveSession) -> None:
        for _ in range(200):
            feed(session, sound(1.0, 0.6), 25_600)
        session.end()
        session.transcript()

    policy = LivePolicy(most_unread=100, exact=False)
    with LiveSession(model(), policy=policy, language="en") as session, pytest.raises(LiveError, match="nobody has"):
        speak(session)


def test_a_source_faster_than_the_machine_waits() -> None:
    """Two minutes at once: what is held stays within what the policy allows."""
    policy = LivePolicy(most_waiting=2.0)
    with LiveSession(model(), policy=policy, language="en") as session:
        most = 0
        for start in range(120):
            session.add(sound(0.7, 0.3, seed=start))
            most = max(most, session._intake._unheard, session._intake._unread // 10, len(session._captioner._samples))
        session.end()
        assert len([event for event in session.events() if isinstance(event, Final)]) >= 4
        assert session.transcript().duration == 120.0
    assert most <= 27 * SAMPLE_RATE


def test_sessions_and_recordings_share_a_model() -> None:
    shared = model(Dictation(limits=EngineLimits(workers=2, batch_size=4)))
    alone = {seed: model().transcribe(sound(3.0, 1.0, 5.0, 1.0, seed=seed), language="en") for seed in range(4)}
    found = {}

    def run(seed: int) -> None:
        with LiveSession(shared, language="en") as session:
            whole(session, sound(3.0, 1.0, 5.0, 1.0, seed=seed))
            found[seed] = session.transcript()

    threads = [threading.Thread(target=run, args=(seed,), daemon=True) for seed in range(4)]
    for thread in threads:
        thread.start()
    recording = shared.transcribe(SPOKEN, language="en")
    for thread in threads:
        thread.join(30)
    assert found == alone
    assert recording == model().transcribe(SPOKEN, language="en")


def test_translations_are_drafted_and_not_committed() -> None:
    with LiveSession(model(), task="translate", language="fr") as session:
        events = whole(session, sound(5.0, 1.0))
    assert not any(isinstance(event, Committed) for event in events)
    assert any(isinstance(event, Draft) for event in events)
    assert isinstance(events[-1], Final)


def test_what_fails_the_checks_is_not_tried_again_while_other_stretches_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    hurries: list[bool] = []
    go_on = threading.Event()
    final = LiveDecoder.final

    def noted(decoder: LiveDecoder, task: FinalTask, *, hurried: bool = False) -> tuple[DecodedWindow, str]:
        hurries.append(hurried)
        go_on.wait(20)
        return final(decoder, task, hurried=hurried)

    def doubtful(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        return replace(hypothesis, avg_logprob=-3.0)

    monkeypatch.setattr(LiveDecoder, "final", noted)
    engine = Dictation(pause=0.0, judge=doubtful)
    policy = LivePolicy(exact=False)
    with LiveSession(model(engine), policy=policy, language="en") as session:
        feed(session, sound(*(2.0, 1.5) * 6))
        session.end()
        wait_until(lambda: session._finals.qsize() == 6)  # five stretches and the end
        engine.encoded.clear()  # of drafts
        go_on.set()
        assert sum(isinstance(event, Final) for event in session.events()) == 6
    assert hurries == [False, True, True, True, True, False]
    assert sum(heard.frames == 3000 for heard in engine.encoded) == 2, "the full length, for the patient ones alone"
