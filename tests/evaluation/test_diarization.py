"""Errors of diarization against pyannote.metrics, and cpWER against values of meeteval."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate

from mtasr.edit_distance import ErrorCount
from mtasr.evaluation.diarization import DiarizationErrors, diarization_errors
from mtasr.evaluation.scores import speaker_word_errors
from mtasr.spans import Interval
from mtasr.transcript import Turn

#: All of the made recordings.
EVERYTHING = (-100.0, 1000.0)


def turn(start: float, end: float, speaker: str) -> Turn:
    return Turn(start=start, end=end, speaker=speaker)


def dialogue(chance: random.Random, most: int, name: str) -> list[Turn]:
    """Turns of up to `most` speakers: some touch, many overlap those of others; none overlaps the speaker's own."""
    turns = []
    for speaker in range(chance.randint(0, most)):
        time = chance.uniform(0, 10)
        for _ in range(chance.randint(1, 8)):
            end = time + chance.uniform(0.05, 6)
            turns.append(turn(time, end, f"{name}{speaker}"))
            time = end + chance.choice([0, chance.uniform(0, 8)])
    chance.shuffle(turns)
    return turns


def heard(chance: random.Random, reference: list[Turn]) -> list[Turn]:
    """The reference with moved boundaries, and turns that are lost or another speaker's."""
    speakers = [f"h{number}" for number in range(chance.randint(1, 5))]
    by_name = {each.speaker: chance.choice(speakers) for each in reference}
    moved = [
        turn(
            each.start + chance.uniform(-0.4, 0.4) * chance.randint(0, 1),
            each.end + chance.uniform(0, 0.8),
            by_name[each.speaker] if chance.random() < 0.8 else chance.choice(speakers),
        )
        for each in reference
        if chance.random() < 0.9
    ]
    return [each for each in moved if each.end > each.start]


def annotation(turns: list[Turn]) -> Annotation:
    found = Annotation()
    for track, each in enumerate(turns):
        found[Segment(each.start, each.end), track] = each.speaker
    return found


def of_pyannote(
    reference: list[Turn], hypothesis: list[Turn], collar: float = 0.0, bounds: Interval = EVERYTHING
) -> dict[str, float]:
    """The parts of pyannote's figures. Without `uem`, it would warn that it takes the extent of both."""
    wanted, found = annotation(reference), annotation(hypothesis).support()
    everything = Timeline([Segment(*bounds)])
    der = DiarizationErrorRate(collar=2 * collar)(wanted, found, uem=everything, detailed=True)
    jer = JaccardErrorRate(collar=2 * collar)(wanted, found, uem=everything, detailed=True)
    return {
        "missed": der["missed detection"],
        "false_alarm": der["false alarm"],
        "confusion": der["confusion"],
        "speech": der["total"],
        "jaccard": jer["speaker error"],
        "speakers": jer["speaker count"],
    }


def parts(errors: DiarizationErrors) -> dict[str, float]:
    return {
        name: getattr(errors, name)
        for name in ("missed", "false_alarm", "confusion", "speech", "jaccard", "speakers")
    }  # fmt: skip


@pytest.mark.parametrize("collar", [0.0, 0.25])
@pytest.mark.parametrize("bounds", [None, (5.0, 25.0)])
def test_the_figures_are_those_of_pyannote(collar: float, bounds: Interval | None) -> None:
    chance = random.Random(7)
    for number in range(60):
        reference = dialogue(chance, 4, "r")
        hypothesis = heard(chance, reference) if number % 3 else dialogue(chance, 5, "h")
        errors = diarization_errors(reference, hypothesis, collar=collar, bounds=bounds and [bounds])
        assert parts(errors) == pytest.approx(
            of_pyannote(reference, hypothesis, collar, bounds or EVERYTHING), abs=1e-6
        )


def test_rates_are_those_of_pyannote_over_several_recordings() -> None:
    chance = random.Random(8)
    der, jer, total = DiarizationErrorRate(), JaccardErrorRate(), DiarizationErrors()
    for _ in range(10):
        reference = [*dialogue(chance, 3, "r"), turn(2.0, 5.0, "r9")]
        hypothesis = heard(chance, reference)
        both = [annotation(reference), annotation(hypothesis).support()]
        assert (der(*both, uem=Timeline([Segment(*EVERYTHING)])), jer(*both, uem=Timeline([Segment(*EVERYTHING)]))) == (
            pytest.approx(diarization_errors(reference, hypothesis).der),
            pytest.approx(diarization_errors(reference, hypothesis).jer),
        )
        total += diarization_errors(reference, hypothesis)
    assert total.der == pytest.approx(abs(der))
    assert total.jer == pytest.approx(abs(jer))


REFERENCE = [turn(0, 4, "A"), turn(3, 6, "B"), turn(6, 10, "A")]


@pytest.mark.parametrize(
    ("hypothesis", "expected"),
    [
        # 11 seconds are spoken: 8 by A and 3 by B, one second of both.
        ([turn(0, 4, "x"), turn(3, 6, "y"), turn(6, 10, "x")], (0, 0, 0, 0)),
        ([], (11, 0, 0, 2)),
        ([turn(0, 10, "x")], (1, 0, 2, 0.2 + 1)),
        ([turn(0, 3, "x"), turn(3, 6, "y"), turn(6, 10, "z")], (1, 0, 3, 0.5)),
        ([turn(0, 4, "x"), turn(3, 6, "y"), turn(6, 12, "x"), turn(20, 21, "z")], (0, 3, 0, 0.2)),
    ],
    ids=["other names", "nothing found", "one speaker", "one too many", "added speech"],
)
def test_parts_counted_by_hand(hypothesis: list[Turn], expected: tuple[float, ...]) -> None:
    errors = diarization_errors(REFERENCE, hypothesis)
    assert (errors.missed, errors.false_alarm, errors.confusion, errors.jaccard) == pytest.approx(expected)
    assert (errors.speech, errors.speakers) == (11, 2)
    assert errors.found == len({each.speaker for each in hypothesis})
    assert errors.der == pytest.approx(sum(expected[:3]) / 11)
    assert errors.jer == pytest.approx(expected[3] / 2)


def test_a_collar_spares_what_is_near_boundaries() -> None:
    found = [turn(0.2, 4.2, "x"), turn(2.8, 6, "y"), turn(6.2, 10.5, "x")]
    errors = diarization_errors(REFERENCE, found, collar=0.25)
    # The collars leave 0.25-2.75, 3.25-3.75 (twice), 4.25-5.75 and 6.25-9.75; then 10.25-10.5 is a false alarm.
    assert errors.speech == pytest.approx(2.5 + 2 * 0.5 + 1.5 + 3.5)
    assert (errors.missed, errors.false_alarm, errors.confusion) == pytest.approx((0, 0.25, 0))


def test_nobody_speaks() -> None:
    nothing = diarization_errors([], [])
    assert nothing == DiarizationErrors()
    assert (nothing.der, nothing.jer) == (None, None)
    assert diarization_errors([], [turn(1, 3, "x")]) == DiarizationErrors(false_alarm=2.0, found=1)
    assert diarization_errors(REFERENCE, REFERENCE, bounds=[(20, 30)]) == DiarizationErrors()


def test_a_speakers_own_overlapping_turns_count_once() -> None:
    once = diarization_errors([turn(0, 5, "A")], [turn(0, 6, "x")])
    assert diarization_errors([turn(0, 3, "A"), turn(2, 5, "A")], [turn(0, 6, "x"), turn(1, 4, "x")]) == once


def test_the_order_of_turns_changes_nothing() -> None:
    chance = random.Random(9)
    for _ in range(20):
        reference, hypothesis = dialogue(chance, 4, "r"), dialogue(chance, 4, "h")
        assert diarization_errors(reference[::-1], hypothesis[::-1]) == diarization_errors(reference, hypothesis)


def test_cpwer_is_that_of_meeteval() -> None:
    """The cases and their errors are made by `record_cpwer.py`."""
    cases = json.loads((Path(__file__).parent / "cpwer.json").read_text("utf-8"))
    assert len(cases) >= 100
    for case in cases:
        errors = speaker_word_errors(case["references"], case["hypotheses"])
        assert errors == ErrorCount(case["errors"], case["length"]), case


@pytest.mark.parametrize(
    ("references", "hypotheses", "expected"),
    [
        (["a b c", "d e"], ["d e", "a b c"], (0, 5)),
        (["a b c", "d e"], ["a b c d e"], (4, 5)),
        (["a b c d e"], ["a b c", "d e"], (4, 5)),
        (["a b c", "d e"], [], (5, 5)),
        ([], ["a b"], (2, 0)),
        ([], [], (0, 0)),
        # Whoever pairs the best match first has seven errors.
        (["a b c d", "a b c"], ["a b c", "x y z"], (4, 7)),
    ],
)
def test_words_of_speakers(references: list[str], hypotheses: list[str], expected: tuple[int, int]) -> None:
    assert speaker_word_errors(references, hypotheses) == ErrorCount(*expected)
