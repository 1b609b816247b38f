"""What the model is told before a window: hotwords, and the initial prompt or the text before."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from mtasr.decoding.options import DecodingOptions
from mtasr.tokenizer import Tokenizer

_LOG = logging.getLogger(__name__)

_WORD = re.compile(r"\w+")


class Prompt:
    """Hotwords and initial prompt as tokens, cut to the room that the decoder has for text before a window.

    That is half of its context (`max_length` tokens). Hotwords get up to half of the room when there is a prompt too;
    of a prompt the end is kept. What had to be cut is logged as a warning.
    """

    def __init__(self, tokenizer: Tokenizer, options: DecodingOptions, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._room = max_length // 2 - 1
        hotwords, initial = _clean(options.hotwords), _clean(options.initial_prompt)
        self._words = frozenset(_WORD.findall(f"{hotwords} {initial}".casefold()))
        all_hotwords, all_initial = self._encoded(hotwords), self._encoded(initial)
        self._hotwords = all_hotwords[: self._room // 2 if initial else self._room]
        #: The initial prompt, as far as there is room for it.
        self.initial = self._last(all_initial)
        for name, given, kept in (
            ("hotwords", all_hotwords, self._hotwords),
            ("initial prompt", all_initial, self.initial),
        ):
            if len(kept) < len(given):
                end = "beginning" if name == "initial prompt" else "end"
                _LOG.warning(
                    "the %s have %d tokens, and there is room for %d: the %s is left out",
                    name, len(given), len(kept), end,
                )  # fmt: skip

    def _encoded(self, text: str) -> list[int]:
        return self._tokenizer.encode(f" {text}") if text else []

    def _last(self, tokens: Sequence[int]) -> list[int]:
        room = self._room - len(self._hotwords)
        return list(tokens[max(0, len(tokens) - room) :])

    def before(self, previous: Sequence[int]) -> tuple[int, ...]:
        """The tokens before the start of transcript: hotwords and as much of the end of `previous` as there is room."""
        told = [*self._hotwords, *self._last(previous)]
        return (self._tokenizer.sot_prev, *told) if told else ()

    def echoed_by(self, text: str) -> bool:
        """Whether a text consists of words of hotwords and prompt alone, as a model writes them where nobody speaks."""
        words = _WORD.findall(text.casefold())
        return bool(self._words) and bool(words) and self._words.issuperset(words)


def _clean(text: str | None) -> str:
    return (text or "").strip()
