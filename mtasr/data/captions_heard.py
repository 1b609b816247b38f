"""Whether a model that hears an excerpt agrees that its text is what is said there: all of it and nothing else.

The model gives the probability of each token of the text, and of what it would write itself. Another spelling ("15" for
"fifteen") is less probable than the model's own; an unrelated text is improbable beyond comparison. Where a text breaks
off too early, the model expects another word; where it goes on after the speech, the model expects its end.

The thresholds were chosen with the model `base` on 499 short recordings in five languages, most of a word or two, and
on corrupted versions of them (benchmarks/README.md has results for other data).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtasr.data.texts import spaced
from mtasr.engines.engine import Hypothesis, LanguageGuess, Likelihood
from mtasr.tokenizer import Tokenizer
from mtasr.tokenizer.languages import UNSPACED

#: Nats per token by which a text may be less probable than the model's own.
_MOST_LESS_PROBABLE = 3.5
#: The lowest log-probability of the end of text after a complete text.
_LEAST_END = -2.5
#: A text goes on after the speech if, at some place, the end of text has at least this log-probability and exceeds
#: that of the next token by this many nats.
_LIKELY_END, _MOST_OVER_NEXT = math.log(0.25), 2.0
#: Another language counts if it has at least this probability and makes the text more probable by this many nats per
#: token.
_LIKELY_LANGUAGE, _LEAST_GAIN = 0.8, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The text of an excerpt as tokens, with their log-probabilities.

    A text that ends without punctuation gets a full stop, which makes its last `marks` tokens: it may have one or not.
    """

    tokens: Sequence[int]
    marks: int
    #: Which tokens are words or parts of words.
    words: Sequence[bool]
    likelihood: Likelihood

    @property
    def end(self) -> float:
        """The log-probability that the text ends there, with or without a full stop."""
        place = len(self.tokens) - self.marks
        with_marks = float(self.likelihood.logprobs[place:].sum())
        return float(np.logaddexp(self.likelihood.end_logprobs[place], with_marks)) if self.marks else with_marks

    @property
    def of_words(self) -> npt.NDArray[np.float64]:
        """The log-probabilities of the tokens of words. Punctuation is a matter of taste."""
        return self.likelihood.logprobs[np.flatnonzero(self.words)]

    @property
    def end_over_next(self) -> float:
        """Nats by which the end of text is more probable than the next word, at the place where this is most.

        Only places where the end is likely count; -inf if there is none.
        """
        places = np.flatnonzero(self.words)[1:]
        ends, tokens = self.likelihood.end_logprobs[places], self.likelihood.logprobs[places]
        return float(np.max((ends - tokens)[ends >= _LIKELY_END], initial=-np.inf))

    def less_probable_than(self, own: Hypothesis) -> float:
        """Nats per token by which the text is less probable than the model's own."""
        of_own = own.avg_logprob * (len(own.tokens) + 1) if own.tokens else 0.0
        return (of_own - float(self.of_words.sum()) - self.end) / (len(self.of_words) + 1)

    def gain_in(self, other: Scored) -> float:
        """Nats per token by which the same text is more probable in another language."""
        return float(other.of_words.mean() - self.of_words.mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardExcerpt:
    """What a model makes of an excerpt. `scored` is the text in the labelled language, None for a translation."""

    seconds: float
    #: The most probable language, if it is not the labelled one.
    foreign: LanguageGuess | None = None
    own: Hypothesis | None = None
    scored: Scored | None = None
    #: The text scored in the foreign language, if that is likely.
    elsewhere: Scored | None = None

    @property
    def reason(self) -> str | None:
        """Why training should not use the text, or None."""
        if self.foreign is not None and self._is_in(self.foreign):
            return f"spoken is {self.foreign.code}"
        if self.scored is None or self.own is None:
            return None
        if self.scored.less_probable_than(self.own) > _MOST_LESS_PROBABLE:
            return "the model hears something else"
        if self.scored.end_over_next > _MOST_OVER_NEXT:
            return "text goes on after the speech"
        return "text ends before the speech" if self.scored.end < _LEAST_END else None

    def _is_in(self, language: LanguageGuess) -> bool:
        """Whether this language is spoken. The text of a translation does not help to decide."""
        if not is_likely(language.probability):
            return False
        if self.scored is None:
            return True
        return self.elsewhere is not None and self.scored.gain_in(self.elsewhere) > _LEAST_GAIN


def is_likely(probability: float) -> bool:
    """Whether a language is likely enough to score the text in it."""
    return probability >= _LIKELY_LANGUAGE


def text_tokens(text: str, language: str | None, tokenizer: Tokenizer) -> tuple[list[int], int]:
    """The tokens of a text, with a full stop if it ends without punctuation, and how many tokens that full stop has."""
    tokens = tokenizer.encode(spaced(text, language))
    mark = tokenizer.encode("。" if language in UNSPACED else ".") if text.rstrip()[-1:].isalnum() else []
    return [*tokens, *mark], len(mark)


def is_word(token: int, tokenizer: Tokenizer) -> bool:
    """Whether a token has letters or digits, or a part of one."""
    spelled = tokenizer.token_bytes(token)
    text = spelled.decode("utf-8", "ignore")
    return any(map(str.isalnum, text)) or len(text.encode()) < len(spelled)
