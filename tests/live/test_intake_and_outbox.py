"""What holds samples and events between threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mtasr.errors import InputError, LiveError
from mtasr.live.events import Committed, Draft, Lag, Repeated, Skipped, SpeechStarted
from mtasr.live.intake import Intake
from mtasr.live.outbox import Outbox
from mtasr.spans import SAMPLE_RATE

pytestmark = pytest.mark.timeout(30)


def ramp(start: int, stop: int) -> np.ndarray:
    return np.arange(start, stop, dtype=np.float32)


def heard(intake: Intake) -> np.ndarray:
    intake.end()
    return np.concatenate([block.samples for block in intake.blocks()])


def test_samples_come_out_for_both_readers() -> None:
    intake = Intake(60.0, whole=True)
    for start in range(0, 400_000, 7_000):
        intake.add(ramp(start, min(start + 7_000, 400_000)), 0.0)
    np.testing.assert_array_equal(heard(intake), ramp(0, 400_000))
    whole = list(intake.whole())
    assert [len(block) for block in whole] == [160_000, 160_000, 80_000]
    np.testing.assert_array_equal(np.concatenate(whole), ramp(0, 400_000))


def test_silence_stands_for_samples_that_are_missing() -> None:
    intake = Intake(60.0, whole=False)
    assert intake.add(ramp(0, 100), 0.0, position=5_000) is None
    assert intake.add(ramp(0, 100), 0.0, position=5_100) is None
    gap = 2 * SAMPLE_RATE + 5
    assert intake.add(ramp(0, 100), 0.0, position=5_200 + gap) == Skipped(at=0.0125, seconds=gap / SAMPLE_RATE)
    samples = heard(intake)
    assert len(samples) == 300 + gap
    assert not samples[200 : 200 + gap].any()


def test_samples_that_came_before_are_dropped() -> None:
    intake = Intake(60.0, whole=False)
    intake.add(ramp(0, 100), 0.0, position=0)
    assert intake.add(ramp(50, 150), 0.0, position=50) == Repeated(at=100 / SAMPLE_RATE, seconds=50 / SAMPLE_RATE)
    assert intake.add(ramp(20, 80), 0.0, position=20) == Repeated(at=150 / SAMPLE_RATE, seconds=60 / SAMPLE_RATE)
    assert intake.add(ramp(150, 200), 0.0, position=150) is None
    np.testing.assert_array_equal(heard(intake), ramp(0, 200))


@pytest.mark.parametrize("position", [-1, 10**12])
def test_a_position_out_of_all_proportion_is_an_error(position: int) -> None:
    intake = Intake(60.0, whole=False)
    intake.add(ramp(0, 100), 0.0, position=0)
    with pytest.raises(InputError, match="position"):
        intake.add(ramp(0, 100), 0.0, position=position)


def test_adding_waits_while_too_much_waits() -> None:
    intake = Intake(1.0, whole=False)
    intake.add(ramp(0, 2 * SAMPLE_RATE), 0.0)
    thread = threading.Thread(target=intake.add, args=(ramp(0, 10), 0.0), daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    next(intake.blocks())
    thread.join(10)
    assert not thread.is_alive()


def test_adding_ends_when_the_session_is_closed() -> None:
    intake, errors = Intake(1.0, whole=True), []
    intake.add(ramp(0, 2 * SAMPLE_RATE), 0.0)

    def add() -> None:
        try:
            intake.add(ramp(0, 10), 0.0)
        except ValueError as exc:
            errors.append(str(exc))

    thread = threading.Thread(target=add, daemon=True)
    thread.start()
    intake.close()
    thread.join(10)
    assert errors == ["the session has ended"]
    assert list(intake.blocks()) == []
    assert list(intake.whole()) == []


def test_the_latest_of_drafts_and_lags_is_kept() -> None:
    outbox = Outbox(100)
    events = [
        SpeechStarted(stretch=0, at=0.0),
        Draft(stretch=0, words=()),
        Lag(seconds=1.0),
        Committed(stretch=0, words=()),
        Draft(stretch=0, words=()),
        Draft(stretch=1, words=()),
        Lag(seconds=2.0),
    ]
    for event in events:
        outbox.put(event)
    outbox.close()
    assert list(outbox.read()) == [events[0], *events[3:]]


def test_events_that_nobody_reads_are_an_error() -> None:
    outbox = Outbox(100)
    for _ in range(100):
        outbox.put(Committed(stretch=0, words=()))
    with pytest.raises(LiveError, match="nobody has read the last 100 events"):
        outbox.put(Committed(stretch=0, words=()))


def test_reading_ends_after_a_timeout_and_goes_on() -> None:
    outbox = Outbox(100)
    assert list(outbox.read(timeout=0.01)) == []
    outbox.put(Lag(seconds=1.0))
    assert list(outbox.read(timeout=0.01)) == [Lag(seconds=1.0)]


def test_the_error_comes_after_the_events_before_it() -> None:
    outbox = Outbox(100)
    outbox.put(Lag(seconds=1.0))
    outbox.close(LiveError("lost"))
    reading = outbox.read()
    assert next(reading) == Lag(seconds=1.0)
    with pytest.raises(LiveError, match="lost"):
        next(reading)
