"""Recordings and threads that end early: closed, forgotten, broken off, at exit, and in a forked process."""

from __future__ import annotations

import gc
import logging
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fakes import Heard, HearingEngine, LoudIsSpeech
from waiting import wait_until

from mtasr.arrays import Float32Array
from mtasr.decoding.scheduler import Scheduler
from mtasr.engines.engine import EngineLimits
from mtasr.errors import ModelError
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import Model
from mtasr.vad import SpeechDetector

# What goes wrong here is often a wait without end.
pytestmark = pytest.mark.timeout(60)


def model(engine: HearingEngine | None = None) -> Model:
    """To which every sound is speech."""
    return Model(engine or HearingEngine(), detector=LoudIsSpeech)


def said(*seconds: float) -> Float32Array:
    """Utterances of so many seconds, each a window."""
    rng, silence = np.random.default_rng(0), np.zeros(round(2.5 * SAMPLE_RATE), np.float32)
    parts = [silence]
    for each in seconds:
        parts += [rng.normal(0, 0.1, round(each * SAMPLE_RATE)).astype(np.float32), silence]
    return np.concatenate(parts)


def in_blocks(samples: Float32Array) -> Iterator[Float32Array]:
    yield from (samples[start : start + SAMPLE_RATE] for start in range(0, len(samples), SAMPLE_RATE))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_fails_the_recordings_whose_windows_it_had(workers: int) -> None:
    """Others go on, if another worker is left."""
    gate = threading.Event()

    class Dies(BaseException):
        pass

    def fails(heard: Heard) -> bool:
        if heard.loudest > 1:
            gate.wait()
            raise Dies
        return False

    shared = model(HearingEngine(limits=EngineLimits(workers=workers), fails=fails))
    with ThreadPoolExecutor(2) as pool:
        dying = pool.submit(shared.transcribe, 10 * said(3))
        wait_until(lambda: shared._scheduler._workers)
        other = pool.submit(shared.transcribe, said(3, 3, 3))
        if workers == 2:
            assert len(other.result().segments) == 3
        else:
            wait_until(lambda: len(shared._scheduler._groups) == 2)
        gate.set()
        with pytest.raises(Dies):
            dying.result()
        if workers == 1:
            with pytest.raises(Dies):
                other.result()
    assert len(shared.transcribe(said(3, 3)).segments) == 2, "a later call starts workers anew"


def test_the_language_is_not_waited_for_when_a_worker_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(self: Scheduler) -> None:
        raise MemoryError

    monkeypatch.setattr(Scheduler, "_take", no_room)
    with model().stream(said(3)) as stream, pytest.raises(MemoryError):
        _ = stream.language


def test_the_language_is_not_waited_for_when_the_first_window_cannot_be_encoded() -> None:
    class Refuses(HearingEngine):
        def encode(self, features: Sequence[Float32Array]) -> list[Heard]:
            raise RuntimeError("the engine stopped")

    with model(Refuses()).stream(said(3, 3)) as stream:
        with pytest.raises(RuntimeError, match="the engine stopped"):
            _ = stream.language
        with pytest.raises(RuntimeError, match="the engine stopped"):
            stream.transcript()


class FailsLater(LoudIsSpeech):
    """Fails once the first window has been cut."""

    def probabilities(self, samples: Float32Array, *, last: bool = False) -> Float32Array:
        self.heard = getattr(self, "heard", 0) + len(samples)
        if self.heard > 9 * SAMPLE_RATE:
            raise MemoryError
        return super().probabilities(samples, last=last)


@pytest.mark.parametrize("language", [None, "en"])
def test_windows_that_were_cut_before_cutting_fails_are_decoded(language: str | None) -> None:
    with Model(HearingEngine(), detector=FailsLater).stream(in_blocks(said(3, 3, 3)), language=language) as stream:
        assert stream.language in {"en", "fr"}
        assert next(stream).end < 6
        with pytest.raises(MemoryError):
            next(stream)


def test_what_is_done_is_not_kept() -> None:
    """Neither the samples nor the notes, by a model whose workers wait for other audio."""

    class Blocks:
        def __iter__(self) -> Iterator[Float32Array]:
            return in_blocks(said(3, 3))

    ended = threading.Event()

    def live() -> Iterator[Float32Array]:
        yield said(1)
        ended.wait()

    shared = model(HearingEngine(limits=EngineLimits(workers=2)))
    with shared.stream(live(), language="en") as other:
        next(other)
        source = Blocks()
        kept = weakref.ref(source)
        assert shared.transcribe(source, language="en").segments
        del source
        gc.collect()
        wait_until(lambda: gc.collect() >= 0 and kept() is None)
        ended.set()
    assert not shared._scheduler._abandoned


def test_after_the_end_nothing_is_begun() -> None:
    shared = model()
    shared.transcribe(said(3))
    shared._scheduler.stop()
    with pytest.raises(RuntimeError, match="the interpreter is exiting"):
        shared.transcribe(said(3))


def test_a_stream_that_is_open_at_a_fork_fails_in_the_new_process() -> None:
    """By what happens there, without a process."""
    gate = threading.Event()
    shared = model(HearingEngine(fails=lambda heard: not gate.wait()))
    with shared.stream(said(3), language="en") as stream:
        shared._scheduler.fail()
        with pytest.raises(ModelError, match="loaded before this process was forked"):
            next(stream)
        gate.set()


def test_closing_live_audio_does_not_wait_for_its_next_block() -> None:
    blocks: queue.Queue[Float32Array | None] = queue.Queue()

    def live() -> Iterator[Float32Array]:
        while (block := blocks.get()) is not None:
            yield block

    before = set(threading.enumerate())
    stream = model().stream(live(), language="en")
    blocks.put(said(1))
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 1.5, "shorter than the wait for a reader that can be interrupted"
    blocks.put(None)
    wait_until(lambda: not set(threading.enumerate()) - before)


def test_a_forgotten_stream_keeps_no_thread() -> None:
    before = set(threading.enumerate())
    shared = model(HearingEngine(limits=EngineLimits(workers=2)))
    endless = (block for _ in iter(int, 1) for block in in_blocks(said(3)))
    stream = shared.stream(endless, language="en")
    next(stream)
    assert set(threading.enumerate()) - before
    del stream
    gc.collect()
    wait_until(lambda: not set(threading.enumerate()) - before)
    assert shared.transcribe(said(3)).segments
    assert not shared._scheduler._groups


def test_all_that_was_read_of_a_source_that_breaks_is_decoded() -> None:
    def broken() -> Iterator[Float32Array]:
        yield from in_blocks(said(3, 3))
        raise OSError("the line is cut")

    with model().stream(broken()) as stream:
        assert len([next(stream), next(stream)]) == 2
        with pytest.raises(OSError, match="the line is cut"):
            next(stream)


@pytest.mark.parametrize("previous_text", [False, True])
def test_a_detector_that_cannot_be_made_fails_its_recording_alone(previous_text: bool) -> None:
    made = iter([LoudIsSpeech, None, LoudIsSpeech])

    def detector() -> SpeechDetector:
        kind = next(made)
        if kind is None:
            raise OSError("its model is missing")
        return kind()

    shared = Model(HearingEngine(), detector=detector)
    sources = [said(3), said(3), said(3)]
    with shared.stream_all(sources, language="en", condition_on_previous_text=previous_text) as streams:
        assert streams[0].transcript().segments
        with pytest.raises(OSError, match="its model is missing"):
            streams[1].transcript()
        assert streams[2].transcript().segments


def test_threads_may_share_the_segments_of_one_recording() -> None:
    engine = HearingEngine(pause=0.001)
    with model(engine).stream(said(*[1] * 20), language="en") as stream, ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(lambda _: list(stream), range(4)))
    assert sorted(segment.id for share in shares for segment in share) == list(range(20))


def test_a_prompt_that_is_cut_is_said_at_each_call(caplog: pytest.LogCaptureFixture) -> None:
    shared = model()
    with caplog.at_level(logging.WARNING):
        streams = [shared.stream(said(1), initial_prompt="day " * 1000) for _ in range(2)]
    assert caplog.text.count("initial prompt of 1000 tokens") == 2
    for stream in streams:
        stream.close()


EXITS = """
import sys, threading
sys.path.insert(0, sys.argv[1])
import numpy as np
from fakes import HearingEngine, LoudIsSpeech
from mtasr.transcribe import Model

class Slow(HearingEngine):
    def generate(self, *args):
        found = super().generate(*args)
        working.set()
        ended.wait(0.5)
        print("the batch ended", flush=True)
        return found

working, ended = threading.Event(), threading.Event()
sound = np.random.default_rng(0).normal(0, 0.1, 16000 * 60).astype(np.float32)
stream = Model(Slow(), detector=LoudIsSpeech).stream(sound, language="en")
working.wait()
print("the end of the program", flush=True)
"""


def test_the_interpreter_waits_at_exit_for_the_batch_under_way() -> None:
    """Its engine would crash where there is no interpreter to return to."""
    command = [sys.executable, "-c", EXITS, str(Path(__file__).parent.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == ["the end of the program", "the batch ended"]


FORKS = """
import os, sys
import numpy as np
from mtasr import load_model

model = load_model("base")
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
try:
    model.transcribe(np.zeros(16000, np.float32))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.weights
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_is_told_to_load_its_own_model_and_ends() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ModelError the model was loaded before this process was forked; load it in the")
