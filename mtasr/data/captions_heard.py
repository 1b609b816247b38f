"""Whether a model that hears a window finds its text to be what is said there: all of it and nothing else.

The model is asked how probable the given text is, token by token, and how probable what it would write itself. Another
spelling ("15" for "fifteen") is less probable than its own, a text of something else is improbable beyond comparison.
Where a text breaks off the model expects another word, and where it goes on after the speech, the end of text.

The thresholds were chosen with the model base on 499 telephone prompts in five languages, most of a word or two, and
with corrupted texts of the same (benchmarks/README.md tells how well they do on others).
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

#: Nats a token that a text may be less probable than the model's own.
_MOST_LESS_PROBABLE = 3.5
#: The least log-probability of the end of text after a whole one.
_LEAST_END = -2.5
#: A text goes on after the speech where the end of text has this probability at least, and the next token less than its
#: share of that, in nats.
_LIKELY_END, _MOST_OVER_NEXT = math.log(0.25), 2.0
#: Another language counts from this probability on, and if the text is more probable in it by so many nats a token.
_LIKELY_LANGUAGE, _LEAST_GAIN = 0.8, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The text of a window as tokens and how probable each of them is.

    Of a text without a mark at its end, the last tokens are a full stop (`marks` of them), which it may as well have.
    """

    tokens: Sequence[int]
    marks: int
    #: Which tokens are, or are part of, words.
    words: Sequence[bool]
    likelihood: Likelihood

    @property
    def end(self) -> float:
        """Log-probability that nothing but a full stop follows the text."""
        place = len(self.tokens) - self.marks
        with_marks = float(self.likelihood.logprobs[place:].sum())
        return float(np.logaddexp(self.likelihood.end_logprobs[place], with_marks)) if self.marks else with_marks

    @property
    def of_words(self) -> npt.NDArray[np.float64]:
        """Log-probabilities of the tokens of words; marks depend on taste."""
        return self.likelihood.logprobs[np.flatnonzero(self.words)]

    @property
    def end_over_next(self) -> float:
        """How much more probable than the next token the end of text is, where it is likely and words go on; in nats.

        The most of all places; -inf if there is none.
        """
        places = np.flatnonzero(self.words)[1:]
        ends, tokens = self.likelihood.end_logprobs[places], self.likelihood.logprobs[places]
        return float(np.max((ends - tokens)[ends >= _LIKELY_END], initial=-np.inf))

    def less_probable_than(self, own: Hypothesis) -> float:
        """Nats a token by which the text is less probable than the model's own."""
        of_own = own.avg_logprob * (len(own.tokens) + 1) if own.tokens else 0.0
        return (of_own - float(self.of_words.sum()) - self.end) / (len(self.of_words) + 1)

    def gain_in(self, other: Scored) -> float:
        """Nats a token by which the same text is more probable in another language."""
        return float(other.of_words.mean() - self.of_words.mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardExcerpt:
    """What a model makes of a window. `scored` is the text in the language of the label, None for a translation's."""

    seconds: float
    #: The most probable language, if it is not that of the label.
    foreign: LanguageGuess | None = None
    own: Hypothesis | None = None
    scored: Scored | None = None
    #: The text in the foreign language, if that is likely.
    elsewhere: Scored | None = None

    @property
    def reason(self) -> str | None:
        """Why the text is not to be learned from, or None."""
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
        """Whether that is what is spoken. A translation's text cannot tell."""
        if not is_likely(language.probability):
            return False
        if self.scored is None:
            return True
        return self.elsewhere is not None and self.scored.gain_in(self.elsewhere) > _LEAST_GAIN


def is_likely(probability: float) -> bool:
    """Whether a language is likely enough to ask how probable the text is in it."""
    return probability >= _LIKELY_LANGUAGE


def text_tokens(text: str, language: str | None, tokenizer: Tokenizer) -> tuple[list[int], int]:
    """A text as tokens, with a full stop where it has no mark at its end, and the number of tokens of that."""
    tokens = tokenizer.encode(spaced(text, language))
    mark = tokenizer.encode("。" if language in UNSPACED else ".") if text.rstrip()[-1:].isalnum() else []
    return [*tokens, *mark], len(mark)


def is_word(token: int, tokenizer: Tokenizer) -> bool:
    """Whether a token has letters or digits, or pieces of them."""
    spelled = tokenizer.token_bytes(token)
    text = spelled.decode("utf-8", "ignore")
    return any(map(str.isalnum, text)) or len(text.encode()) < len(spelled)
