"""The course of a live session, with drafts that the test writes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pytest
from fakes import LoudIsSpeech
from hypothesis import given, settings
from hypothesis import strategies as st

from mtasr.arrays import Float32Array
from mtasr.live.agreement import DraftedWord
from mtasr.live.captioner import Captioner, DraftTask, FinalTask
from mtasr.live.events import Committed, Draft, Event, SpeechStarted, SpeechStopped
from mtasr.live.policy import LivePolicy
from mtasr.spans import SAMPLE_RATE
from mtasr.transcript import Word

Step = Event | DraftTask | FinalTask
S = TypeVar("S")
Drafts = Callable[[DraftTask], Sequence[DraftedWord] | None]


def sound(*seconds: float) -> Float32Array:
    """Noise and silence by turns, so many seconds each, the noise first."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, 0.1, round(each * SAMPLE_RATE)) * (place % 2 == 0) for place, each in enumerate(seconds)]
    return np.concatenate(parts).astype(np.float32)


def piece(text: str, token: int, start: float, end: float, probability: float = 0.5) -> DraftedWord:
    return DraftedWord(Word(word=text, start=start, end=end, probability=probability), (token,))


def counting(task: DraftTask) -> list[DraftedWord]:
    """Two words for each second, with the number of their half second for a token."""
    first, last = task.window.start * 2 / SAMPLE_RATE, (task.window.start + len(task.window.samples)) * 2 / SAMPLE_RATE
    numbers = [*task.given, *range(task.given[-1] + 1 if task.given else round(first), int(last))]
    return [piece(f" {number}", number, number / 2, (number + 1) / 2 - 0.1) for number in numbers]


def captioned(
    samples: Float32Array,
    drafts: Drafts = counting,
    policy: LivePolicy | None = None,
    sizes: Iterable[int] = (),
    lag: float = 0.0,
) -> list[Step]:
    """All that comes of the samples, given in blocks of these sizes and the rest at once."""
    captioner = Captioner(policy or LivePolicy(), LoudIsSpeech())
    steps: list[Step] = []

    def run() -> None:
        while (step := captioner.step()) is not None:
            steps.append(step)
            if isinstance(step, DraftTask):
                captioner.drafted(step, drafts(step), lag)

    for size in (*sizes, len(samples)):
        captioner.add(samples[:size])
        samples = samples[size:]
        run()
    captioner.add(samples, last=True)
    run()
    captioner.cut()
    run()
    return steps


def of(kind: type[S], steps: Sequence[Step]) -> list[S]:
    return [step for step in steps if isinstance(step, kind)]


def committed_text(steps: Sequence[Step]) -> str:
    return "".join(step.text for step in of(Committed, steps))


def test_silence_is_not_decoded() -> None:
    assert captioned(np.zeros(60 * SAMPLE_RATE, np.float32)) == []


def test_a_stretch_starts_is_drafted_stops_and_becomes_final() -> None:
    steps = captioned(sound(0, 1.0, 3.0, 2.0))
    (started,), (stopped,), (final,) = of(SpeechStarted, steps), of(SpeechStopped, steps), of(FinalTask, steps)
    assert started.at == pytest.approx(1.0, abs=0.04)
    assert stopped.at == pytest.approx(4.0, abs=0.04)
    assert final.window.offset == pytest.approx(0.5, abs=0.1)  # with a margin of half a second
    assert final.window.offset + final.window.seconds == pytest.approx(4.5, abs=0.1)
    assert final.window.speech_seconds == pytest.approx(3.0, abs=0.1)
    assert steps.index(started) < steps.index(of(DraftTask, steps)[0]) < steps.index(stopped) < steps.index(final)


def test_each_pause_ends_a_stretch_and_short_ones_do_not() -> None:
    steps = captioned(sound(2.0, 1.0, 2.0, 0.3, 2.0, 1.0))
    assert [round(step.at) for step in of(SpeechStopped, steps)] == [2, 7]
    assert [step.stretch for step in of(FinalTask, steps)] == [0, 1]


def test_without_a_pause_only_a_cut_ends_a_stretch() -> None:
    steps = captioned(sound(2.0, 3.0, 2.0, 3.0), policy=LivePolicy(pause=None))
    assert len(of(FinalTask, steps)) == 1
    assert of(FinalTask, steps)[0].window.seconds == pytest.approx(10.0, abs=0.1)


def test_without_a_pause_long_silence_starts_nothing() -> None:
    steps = captioned(sound(2.0, 90.0), policy=LivePolicy(pause=None))
    assert len(of(SpeechStarted, steps)) == len(of(SpeechStopped, steps)) == 1
    assert of(SpeechStopped, steps)[0].at == pytest.approx(2.0, abs=0.04)


def test_words_are_committed_once_two_drafts_have_them() -> None:
    steps = captioned(sound(3.0, 1.0), policy=LivePolicy(step=1.0, margin=0.4))
    assert committed_text(steps) == " 0 1 2 3 4 5"
    first = of(Committed, steps)[0]
    assert first.text == " 0 1"  # drafted at 1 s and at 2 s, while 2 and 3 were drafted once


def test_the_draft_follows_what_is_committed() -> None:
    steps = captioned(sound(4.0, 1.0), policy=LivePolicy(step=1.0))
    text = ""
    for step in steps:
        if isinstance(step, Committed):
            text += step.text
        elif isinstance(step, Draft):
            shown = [int(number) for number in (text + step.text).split()]
            assert shown == list(range(len(shown)))


def test_lag_makes_steps_longer() -> None:
    def gaps(lag: float) -> list[float]:
        steps = captioned(sound(12.0), policy=LivePolicy(step=0.7, slack=1.25), lag=lag)
        ends = [each.window.offset + each.window.seconds for each in of(DraftTask, steps)]
        return [round(after - before, 1) for before, after in itertools.pairwise(ends)]

    assert set(gaps(0.1)[:-1]) == {0.7}
    assert set(gaps(2.0)[:-1]) == {2.5}


def test_pauses_cause_no_drafts_while_the_session_is_late() -> None:
    samples = sound(*[0.9, 0.3] * 10, *[0.9, 0.7] * 10)
    ends = [
        each.window.offset + each.window.seconds
        for each in of(DraftTask, captioned(samples, policy=LivePolicy(slack=1.25), lag=4.0))
    ]
    assert len(ends) > 3
    assert min(after - before for before, after in itertools.pairwise(ends)) >= 4.9


def test_text_that_cannot_be_trusted_changes_nothing() -> None:
    steps = captioned(sound(3.0, 1.0), drafts=lambda task: None)
    assert not of(Draft, steps)
    assert not of(Committed, steps)
    assert len(of(FinalTask, steps)) == 1


def test_nothing_is_committed_by_a_policy_that_does_not() -> None:
    steps = captioned(sound(30.0, 1.0), policy=LivePolicy(commits=False))
    assert not of(Committed, steps)
    assert of(Draft, steps)


def test_speech_without_a_pause_is_cut_between_words() -> None:
    steps = captioned(sound(90.0, 1.0))
    finals = of(FinalTask, steps)
    assert len(finals) > 4
    for before, after in itertools.pairwise(finals):
        assert before.window.start + len(before.window.samples) == after.window.start
    # The last word may have been drafted once.
    assert committed_text(steps).split()[:179] == [str(number) for number in range(179)]
    assert max(task.window.seconds for task in of(DraftTask, steps)) < 10


def test_a_row_of_words_that_a_draft_writes_again_is_not_committed_again() -> None:
    """From the fifth second on, drafts write all that they heard twice, the second time within a tenth of a second."""

    def drafts(task: DraftTask) -> list[DraftedWord]:
        pieces = counting(task)
        end = task.window.offset + task.window.seconds
        if end < 5:
            return pieces
        again = [replace(each.word, start=end - 0.1, end=end) for each in pieces]
        return [*pieces, *(DraftedWord(word, each.tokens) for word, each in zip(again, pieces, strict=True))]

    steps = captioned(sound(12.0, 1.0), drafts)
    assert committed_text(steps).split() == [str(number) for number in range(24)]


def misleading(task: DraftTask) -> list[DraftedWord]:
    """The words of `counting`, all at the end of the audio."""
    end = task.window.offset + task.window.seconds
    return [replace(each, word=replace(each.word, start=end, end=end)) for each in counting(task)]


def test_where_times_mislead_agreement_alone_commits() -> None:
    def committed(*, trusts_times: bool) -> list[str]:
        policy = LivePolicy(step=1.0, trusts_times=trusts_times)
        return [each.text for each in of(Committed, captioned(sound(3.0, 1.0), misleading, policy))]

    assert committed(trusts_times=True) == [" 0 1 2 3 4 5"]  # once it is silent
    assert committed(trusts_times=False) == [" 0 1", " 2 3", " 4 5"]


@pytest.mark.parametrize("pause", [0.5, None])
@pytest.mark.parametrize("trusts_times", [True, False])
def test_a_short_pause_ends_a_long_stretch(pause: float | None, trusts_times: bool) -> None:
    """From 15 s on a fifth of a second is enough."""
    policy = LivePolicy(trusts_times=trusts_times, pause=pause)
    steps = captioned(sound(*[4.0, 0.3] * 10), policy=policy)
    stopped = [each.at for each in of(SpeechStopped, steps)]
    assert stopped == [pytest.approx(at, abs=0.05) for at in (16.9, 34.1, 42.7)]


def test_where_times_mislead_drafts_hear_all_of_the_stretch() -> None:
    steps = captioned(sound(*[4.0, 0.3] * 10), misleading, LivePolicy(trusts_times=False))
    starts = {each.window.start for each in of(DraftTask, steps)}
    assert starts == {each.window.start for each in of(FinalTask, steps)}


def test_speech_in_which_no_word_is_sure_is_cut_too() -> None:
    steps = captioned(sound(90.0, 1.0), drafts=lambda task: None)
    assert max(task.window.seconds for task in of(FinalTask, steps)) < 26


def test_samples_that_nothing_needs_are_dropped() -> None:
    captioner = Captioner(LivePolicy(), LoudIsSpeech())
    most = 0
    for _ in range(20):
        for block in np.split(sound(37.0, 3.0), 40):
            captioner.add(block)
            while (step := captioner.step()) is not None:
                if isinstance(step, DraftTask):
                    captioner.drafted(step, counting(step))
            most = max(most, len(captioner._samples))
    assert most < 28 * SAMPLE_RATE


def test_a_mark_after_a_committed_word_is_a_word_of_its_own() -> None:
    def drafts(task: DraftTask) -> list[DraftedWord]:
        if not task.given:
            return [piece(" well", 1, 0.0, 0.3), piece(" then", 2, 0.3, 0.6)]
        return [
            DraftedWord(Word(word=" well,", start=0.0, end=0.3, probability=0.9), (1, 9)),
            piece(" then", 2, 0.3, 0.6),
        ]

    steps = captioned(sound(2.5, 1.0), drafts, LivePolicy(step=0.7, margin=0.0))
    assert committed_text(steps) == " well, then"


def test_a_mark_that_joined_a_committed_word_is_given_once() -> None:
    """Words of one token each, the second of which is a mark that the draft after joins to the first."""

    def drafts(task: DraftTask) -> list[DraftedWord]:
        pieces = counting(task)
        if len(pieces) > 3 and len(task.given) > 3:
            one, mark = pieces[:2]
            joined = replace(one.word, word=one.word.word + mark.word.word, end=mark.word.end)
            pieces[:2] = [DraftedWord(joined, one.tokens + mark.tokens)]
        return pieces

    tasks = of(DraftTask, captioned(sound(14.0, 1.0), drafts))
    for task in tasks:
        known = [*task.previous, *task.given]
        assert known == list(range(len(known)))
    assert any(task.previous for task in tasks)


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 20_000), max_size=40))
def test_what_is_committed_is_never_taken_back_and_blocks_do_not_matter(seed: int, sizes: list[int]) -> None:
    """Drafts of random words: each begins with all committed words of its window, and follows those before it."""
    samples = sound(9.0, 0.8, 14.0, 0.3, 12.0, 1.0)

    def drafts(task: DraftTask) -> list[DraftedWord] | None:
        rng = random.Random(f"{seed} {task.window.start} {len(task.window.samples)}")
        if rng.random() < 0.1:
            return None
        tokens = [*task.given, *(rng.randrange(4) for _ in range(rng.randrange(8)))]
        end = task.window.offset + task.window.seconds
        times = sorted(rng.uniform(task.window.offset, end) for _ in range(len(tokens) + 1))
        return [
            piece(f" {token}", token, start, stop, rng.random())
            for token, start, stop in zip(tokens, times, times[1:], strict=False)
        ]

    steps = captioned(samples, drafts)
    committed: dict[int, list[int]] = {}
    for step in steps:
        if isinstance(step, Committed):
            committed.setdefault(step.stretch, []).extend(int(word.word) for word in step.words)
        elif isinstance(step, DraftTask):
            known = [*step.previous, *step.given]
            assert known == committed.get(step.stretch, [])[-len(known) :][: len(known)] or not known
            assert len(known) >= min(60, len(committed.get(step.stretch, [])))
    shown = [repr(step) for step in steps]
    assert [repr(step) for step in captioned(samples, drafts, sizes=sizes)] == shown
