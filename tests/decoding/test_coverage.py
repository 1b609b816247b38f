"""Speech without text and text without speech."""

from __future__ import annotations

import random

import pytest

from mtasr.decoding.coverage import coverage
from mtasr.transcript import Segment


def segment(number: int, start: float, end: float, text: str = " some words that were said") -> Segment:
    return Segment(
        id=number, start=start, end=end, text=text, tokens=(), avg_logprob=-0.2, compression_ratio=1.0,
        no_speech_prob=0.0, temperature=0.0,
    )  # fmt: skip


def test_nothing_to_report() -> None:
    found = coverage({None: [(0.5, 2.0), (3.0, 4.5)]}, [segment(0, 0.5, 2.0), segment(1, 3.2, 4.3)])
    assert found.complete
    assert found.speech == 3.0
    assert coverage({None: []}, []).complete


def test_speech_without_text_is_found_and_joined_over_short_pauses() -> None:
    found = coverage({None: [(0, 2), (3, 4), (4.4, 5), (8, 8.5), (9, 10)]}, [segment(0, 0, 2), segment(1, 9, 10)])
    assert found.speech_without_text == ((3.0, 5.0),), "half a second alone is not worth a word"
    assert not found.complete


def test_text_without_speech_is_found() -> None:
    found = coverage({None: [(0, 2)]}, [segment(0, 0, 2), segment(1, 5, 6)])
    assert found.text_without_speech == ((5, 6),)


def test_a_segment_with_far_too_little_text_does_not_count() -> None:
    text = " so many words are usually said in four seconds of speech"
    said = [segment(0, 0, 4, text), segment(1, 5, 9, " ah"), segment(2, 10, 14, text)]
    assert coverage({None: [(0, 4), (5, 9), (10, 14)]}, said).speech_without_text == ((5, 9),)


def test_text_that_has_no_room_does_not_make_the_rest_sparse() -> None:
    text = " so many words are usually said in four seconds of speech"
    squeezed = [segment(number, 5.9 + number / 50, 5.92 + number / 50, text) for number in range(1, 5)]
    assert coverage({None: [(0, 6)]}, [segment(0, 0, 5.92, text), *squeezed]).complete


@pytest.mark.parametrize("seed", range(20))
def test_sentences_blanked_out_are_found(seed: int) -> None:
    """Of 100 sentences 20 are taken out of the transcript; 95 % of those are reported, and none of the others."""
    chooser = random.Random(seed)
    speech, segments, at = [], [], 0.0
    for number in range(100):
        length = chooser.uniform(1.2, 6.0)
        # A sentence has pauses inside, and its segment's times are a little off.
        middle = at + length * chooser.uniform(0.3, 0.7)
        speech += [(at, middle), (middle + 0.15, at + length)]
        times = at + chooser.uniform(-0.2, 0.2), at + length + chooser.uniform(-0.2, 0.2)
        segments.append(segment(number, *times, text=" word" * round(length * 2.5)))
        at += length + chooser.uniform(0.4, 3.0)
    blanked = set(chooser.sample(range(100), 20))
    left = [each for each in segments if each.id not in blanked]
    found = coverage({None: speech}, left)
    reported = {
        number
        for number in range(100)
        if any(
            start < segments[number].end - 0.5 and end > segments[number].start + 0.5
            for start, end in found.speech_without_text
        )
    }
    assert len(reported & blanked) >= 0.95 * len(blanked)
    assert reported <= blanked
    assert found.text_without_speech == ()
