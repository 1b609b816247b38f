"""Whether the text decoded for a window can be trusted (Whisper paper, section 4.5)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Self

from mtasr.engines.engine import Hypothesis
from mtasr.options import DecodingOptions
from mtasr.tokenizer import Tokenizer

#: What Whisper models write where nobody speaks, from their training on subtitles; without marks at the end.
_PHANTOMS = frozenset(
    {
        "you", "thank you", "thank you very much", "thank you so much", "thanks", "thanks for watching",
        "thank you for watching", "please subscribe", "bye", "bye-bye", "so", "okay", "the end", "subscribe",
        "subtitles by the amara.org community", "merci", "merci d'avoir regardé cette vidéo", "sous-titrage st' 501",
        "sous-titres réalisés par la communauté d'amara.org", "gracias", "gracias por ver el video", "suscríbete",
        "subtítulos realizados por la comunidad de amara.org", "grazie", "grazie a tutti",
        "sottotitoli creati dalla comunità amara.org", "vielen dank", "untertitel der amara.org-community",
        "untertitel im auftrag des zdf für funk, 2017", "obrigado", "legendas pela comunidade amara.org",
        "продолжение следует", "субтитры сделал dimatorzok", "спасибо за просмотр", "спасибо", "дякую за перегляд",
        "dziękuję", "ご視聴ありがとうございました", "谢谢观看", "谢谢大家", "請不吝點贊訂閱轉發打賞支持明鏡與點點欄目",
        "시청해주셔서 감사합니다", "감사합니다",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One decoding of a window, with what the checks look at."""

    hypothesis: Hypothesis
    compression_ratio: float
    temperature: float
    #: Seconds into the window at which its last text begins, by the timestamp before it; 0 if there is none.
    last_start: float = 0.0
    #: Whether the text is one that models write where nobody speaks.
    phantom: bool = False
    #: False if no temperature gave an attempt that passes, and this is the best of those that failed.
    passed: bool = True


def attempt_of(hypothesis: Hypothesis, temperature: float, tokenizer: Tokenizer) -> Attempt:
    """Measure what the checks look at."""
    text = tokenizer.decode(hypothesis.tokens).strip()
    return Attempt(
        hypothesis=hypothesis,
        compression_ratio=compression_ratio(text),
        temperature=temperature,
        last_start=_last_start(hypothesis.tokens, tokenizer),
        phantom=text.casefold().strip(" .!…。！") in _PHANTOMS,
    )


def compression_ratio(text: str) -> float:
    """Bytes of the text over bytes of its zlib form: high for loops. 0 for no text."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def _last_start(tokens: Sequence[int], tokenizer: Tokenizer) -> float:
    starts = (before for before, token in pairwise(tokens) if tokenizer.is_timestamp(before) and token < tokenizer.eot)
    return max(map(tokenizer.seconds, starts), default=0.0)


class Lack(NamedTuple):
    """Text that seems to be missing from a window, in tokens, and the tokens per second of speech in the rest of it."""

    tokens: float
    pace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Every threshold that decides whether an attempt is taken, and the decisions.

    The first three are options: `Checks.for_options` takes them from there. None switches such a check off.
    """

    #: Text that compresses better than this is a loop.
    compression_ratio_threshold: float | None = 2.4
    #: The lowest mean token log-probability of an attempt that is taken.
    logprob_threshold: float | None = -1.0
    #: Above this no-speech probability, a window whose text is improbable is silent.
    no_speech_threshold: float | None = 0.6
    #: No window holds more tokens than `free_tokens` and `tokens_per_second` for each second. The languages that need
    #: most take some 20 for a second of speech.
    free_tokens: int = 20
    tokens_per_second: int = 25
    #: A text is a loop if its last `loop_tokens` tokens equal those a period earlier, of at most `longest_period`.
    #: Short loops of short words compress no better than speech.
    loop_tokens: int = 24
    #: A phrase said this many times over is a loop.
    loop_times: int = 5
    longest_period: int = 12
    #: Text that begins this many seconds after the end of a window was not said in it.
    late: float = 1.0
    #: Above this mean log-probability, text that models write where nobody speaks was said.
    confident_phantom: float = -0.5
    #: Below this many tokens per second of speech, suspect dropped text, such as a sentence said twice and written
    #: once. The thinnest of 108 windows in five languages had 2.5.
    thin: float = 2.4
    #: Seconds of speech from which thin text is suspect.
    thin_from: float = 2.5
    #: A segment with less than this share of the tokens per second of the rest of its window may lack a sentence, ...
    sparse: float = 0.6
    #: ... if at that rate its text would take this many seconds less than its speech, ...
    sparse_from: float = 1.2
    #: ... and the rest has this many tokens.
    sparse_beside: int = 5
    #: Two halves replace a thin window if they have this many times its letters, or so many letters more.
    more: float = 1.3
    more_letters: int = 15
    #: Seconds of speech after the end of the text that are decoded once more, ...
    lost: float = 1.0
    #: ... not counting speech that may be the end of the last word.
    last_word: float = 0.5

    def for_options(self, options: DecodingOptions) -> Self:
        """These checks with the thresholds that are options."""
        return replace(
            self,
            compression_ratio_threshold=options.compression_ratio_threshold,
            logprob_threshold=options.logprob_threshold,
            no_speech_threshold=options.no_speech_threshold,
        )

    def is_silence(self, attempt: Attempt) -> bool:
        """Whether the window holds no speech: likely silent by the no-speech token, and no confident text against it.

        Text that models write where nobody speaks counts against it only if it is more confident than usual.
        """
        hypothesis = attempt.hypothesis
        if self.no_speech_threshold is None or hypothesis.no_speech_prob <= self.no_speech_threshold:
            return False
        if self.logprob_threshold is None or hypothesis.avg_logprob <= self.logprob_threshold:
            return True
        return attempt.phantom and hypothesis.avg_logprob <= self.confident_phantom

    def passes(self, attempt: Attempt, seconds: float, *, lenient: bool = False) -> bool:
        """Whether an attempt at a window of that length is taken: silence, or probable text that does not loop.

        `lenient`, for translations, takes any text that does not loop.
        """
        if self.is_silence(attempt):
            return True
        threshold = None if lenient else self.logprob_threshold
        probable = threshold is None or attempt.hypothesis.avg_logprob >= threshold
        return probable and not self.loops(attempt, seconds, lenient=lenient)

    def loops(self, attempt: Attempt, seconds: float, *, lenient: bool = False) -> bool:
        """Whether the text repeats itself, is more than can be said in the window, or begins after its end.

        The times of translations are vague: `lenient` lets text begin at any time.
        """
        if self.compression_ratio_threshold is None:
            return False
        tokens = attempt.hypothesis.tokens
        return (
            attempt.compression_ratio > self.compression_ratio_threshold
            or len(tokens) > self.free_tokens + self.tokens_per_second * seconds
            or (not lenient and attempt.last_start > seconds + self.late)
            or self.ends_in_loop(tokens)
        )

    def ends_in_loop(self, tokens: Sequence[int]) -> bool:
        """Whether the tokens end in a phrase said at least `loop_times` times, over at least `loop_tokens` tokens."""
        for period in range(1, self.longest_period + 1):
            run = 0
            while run + period < len(tokens) and tokens[-1 - run] == tokens[-1 - run - period]:
                run += 1
            if run >= max(self.loop_tokens, (self.loop_times - 1) * period):
                return True
        return False

    def is_thin(self, text_tokens: int, speech_seconds: float, pace: float = 0.0) -> bool:
        """Whether the text of a window is so short for its speech that something may be missing.

        `pace` is the tokens per second of the speech around it, 0 if that is unknown.
        """
        thin = max(self.thin, self.sparse * pace)
        return speech_seconds >= self.thin_from and text_tokens < thin * speech_seconds

    def lack(self, segments: Sequence[tuple[int, float]]) -> Lack | None:
        """What a segment of a window lacks to have as much text for its speech as the others, if that is a sentence.

        Each segment is its text tokens and its seconds of speech.
        """
        tokens, seconds = sum(some for some, _ in segments), sum(speech for _, speech in segments)
        for some, speech in segments:
            others, rest = tokens - some, seconds - speech
            if others < self.sparse_beside or rest <= 0:
                continue
            pace = others / rest
            if some < self.sparse * pace * speech and speech - some / pace >= self.sparse_from:
                return Lack(pace * speech - some, pace)
        return None
