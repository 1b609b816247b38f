"""Captions of synthesised speech by a real model."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from speech import SAMPLE_RATE, speak

from mtasr.edit_distance import count_errors
from mtasr.live import Committed, Event, Final, LanguageFound, LivePolicy, LiveSession, SpeakersChanged
from mtasr.speakers.diarizer import Diarizer
from mtasr.speakers.networks.embedding import Embedding
from mtasr.speakers.networks.segmentation import Segmentation
from mtasr.transcribe import load_model

pytestmark = [pytest.mark.weights, pytest.mark.slow]

FIRST = "The old bridge was closed for repairs last week, and nobody knows when it will open again."
SECOND = "We walked along the river until the rain began, then we waited under a tree."


def words(text: str) -> list[str]:
    return "".join(mark if mark.isalnum() else " " for mark in text.casefold()).split()


def test_captions_follow_speech_and_end_with_the_transcript_of_the_file() -> None:
    model = load_model("base", threads=1)
    pause = np.zeros(SAMPLE_RATE, np.float32)
    samples = np.concatenate([pause, speak(FIRST), pause, speak(SECOND), pause])
    events: list[Event] = []
    with LiveSession(model, clock=lambda: 0.0) as session:
        for start in range(0, len(samples), 1600):
            session.add(samples[start : start + 1600])
        session.end()
        events.extend(session.events())
        transcript = session.transcript()
    assert transcript == model.transcribe(samples)
    finals = [event for event in events if isinstance(event, Final)]
    committed = [event for event in events if isinstance(event, Committed)]
    said = words(f"{FIRST} {SECOND}")
    assert count_errors(said, words(" ".join(final.text for final in finals))).rate < 0.1
    assert count_errors(said, words(" ".join(each.text for each in committed))).rate < 0.25
    assert [event.language for event in events if isinstance(event, LanguageFound)] == ["en"]
    # Committed words have times, one after the other, within the sound.
    times = [word.start for each in committed for word in each.words]
    assert times == sorted(times)
    assert 1.0 < times[0] < times[-1] < len(samples) / SAMPLE_RATE - 1.0


def test_noise_has_no_text() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, 20 * SAMPLE_RATE).astype(np.float32)
    model = load_model("base", threads=1)
    with LiveSession(model, policy=LivePolicy(exact=False)) as session:
        session.add(noise)
        session.end()
        assert not [event for event in session.events() if isinstance(event, Final | Committed)]
        assert session.transcript().text == ""


def test_speakers_at_the_end_are_those_of_the_file(speaker_models: tuple[Segmentation, Embedding]) -> None:
    model = load_model("base", threads=1)
    model._diarizer = lambda: Diarizer(*speaker_models)
    pause = np.zeros(SAMPLE_RATE, np.float32)
    man, woman = (partial(speak, voice="en-us+m3", pitch=30), partial(speak, voice="en-us+f3", pitch=80))
    samples = np.concatenate([pause, man(FIRST), pause, woman(SECOND), pause, man(SECOND), pause, woman(FIRST), pause])
    with LiveSession(model, language="en", diarize=True, clock=lambda: 0.0) as session:
        for start in range(0, len(samples), 1600):
            session.add(samples[start : start + 1600])
        session.end()
        known = {each.stretch: each for each in session.events() if isinstance(each, Final | SpeakersChanged)}
        transcript = session.transcript()
    assert transcript == model.transcribe(samples, language="en", diarize=True)
    speakers = [{segment.speaker for segment in each.segments} for each in known.values() if each.segments]
    assert speakers == [{"Speaker 1"}, {"Speaker 2"}, {"Speaker 1"}, {"Speaker 2"}]
