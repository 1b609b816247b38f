"""What is known of a recording before it is decoded, because somebody took note of it in an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mtasr.decoding.longform import WindowResult
from mtasr.decoding.windows import Window
from mtasr.engines.engine import LanguageGuess


class Memory(Protocol):
    """Answers for one recording, or one channel of it. May be asked and told from several threads."""

    def guesses(self) -> list[LanguageGuess] | None:
        """The languages it may be in, None where they are not known."""

    def result(self, window: Window) -> WindowResult | None:
        """What has become of a window, None where that is not known."""

    def judged(self, guesses: Sequence[LanguageGuess]) -> None:
        """Take note of the languages, which are known before any result is."""

    def decoded(self, window: Window, result: WindowResult) -> None:
        """Take note of a result. Windows come in any order."""


class Oblivious:
    """The memory of a recording of which nothing is known, and nothing shall be."""

    def guesses(self) -> None:
        return None

    def result(self, window: Window) -> None:
        return None

    def judged(self, guesses: Sequence[LanguageGuess]) -> None:
        pass

    def decoded(self, window: Window, result: WindowResult) -> None:
        pass
