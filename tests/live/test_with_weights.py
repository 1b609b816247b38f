"""Captions of synthesised speech by a real model."""

from __future__ import annotations

import numpy as np
import pytest
from speech import SAMPLE_RATE, speak

from mtasr.edit_distance import count_errors
from mtasr.live import Committed, Event, Final, LanguageFound, LivePolicy, LiveSession
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
