"""The options of decoding, listed only here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mtasr.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Task = Literal["transcribe", "translate"]

#: Temperatures tried in turn while a window fails its checks (Whisper paper, section 4.5).
FALLBACK_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

#: Limits far beyond what is of use, within which no arithmetic of an engine overflows.
_MOST_CANDIDATES = 1000
_MOST_SECONDS = 10_000_000
_MOST_TOKENS = 448
_MOST_TOKEN = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingOptions:
    """How to decode. The defaults and names follow openai-whisper where it has the option.

    Raises `UsageError` on construction for a value out of range.
    """

    task: Task = "transcribe"
    #: Translate as well (`Transcript.translation`): each window is encoded once for both.
    also_translate: bool = False
    #: Code ("fr") or English name ("French"); None detects it.
    language: str | None = None

    #: The languages that detection may choose from, as codes or English names; None: all that the model knows.
    languages: tuple[str, ...] | None = None
    #: Detect the language in every window, for recordings in which it changes.
    multilingual: bool = False

    #: Width of the beam at temperature 0.
    beam_size: int = 5
    #: Samples drawn at temperatures above 0; the one with the best score is kept.
    best_of: int = 5
    #: Beams are kept until `beam_size * patience` of them have ended (arXiv:2204.05424).
    patience: float = 1.0
    #: Scores are divided by `length ** length_penalty`.
    length_penalty: float = 1.0
    #: Above 1.0, scores of tokens already written are lowered.
    repetition_penalty: float = 1.0
    #: No n-gram of this many tokens is written twice; 0 allows all.
    no_repeat_ngram_size: int = 0
    #: Temperatures to try in turn until a window passes its checks; a single number means a tuple of one.
    temperature: tuple[float, ...] = FALLBACK_TEMPERATURES
    #: Seed of the random samples, at temperatures above 0: the same seed gives the same text. On CUDA one sequence of
    #: random numbers serves all windows.
    seed: int = 0
    #: Possible texts (readings) of each window to return in `Transcript.alternatives`, the best first; 1: none.
    n_best: int = 1

    #: A window whose text compresses better than this counts as a loop; None switches the check off.
    compression_ratio_threshold: float | None = 2.4
    #: A window whose mean token log-probability is lower than this has failed; None switches the check off.
    logprob_threshold: float | None = -1.0
    #: A window with more than this no-speech probability, and a failed log-probability, is silence; None: never.
    no_speech_threshold: float | None = 0.6

    #: Text before the recording: names, spelling, style.
    initial_prompt: str | None = None
    #: The first words said in the recording; the text of the first window begins with them.
    prefix: str | None = None
    #: Words to expect in every window. They and the initial prompt share the room for text before a window.
    hotwords: str | None = None
    #: Use Whisper's algorithm, which is slower: decode windows of 30 s one after the other, and show the model the text
    #: before each. Otherwise windows are cut at pauses and decoded side by side.
    condition_on_previous_text: bool = False
    #: Forget the previous text after a window that needed a temperature above this.
    prompt_reset_on_temperature: float = 0.5

    #: Parts to decode, in seconds: start, end, start, end, ... If the last end is missing, it is that of the recording.
    clip_timestamps: tuple[float, ...] = ()
    #: Decode only speech; False decodes all of the recording. No effect with `condition_on_previous_text`.
    vad_filter: bool = True
    #: Audio counts as speech at this speech probability or above.
    vad_threshold: float = 0.5

    #: Token ids never written; -1 stands for the model's own list of non-speech symbols.
    suppress_tokens: tuple[int, ...] = (-1,)
    #: Never begin a window with a blank.
    suppress_blank: bool = True
    #: Decode without timestamp tokens: one segment per window.
    without_timestamps: bool = False
    #: The first timestamp of a window is at most this many seconds.
    max_initial_timestamp: float = 1.0

    #: Find the times of each word.
    word_timestamps: bool = False
    #: With word times, marks that belong to the word after them.
    prepend_punctuations: str = "\"'“¿([{-"
    #: With word times, marks that belong to the word before them.
    append_punctuations: str = "\"'.。,，!！?？:：”)]}、"

    @property
    def translates(self) -> bool:
        """Whether a translation is made, alone or beside the transcript."""
        return self.task == "translate" or self.also_translate

    def __post_init__(self) -> None:
        heat = self.temperature
        object.__setattr__(self, "temperature", (heat,) if isinstance(heat, int | float) else tuple(heat))
        if self.languages is not None:
            listed = [self.languages] if isinstance(self.languages, str) else self.languages
            object.__setattr__(self, "languages", tuple(listed))
        for several in ("suppress_tokens", "clip_timestamps"):  # lists are fine, but options must be hashable
            given = getattr(self, several)
            object.__setattr__(self, several, tuple(given) if isinstance(given, list) else given)
        if self.task not in ("transcribe", "translate"):
            raise UsageError(f"task must be 'transcribe' or 'translate', not {self.task!r}")
        for name, fine, rule in self._rules():
            try:
                kept = fine()
            except TypeError:
                kept = False
            if not kept:
                raise UsageError(f"{name} must be {rule}, not {getattr(self, name)!r}")

    def _rules(self) -> Iterator[tuple[str, Callable[[], bool], str]]:
        """Each rule: the option's name, whether its value keeps the rule, and the rule in words."""
        yield "language", lambda: self.language is None or isinstance(self.language, str), "a code or a name"
        yield (
            "also_translate",
            lambda: not self.also_translate or (self.task == "transcribe" and not self.condition_on_previous_text),
            "False for a translation or with condition_on_previous_text",
        )
        listed = self.languages
        yield (
            "languages",
            lambda: listed is None or (bool(listed) and all(isinstance(each, str) for each in listed)),
            "one or more codes or names",
        )
        yield (
            "multilingual",
            lambda: not self.multilingual or self.language is None,
            "False if a language is given",
        )
        yield from self._rules_of_search()
        yield from self._rules_of_checks()
        yield from self._rules_of_context()

    def _rules_of_search(self) -> Iterator[tuple[str, Callable[[], bool], str]]:
        candidates = f"a whole number from 1 to {_MOST_CANDIDATES}"
        yield "beam_size", lambda: _is_whole(self.beam_size, 1, _MOST_CANDIDATES), candidates
        yield "best_of", lambda: _is_whole(self.best_of, 1, _MOST_CANDIDATES), candidates
        yield (
            "patience",
            lambda: 0.5 <= self.beam_size * self.patience < 10_000,
            "a number that makes beam_size * patience at least 0.5",
        )
        yield "length_penalty", lambda: -10 <= self.length_penalty <= 10, "between -10 and 10"
        yield "repetition_penalty", lambda: 0.1 <= self.repetition_penalty <= 10, "between 0.1 and 10"
        yield (
            "no_repeat_ngram_size",
            lambda: _is_whole(self.no_repeat_ngram_size, 0, _MOST_TOKENS),
            f"a whole number from 0 to {_MOST_TOKENS}",
        )
        heat = self.temperature
        yield "temperature", lambda: bool(heat) and all(0 <= value <= 2 for value in heat), "between 0 and 2"
        yield "seed", lambda: _is_whole(self.seed, 0, 2**31 - 1), "a whole number from 0 to 2,147,483,647"
        yield (
            "n_best",
            lambda: _is_whole(self.n_best, 1, min(self.beam_size if each == 0 else self.best_of for each in heat)),
            "a whole number, at least 1, and at most beam_size and best_of",
        )

    def _rules_of_checks(self) -> Iterator[tuple[str, Callable[[], bool], str]]:
        for name in ("compression_ratio_threshold", "logprob_threshold"):
            yield name, lambda name=name: _is_number(getattr(self, name)), "a number or None"  # type: ignore[misc]
        yield "prompt_reset_on_temperature", lambda: not math.isnan(self.prompt_reset_on_temperature), "a number"
        silence = self.no_speech_threshold
        yield "no_speech_threshold", lambda: silence is None or 0 <= silence <= 1, "between 0 and 1"
        yield "vad_threshold", lambda: 0 < self.vad_threshold < 1, "between 0 and 1"

    def _rules_of_context(self) -> Iterator[tuple[str, Callable[[], bool], str]]:
        clips = self.clip_timestamps
        yield (
            "clip_timestamps",
            lambda: all(0 <= before < after for before, after in itertools.pairwise((*clips, _MOST_SECONDS))),
            f"times in seconds below {_MOST_SECONDS:,}, each later than the one before",
        )
        yield (
            "suppress_tokens",
            lambda: all(_is_whole(token, -1, _MOST_TOKEN) for token in self.suppress_tokens),
            "token ids, which are whole numbers, or -1",
        )
        prompt = self.initial_prompt
        yield "initial_prompt", lambda: prompt is None or isinstance(prompt, str), "a text"
        prefix = self.prefix
        yield "prefix", lambda: prefix is None or isinstance(prefix, str), "a text"
        hotwords = self.hotwords
        yield "hotwords", lambda: hotwords is None or isinstance(hotwords, str), "a text"
        yield "max_initial_timestamp", lambda: 0 <= self.max_initial_timestamp <= 30, "between 0 and 30 seconds"


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and least <= value <= most


def _is_number(value: float | None) -> bool:
    return value is None or not math.isnan(value)


def temperatures(first: float, increment: float | None) -> tuple[float, ...]:
    """From `first` up to 1 by `increment`, as in openai-whisper; `first` alone without an increment."""
    if not 0 <= first <= 2:
        raise UsageError(f"temperature must be between 0 and 2, not {first}")
    if increment is None:
        return (first,)
    if not increment >= 0.01:
        raise UsageError(f"temperature_increment_on_fallback must be None or at least 0.01, not {increment}")
    further = math.floor((1.0 - first) / increment + 1e-6)
    return tuple(round(first + i * increment, 10) for i in range(max(further, 0) + 1))


_Options = TypeVar("_Options", bound="DataclassInstance")


def merge_options(options: _Options, changes: Mapping[str, Any]) -> _Options:
    """The options, a frozen dataclass, with changes. Raises `UsageError` for one that does not exist."""
    try:
        return replace(options, **changes)
    except TypeError as exc:
        unknown = sorted(set(changes) - {field.name for field in fields(options)})
        raise UsageError(f"unknown option {', '.join(unknown)}" if unknown else str(exc)) from exc
