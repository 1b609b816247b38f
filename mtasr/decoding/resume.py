"""What an earlier run noted of a recording, so that a batch that was stopped decodes no window twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mtasr.decoding.submission import DecodedWindow
from mtasr.decoding.windows import Window
from mtasr.engines.engine import LanguageGuess


class ResumeNotes(Protocol):
    """The notes on one recording, or on one of its channels. Several threads may read and add to them."""

    def guesses(self) -> list[LanguageGuess] | None:
        """The languages it may be in, None if they are not noted."""

    def result(self, window: Window) -> DecodedWindow | None:
        """The result of a window, None if it is not noted."""

    def note_guesses(self, guesses: Sequence[LanguageGuess]) -> None:
        """Note the languages. They are known before the first result is."""

    def note_result(self, window: Window, result: DecodedWindow) -> None:
        """Note a result. Windows come in any order."""


class NoNotes:
    """For a recording of which nothing is noted, and nothing needs to be."""

    def guesses(self) -> None:
        return None

    def result(self, window: Window) -> None:
        return None

    def note_guesses(self, guesses: Sequence[LanguageGuess]) -> None:
        pass

    def note_result(self, window: Window, result: DecodedWindow) -> None:
        pass
