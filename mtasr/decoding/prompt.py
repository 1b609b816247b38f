"""What the model is given before a window: hotwords, and the initial prompt or the previous text; and the prefix."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from mtasr.options import DecodingOptions
from mtasr.tokenizer import Tokenizer

_LOG = logging.getLogger(__name__)

_WORD = re.compile(r"\w+")


class Prompt:
    """Prefix, hotwords and initial prompt as tokens, cut to the room that the decoder has for text that is given.

    That is half of its context (`max_length` tokens), less the model's trained prompt if it has one. The prefix gets up
    to half of it. Hotwords get up to half of what is left when there is a prompt too; of a prompt the end is kept.
    """

    def __init__(self, tokenizer: Tokenizer, options: DecodingOptions, max_length: int) -> None:
        self._tokenizer = tokenizer
        room = max_length // 2 - 1 - len(tokenizer.prompt)
        prefix, hotwords, initial = map(_clean, (options.prefix, options.hotwords, options.initial_prompt))
        self._words = frozenset(_WORD.findall(f"{prefix} {hotwords} {initial}".casefold()))
        all_prefix, all_hotwords, all_initial = map(self._encoded, (prefix, hotwords, initial))
        #: Whether a prefix, hotwords or a prompt were given.
        self.given = bool(self._words)
        #: What the text of the first window begins with.
        self.prefix = tuple(all_prefix[: room // 2])
        stamp = () if options.without_timestamps else (tokenizer.timestamp_begin,)
        #: The same as it stands after the start of transcript, at the time 0; empty without a prefix.
        self.beginning = (*stamp, *self.prefix) if self.prefix else ()
        self._room = room - len(self.prefix)
        self._hotwords = all_hotwords[: self._room // 2 if initial else self._room]
        #: The initial prompt, as far as there is room for it.
        self.initial = self._last(all_initial)
        self._cuts = [
            (name, len(given), len(kept), end)
            for name, given, kept, end in (
                ("prefix", all_prefix, self.prefix, "end"),
                ("hotwords", all_hotwords, self._hotwords, "end"),
                ("initial prompt", all_initial, self.initial, "beginning"),
            )
            if len(kept) < len(given)
        ]

    def log_cuts(self) -> None:
        """Warn of what there was no room for."""
        for cut in self._cuts:
            _LOG.warning("%s of %d tokens, but there is room for %d: the %s is left out", *cut)

    def _encoded(self, text: str) -> list[int]:
        return self._tokenizer.encode(f" {text}") if text else []

    def _last(self, tokens: Sequence[int]) -> list[int]:
        room = self._room - len(self._hotwords)
        return list(tokens[max(0, len(tokens) - room) :])

    def before(self, previous: Sequence[int]) -> tuple[int, ...]:
        """The tokens before the start of transcript: hotwords and as much of the end of `previous` as there is room."""
        given = [*self._hotwords, *self._last(previous)]
        return (self._tokenizer.sot_prev, *given) if given else ()

    def echoed_by(self, text: str) -> bool:
        """Whether a text consists of what was given alone, as a model writes it where nobody speaks."""
        words = _WORD.findall(text.casefold())
        return bool(self._words) and bool(words) and self._words.issuperset(words)


def _clean(text: str | None) -> str:
    return (text or "").strip()
