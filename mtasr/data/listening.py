"""A filter that lets a model listen: windows of several records are encoded and scored together, on all cores."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.read import SAMPLE_RATE
from mtasr.data.captions_heard import HeardExcerpt, Scored, is_likely, is_word, text_tokens
from mtasr.data.excerpts import Excerpt, cut_excerpts
from mtasr.data.filters import without_descriptions
from mtasr.data.records import Record
from mtasr.data.samples import read_samples
from mtasr.decoding.window_decoder import context_for, features_of
from mtasr.decoding.windows import LONGEST
from mtasr.engines.engine import Encoded, Engine, Hypothesis, LanguageGuess
from mtasr.options import DecodingOptions

#: The model's own text is compared with, not kept: the beam finds hardly more probable ones, in twice the time.
_OPTIONS = DecodingOptions(beam_size=1)


@dataclass(frozen=True, slots=True)
class _Task:
    """A window of a record with its samples, and its text as tokens."""

    record: int
    excerpt: Excerpt
    samples: Float32Array
    tokens: list[int]
    marks: int
    context: float

    @property
    def language(self) -> str:
        return self.excerpt.language or ""


class ModelHears:
    """Drops records if what a model hears is another language than the label or not what the captions say.

    That is, if windows with a reason against them have more than `most` of the captioned time. What the captions of a
    translation say is not compared. A window that does not fit the model, in a language that it does not know or with
    captions longer than its encoder or decoder takes, has no reason against it, as such a model does not learn it.
    """

    def __init__(self, engine: Engine, most: float = 0.4) -> None:
        self._engine, self._most = engine, most
        self._heard: dict[Record, list[HeardExcerpt]] = {}

    def __call__(self, record: Record) -> str | None:
        if record not in self._heard:
            self.prepare([record])
        heard = self._heard[record]
        against: defaultdict[str, float] = defaultdict(float)
        for each in heard:
            if (reason := each.reason) is not None:
                against[reason] += each.seconds
        if sum(against.values()) <= self._most * sum(each.seconds for each in heard):
            return None
        return max(against, key=lambda reason: against[reason])

    def prepare(self, records: Sequence[Record]) -> None:
        """Listen to these records, and forget others. Raises `InputError` for a recording that cannot be read."""
        self._heard = {record: [] for record in records}
        pending: deque[tuple[list[_Task], Future[list[HeardExcerpt]]]] = deque()

        def take() -> None:
            tasks, future = pending.popleft()
            for task, heard in zip(tasks, future.result(), strict=True):
                self._heard[records[task.record]].append(heard)

        with ThreadPoolExecutor(self._engine.workers) as pool:
            for tasks in _batches(self._tasks(records), self._engine.batch_size):
                pending.append((tasks, pool.submit(self._listen, tasks)))
                while len(pending) > 2 * self._engine.workers:
                    take()
            while pending:
                take()

    def _tasks(self, records: Sequence[Record]) -> Iterator[_Task]:
        engine = self._engine
        for place, record in enumerate(records):
            if record.language not in engine.tokenizer.language_tokens:
                continue
            cleaned = without_descriptions(record)
            excerpts = [each.before_cut() for each in cut_excerpts(cleaned, lambda: min(LONGEST, engine.audio_seconds))]
            excerpts = [each for each in excerpts if each.captions and each.fits(engine.audio_seconds)]
            samples = read_samples(Path(record.audio)) if excerpts else np.zeros(0, np.float32)
            for excerpt in excerpts:
                text = " ".join(caption.text for caption in excerpt.captions)
                tokens, marks = text_tokens(text, record.text_language, engine.tokenizer)
                part = excerpt.parts[0]
                heard = samples[round(part.start * SAMPLE_RATE) : round(part.end * SAMPLE_RATE)].copy()
                if len(heard) and any(map(str.isalnum, text)) and len(tokens) <= engine.max_length // 2 - 2:
                    context = context_for(
                        excerpt.seconds, "transcribe", engine.audio_seconds, variable_length=engine.variable_length
                    )
                    yield _Task(place, excerpt, heard, tokens, marks, context)

    def _listen(self, tasks: Sequence[_Task]) -> list[HeardExcerpt]:
        """What becomes of tasks of the same context."""
        n_mels = self._engine.n_mels
        encoded = self._engine.encode_batch([features_of(task.samples, task.context, n_mels) for task in tasks])
        foreign = [self._foreign(task, each) for task, each in zip(tasks, encoded, strict=True)]
        compared = [place for place, task in enumerate(tasks) if task.excerpt.task == "transcribe"]
        own, scored = self._own(tasks, encoded, compared), self._scored(tasks, encoded, compared)
        likely = [place for place in compared if (guess := foreign[place]) is not None and is_likely(guess.probability)]
        elsewhere = self._scored(tasks, encoded, likely, foreign)
        return [
            HeardExcerpt(
                seconds=task.excerpt.seconds,
                foreign=foreign[place],
                own=own.get(place),
                scored=scored.get(place),
                elsewhere=elsewhere.get(place),
            )
            for place, task in enumerate(tasks)
        ]

    def _foreign(self, task: _Task, encoded: Encoded) -> LanguageGuess | None:
        """The language heard, if it is not that of the label."""
        if not self._engine.tokenizer.is_multilingual:
            return None
        best = self._engine.detect_language(encoded)[0]
        return None if best.code == task.language else best

    def _own(self, tasks: Sequence[_Task], encoded: Sequence[Encoded], places: Sequence[int]) -> dict[int, Hypothesis]:
        """What the model writes itself in some of the windows."""
        if not places:
            return {}
        some = [encoded[place] for place in places]
        prompts = [self._prompt(tasks[place].language) for place in places]
        return dict(zip(places, self._engine.generate_batch(some, prompts, _OPTIONS, 0.0), strict=True))

    def _scored(
        self,
        tasks: Sequence[_Task],
        encoded: Sequence[Encoded],
        places: Sequence[int],
        languages: Sequence[LanguageGuess | None] = (),
    ) -> dict[int, Scored]:
        """The texts of some of the windows, in the language of the label or another."""
        if not places:
            return {}
        guesses = {place: guess.code for place in places if languages and (guess := languages[place])}
        found = self._engine.score_batch(
            [encoded[place] for place in places],
            [self._prompt(guesses.get(place, tasks[place].language)) for place in places],
            [tasks[place].tokens for place in places],
        )
        return {
            place: Scored(
                tokens=tasks[place].tokens,
                marks=tasks[place].marks,
                words=[is_word(token, self._engine.tokenizer) for token in tasks[place].tokens],
                likelihood=likelihood,
            )
            for place, likelihood in zip(places, found, strict=True)
        }

    def _prompt(self, language: str) -> tuple[int, ...]:
        return self._engine.tokenizer.sot_sequence(language, "transcribe", timestamps=False)


def _batches(tasks: Iterable[_Task], size: int) -> Iterator[list[_Task]]:
    """Tasks of the same context, as many as `size` where there are so many."""
    waiting: dict[float, list[_Task]] = {}
    for task in tasks:
        alike = waiting.setdefault(task.context, [])
        alike.append(task)
        if len(alike) == size:
            yield waiting.pop(task.context)
    yield from waiting.values()
