"""Which excerpts an epoch has, in which form, and in which batches: a function of the seed and the epoch's number.

An epoch depends on no other, so two numbers are enough to resume a run in the middle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mtasr.data.excerpts import Excerpt, cut_excerpts, joined
from mtasr.data.records import Record
from mtasr.decoding.window_input import context_for
from mtasr.tokenizer import Tokenizer
from mtasr.training.config import DataConfig
from mtasr.training.targets import Target, target_of, with_dropout

#: Least and most seconds of silence between recordings that are joined.
_GAP = (0.2, 1.0)
#: Examples that are sorted by length together.
_SORTED_AT_ONCE = 512
#: Seconds of an encoder frame: two feature frames of 10 ms.
_FRAME = 0.02
#: Seconds of padding that cost as much as one more batch. The first value that keeps the padding low enough counts.
_BATCH_COSTS = (60.0, 30.0, 15.0, 8.0, 4.0, 2.0, 1.0, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An excerpt, its target, and the seconds of encoder input: the excerpt and silence after it.

    `wanted` is the length that chance has drawn, which applies as far as there is room for padding.
    """

    excerpt: Excerpt
    target: Target
    context: float
    wanted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSource:
    """What examples are made from: records, and the tokenizer and contexts (tokens, seconds) of the model to train."""

    records: Sequence[Record]
    rehearsal: Sequence[Record]
    tokenizer: Tokenizer
    text_context: int
    audio_seconds: float


def epoch_of(source: ExampleSource, config: DataConfig, seed: int, epoch: int) -> list[list[Example]]:
    """The batches of an epoch. Each excerpt of the data is in it once, in a form that chance decides."""
    rng = np.random.default_rng([seed, epoch])
    longest = _longest(source, config)
    excerpts = _excerpts(source.records, config, longest, rng)
    if source.rehearsal and config.rehearsal_share < 1:
        others = _excerpts(source.rehearsal, config, longest, rng)
        wanted = round(len(excerpts) * config.rehearsal_share / (1 - config.rehearsal_share))
        excerpts += [others[index] for index in _drawn(len(others), wanted, rng)]
    examples = [each for excerpt in excerpts if (each := _example(excerpt, source, config, rng)) is not None]
    examples = [examples[index] for index in rng.permutation(len(examples))]
    batches = [
        batch
        for first in range(0, len(examples), _SORTED_AT_ONCE)
        for batch in batches_of(padded(examples[first : first + _SORTED_AT_ONCE], config.padding), config)
    ]
    return [batches[index] for index in rng.permutation(len(batches))]


def _longest(source: ExampleSource, config: DataConfig) -> float:
    return min(config.longest, source.audio_seconds)


def most_context(config: DataConfig, audio_seconds: float) -> float:
    """The most seconds of encoder input that an example has, for an encoder that takes `audio_seconds`."""
    # Translations get all of it as their margin.
    is_padded = config.padding > 0 and (config.full_context > 0 or config.margin > 0)
    return audio_seconds if is_padded else min(config.longest, audio_seconds)


def _drawn(count: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """`wanted` indices below `count`, each as often as any other or once more."""
    if not count:
        return []
    rounds = (rng.permutation(count) for _ in range(-(-wanted // count)))
    return [int(index) for index in itertools.chain.from_iterable(rounds)][:wanted]


def _excerpts(records: Iterable[Record], config: DataConfig, longest: float, rng: np.random.Generator) -> list[Excerpt]:
    def length() -> float:
        return float(rng.uniform(min(config.shortest, longest), longest)) if rng.random() < config.short else longest

    excerpts = [excerpt for record in records for excerpt in cut_excerpts(record, length)]
    excerpts = [excerpt for excerpt in excerpts if excerpt.captions or rng.random() < config.silence]
    return _joined_some(excerpts, config, min(config.join_seconds, longest), rng)


def _joined_some(
    excerpts: list[Excerpt], config: DataConfig, longest: float, rng: np.random.Generator
) -> list[Excerpt]:
    """Join short recordings of the same kind to longer excerpts, in random order."""
    result: list[Excerpt] = []
    groups: dict[tuple[object, ...], list[Excerpt]] = {}
    for excerpt in excerpts:
        if excerpt.whole and excerpt.captions and excerpt.seconds < longest and rng.random() < config.join:
            groups.setdefault((excerpt.language, excerpt.task, excerpt.timed), []).append(excerpt)
        else:
            result.append(excerpt)
    for group in groups.values():
        pending: list[Excerpt] = []
        gaps: list[float] = []
        most, total = 0.0, 0.0
        for index in rng.permutation(len(group)):
            excerpt, gap = group[index], float(rng.uniform(*_GAP))
            if pending and total + gap + excerpt.seconds > most:
                result.append(joined(pending, gaps[1:]))
                pending, gaps, total = [], [], 0.0
            if not pending:
                most, gap = float(rng.uniform(0.3, 1.0)) * longest, 0.0
            pending, gaps, total = [*pending, excerpt], [*gaps, gap], total + gap + excerpt.seconds
        if pending:
            result.append(joined(pending, gaps[1:]))
    return result


def _example(excerpt: Excerpt, source: ExampleSource, config: DataConfig, rng: np.random.Generator) -> Example | None:
    """A random form of the excerpt, or None if it does not fit the model. Always draws the same number of times."""
    timestamps, previous, leads, full, margin = rng.random(5) < (
        config.timestamps, config.previous, config.lead, config.full_context, config.margin,
    )  # fmt: skip
    silence = float(rng.uniform(0, config.lead_seconds))
    longest, most = _longest(source, config), source.audio_seconds
    if not timestamps:
        excerpt = excerpt.before_cut()
    if leads:
        excerpt = excerpt.delayed(min(silence, max(0.0, longest - excerpt.seconds)))
    targeted = partial(
        target_of,
        excerpt,
        source.tokenizer,
        timestamps=bool(timestamps),
        previous=bool(previous),
        context=source.text_context,
    )
    target = None
    if config.bpe_dropout:
        chance = np.random.default_rng(int(rng.integers(1 << 32)))
        target = targeted(encode=with_dropout(source.tokenizer, config.bpe_dropout, chance))
    if target is None:  # without dropout, or with so much of it that the tokens do not fit
        target = targeted()
    if target is None or not excerpt.fits(longest):
        return None
    context = min(math.ceil(excerpt.seconds / _FRAME - 1e-6) * _FRAME, most)
    wanted = most if full else context_for(excerpt.seconds, excerpt.task, most) if margin else context
    return Example(excerpt=excerpt, target=target, context=context, wanted=wanted)


def padded(examples: Sequence[Example], most: float) -> list[Example]:
    """The examples at the lengths they want, in order, until these take half of `most`, the share of padding."""
    audio = sum(example.excerpt.seconds for example in examples)
    room = audio * most / (2 - most) if most < 1 else math.inf
    result = []
    for example in examples:
        cost = example.wanted - example.context
        fits = cost <= room
        room -= cost if fits else 0.0
        result.append(replace(example, context=example.wanted) if fits else example)
    return result


def batches_of(examples: Iterable[Example], config: DataConfig) -> list[list[Example]]:
    """Batches of examples of similar length within the limits of the configuration: few, but with little padding."""
    order = sorted(examples, key=lambda each: (-each.context, -len(each.target.tokens)))
    audio = sum(example.excerpt.seconds for example in order)
    batches: list[list[Example]] = []
    for cost in _BATCH_COSTS:
        batches = _cut(order, config, cost)
        if audio >= (1 - config.padding) * sum(batch[0].context * len(batch) for batch in batches):
            break
    return batches


def _cut(order: Sequence[Example], config: DataConfig, cost: float) -> list[list[Example]]:
    """The cheapest way to cut examples, the longest first, into batches that cost their seconds and `cost` more."""
    costs, starts = [0.0], [0]  # of the first n examples, and where the last batch of them begins
    for end in range(1, len(order) + 1):
        best, start, tokens = math.inf, end - 1, 0
        for first in range(end - 1, -1, -1):
            tokens, count = max(tokens, len(order[first].target.tokens)), end - first
            seconds = count * order[first].context
            if count > 1 and (seconds > config.batch_seconds or count * tokens > config.batch_tokens):
                break
            if (total := costs[first] + seconds + cost) < best:
                best, start = total, first
        costs.append(best)
        starts.append(start)
    batches, end = [], len(order)
    while end:
        batches.append(list(order[starts[end] : end]))
        end = starts[end]
    return batches
