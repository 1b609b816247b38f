"""Where words lie among pauses.

The path of an alignment has no place for silence but a word, and is often a few tenths of a second off. Voice activity
knows to a few hundredths where speech stops and goes on, but not between which words. Together they tell both: each
pause is given to the gap between two words that suits it best, and the words between two pauses fill the speech there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mtasr.spans import Interval
from mtasr.transcript import Word

#: A pause is placed between words at most this many seconds away from it, ...
_FARTHEST = 1.2
#: ... and a word that ends in punctuation is as likely before it as one this many seconds nearer.
_WORTH_OF_MARK = 0.25
#: A word that stretches over a pause costs as much as being off by this many times the length of the pause.
_WORTH_OF_PAUSE = 1.5
#: Words that take longer or shorter than their letters tell, in seconds of that.
_WORTH_OF_LENGTH = 0.5

#: A word is squeezed if it has less than this many seconds, or less than this part of what its letters take on average.
_SHORTEST_WORD = 0.04
_LEAST_OF_LETTERS = 0.2

_MARKS = ".,;:!?…。，、；：！？"


@dataclass(frozen=True, slots=True)
class _Choice:
    """A pause between two words: the pause's index, the number of words before it, and what led there."""

    pause: int
    words: int
    cost: float
    before: _Choice | None


def place_words(words: Sequence[Word], speech: Sequence[Interval]) -> list[Word]:
    """The words of a window with times that respect its pauses.

    `words` follow each other; `speech` are the stretches of speech, ascending and apart. Times are in seconds from the
    start of the window. Without speech, the words stay as they are.
    """
    if not words or not speech:
        return list(words)
    placed: list[Word] = []
    for group, first, last in _groups(words, speech):
        placed.extend(_fill(words[group], speech[first : last + 1]))
    return placed


def _groups(words: Sequence[Word], speech: Sequence[Interval]) -> list[tuple[slice, int, int]]:
    """Which words lie in which stretches: (words, first stretch, last stretch), in order."""
    letters = [0]
    for each in words:
        letters.append(letters[-1] + _letters(each))
    spoken = [0.0]
    for start, end in speech:
        spoken.append(spoken[-1] + end - start)
    seconds_per_letter = spoken[-1] / letters[-1]

    def cost_between(pause: int, word: int, next_pause: int, next_word: int) -> float:
        """Of having just these words between two pauses."""
        expected = (letters[next_word] - letters[word]) * seconds_per_letter
        there = spoken[next_pause] - spoken[pause]
        stretched = sum(speech[index][0] - speech[index - 1][1] for index in range(pause + 1, next_pause))
        return _WORTH_OF_LENGTH * abs(expected - there) + _WORTH_OF_PAUSE * stretched

    # The pause of index i lies before speech[i]; those at the ends are taken.
    choices = [_Choice(0, 0, 0.0, None)]
    for pause in range(1, len(speech)):
        begin, end = speech[pause - 1][1], speech[pause][0]
        found = []
        for word in range(1, len(words)):
            distance = _distance(words[word - 1].end, words[word].start, begin, end)
            if distance > _FARTHEST:
                continue
            mark = _WORTH_OF_MARK if words[word - 1].word.rstrip()[-1:] in _MARKS else 0.0
            options = [
                _Choice(pause, word, before.cost + cost_between(before.pause, before.words, pause, word), before)
                for before in choices
                if before.words < word
            ]
            best = min(options, key=lambda option: option.cost)
            found.append(replace(best, cost=best.cost + distance - mark))
        choices.extend(found)
    final = min(
        choices,
        key=lambda choice: choice.cost + cost_between(choice.pause, choice.words, len(speech), len(words)),
    )
    return _traced(final, len(speech), len(words))


def _letters(word: Word) -> int:
    return max(1, sum(map(str.isalnum, word.word)))


def _distance(left: float, right: float, begin: float, end: float) -> float:
    """How far the gap between two words is from a pause: 0 if they touch."""
    return max(0.0, begin - max(left, right), min(left, right) - end)


def _traced(final: _Choice, pauses: int, words: int) -> list[tuple[slice, int, int]]:
    groups: list[tuple[slice, int, int]] = []
    choice: _Choice | None = final
    while choice is not None:
        groups.append((slice(choice.words, words), choice.pause, pauses - 1))
        pauses, words, choice = choice.pause, choice.words, choice.before
    return groups[::-1]


def _fill(words: Sequence[Word], speech: Sequence[Interval]) -> list[Word]:
    """Words that fill the stretches from the first one's start to the last one's end."""
    begin, end = speech[0][0], speech[-1][1]
    cuts = [begin, *(min(max((a.end + b.start) / 2, begin), end) for a, b in itertools.pairwise(words)), end]
    lengths = [after - before for before, after in itertools.pairwise(cuts)]
    lengths = _without_squeezed(lengths, [_letters(word) for word in words])
    inner = itertools.accumulate(lengths[:-1], initial=begin)
    cuts = [*(min(cut, end) for cut in inner), end]
    return [replace(word, start=cuts[index], end=cuts[index + 1]) for index, word in enumerate(words)]


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive words that share their time by their letters."""

    words: int
    letters: int
    seconds: float

    def __add__(self, other: _Run) -> _Run:
        return _Run(self.words + other.words, self.letters + other.letters, self.seconds + other.seconds)

    @property
    def pace(self) -> float:
        """Seconds per letter."""
        return self.seconds / self.letters

    def is_squeezed(self, usual_pace: float) -> bool:
        least = max(_SHORTEST_WORD * self.words, _LEAST_OF_LETTERS * usual_pace * self.letters)
        return self.seconds < min(least, usual_pace * self.letters)


def _without_squeezed(lengths: Sequence[float], letters: Sequence[int]) -> list[float]:
    """The lengths of words in seconds, without squeezed ones; their sum stays.

    Squeezed words that follow each other share the time of the roomier word beside them, then that of another one,
    until they have enough. All other words stay as they were aligned.
    """
    runs = [_Run(1, count, length) for count, length in zip(letters, lengths, strict=True)]
    usual_pace = sum(lengths) / sum(letters)
    while len(runs) > 1:
        squeezed = [index for index, run in enumerate(runs) if run.is_squeezed(usual_pace)]
        if not squeezed:
            break
        worst = min(squeezed, key=lambda index: runs[index].pace)
        beside = [index for index in (worst - 1, worst + 1) if 0 <= index < len(runs)]
        partner = max(beside, key=lambda index: (index in squeezed, runs[index].pace))
        first, second = sorted((worst, partner))
        runs[first : second + 1] = [runs[first] + runs[second]]
    counts = iter(letters)
    return [run.pace * count for run in runs for count in itertools.islice(counts, run.words)]
