"""A filter that lets a model listen. It encodes and scores excerpts of several records together, on all cores."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.data.captions_heard import HeardExcerpt, Scored, is_likely, is_word, text_tokens
from mtasr.data.excerpts import Excerpt, cut_excerpts
from mtasr.data.filters import without_descriptions
from mtasr.data.records import Record
from mtasr.data.samples import read_samples
from mtasr.decoding.window_input import context_for, features_of
from mtasr.decoding.windows import LONGEST
from mtasr.engines.engine import Encoded, Engine, Hypothesis, LanguageGuess
from mtasr.errors import FfmpegNotFoundError, InputError
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE

#: For the model's own text. A beam would hardly find a more probable one, in twice the time.
_OPTIONS = DecodingOptions(beam_size=1)


@dataclass(frozen=True, slots=True)
class _Question:
    """An excerpt of a record with its samples, and its text as tokens. `record` is the record's place in the list."""

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
    """Drops records in which a model hears another language than the label, or something else than the captions say.

    It drops a record if the excerpts with a reason against them have more than `most` of the captioned time. The
    captions of a translation are not compared. Excerpts in a language that the model does not know, or too long for its
    encoder or decoder, have no reason against them: the model cannot judge them, and would not be trained on them.
    """

    def __init__(self, engine: Engine, most: float = 0.4, progress: Callable[[], object] = lambda: None) -> None:
        """`progress` is called after each batch of excerpts."""
        self._engine, self._most, self._progress = engine, most, progress
        self._heard: dict[Record, list[HeardExcerpt]] = {}
        self._unread: dict[Record, InputError] = {}

    def __call__(self, record: Record) -> str | None:
        if record not in self._heard:
            self.prepare([record])
        if record in self._unread:
            raise self._unread[record]
        heard = self._heard[record]
        against: defaultdict[str, float] = defaultdict(float)
        for each in heard:
            if (reason := each.reason) is not None:
                against[reason] += each.seconds
        if sum(against.values()) <= self._most * sum(each.seconds for each in heard):
            return None
        return max(against, key=lambda reason: against[reason])

    def prepare(self, records: Sequence[Record]) -> None:
        """Listen to these records and forget others. Of a recording that cannot be read, the call tells."""
        self._heard, self._unread = {record: [] for record in records}, {}
        pending: deque[tuple[list[_Question], Future[list[HeardExcerpt]]]] = deque()

        def take() -> None:
            questions, future = pending.popleft()
            for question, heard in zip(questions, future.result(), strict=True):
                self._heard[records[question.record]].append(heard)
            self._progress()

        with ThreadPoolExecutor(self._engine.limits.workers) as pool:
            for questions in _batches(self._questions(records), self._engine.limits.batch_size):
                pending.append((questions, pool.submit(self._listen, questions)))
                while len(pending) > 2 * self._engine.limits.workers:
                    take()
            while pending:
                take()

    def _questions(self, records: Sequence[Record]) -> Iterator[_Question]:
        engine = self._engine
        for place, record in enumerate(records):
            if record.language not in engine.tokenizer.language_tokens:
                continue
            cleaned = without_descriptions(record)
            excerpts = [
                each.before_cut() for each in cut_excerpts(cleaned, lambda: min(LONGEST, engine.limits.audio_seconds))
            ]
            excerpts = [each for each in excerpts if each.captions and each.fits(engine.limits.audio_seconds)]
            try:
                samples = read_samples(record.audio) if excerpts else np.zeros(0, np.float32)
            except FfmpegNotFoundError:
                raise
            except InputError as exc:
                self._unread[record] = exc
                continue
            for excerpt in excerpts:
                tokens, marks = text_tokens(excerpt.text, record.text_language, engine.tokenizer)
                part = excerpt.parts[0]
                heard = samples[round(part.start * SAMPLE_RATE) : round(part.end * SAMPLE_RATE)].copy()
                fits = len(tokens) <= engine.limits.max_length // 2 - 2
                if len(heard) and any(map(str.isalnum, excerpt.text)) and fits:
                    context = context_for(
                        excerpt.seconds,
                        "transcribe",
                        engine.limits.audio_seconds,
                        variable_length=engine.limits.variable_length,
                    )
                    yield _Question(place, excerpt, heard, tokens, marks, context)

    def _listen(self, questions: Sequence[_Question]) -> list[HeardExcerpt]:
        """Let the model judge questions of the same context together."""
        n_mels = self._engine.limits.n_mels
        encoded = self._engine.encode(
            [features_of(question.samples, question.context, n_mels) for question in questions]
        )
        foreign = [self._foreign(question, each) for question, each in zip(questions, encoded, strict=True)]
        compared = [place for place, question in enumerate(questions) if question.excerpt.task == "transcribe"]
        own, scored = self._own(questions, encoded, compared), self._scored(questions, encoded, compared)
        likely = [place for place in compared if (guess := foreign[place]) is not None and is_likely(guess.probability)]
        elsewhere = self._scored(questions, encoded, likely, foreign)
        return [
            HeardExcerpt(
                seconds=question.excerpt.seconds,
                foreign=foreign[place],
                own=own.get(place),
                scored=scored.get(place),
                elsewhere=elsewhere.get(place),
            )
            for place, question in enumerate(questions)
        ]

    def _foreign(self, question: _Question, encoded: Encoded) -> LanguageGuess | None:
        """The most probable language, if it is not the labelled one."""
        if not self._engine.tokenizer.is_multilingual:
            return None
        best = self._engine.detect_language(encoded)[0]
        return None if best.code == question.language else best

    def _own(
        self, questions: Sequence[_Question], encoded: Sequence[Encoded], places: Sequence[int]
    ) -> dict[int, Hypothesis]:
        """What the model itself writes for the excerpts at these places."""
        if not places:
            return {}
        some = [encoded[place] for place in places]
        prompts = [self._prompt(questions[place].language) for place in places]
        return dict(zip(places, self._engine.generate(some, prompts, _OPTIONS, 0.0), strict=True))

    def _scored(
        self,
        questions: Sequence[_Question],
        encoded: Sequence[Encoded],
        places: Sequence[int],
        languages: Sequence[LanguageGuess | None] = (),
    ) -> dict[int, Scored]:
        """The texts of the excerpts at these places, scored in the labelled language or in `languages`."""
        if not places:
            return {}
        guesses = {place: guess.code for place in places if languages and (guess := languages[place])}
        found = self._engine.score(
            [encoded[place] for place in places],
            [self._prompt(guesses.get(place, questions[place].language)) for place in places],
            [questions[place].tokens for place in places],
        )
        return {
            place: Scored(
                tokens=questions[place].tokens,
                marks=questions[place].marks,
                words=[is_word(token, self._engine.tokenizer) for token in questions[place].tokens],
                likelihood=likelihood,
            )
            for place, likelihood in zip(places, found, strict=True)
        }

    def _prompt(self, language: str) -> tuple[int, ...]:
        return self._engine.tokenizer.sot_sequence(language, "transcribe", timestamps=False)


def _batches(questions: Iterable[_Question], size: int) -> Iterator[list[_Question]]:
    """Questions of the same context, `size` of them while there are enough."""
    waiting: dict[float, list[_Question]] = {}
    for question in questions:
        alike = waiting.setdefault(question.context, [])
        alike.append(question)
        if len(alike) == size:
            yield waiting.pop(question.context)
    yield from waiting.values()
