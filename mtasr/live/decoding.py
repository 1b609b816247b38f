"""Drafts and final texts of a live session: windows of a model's scheduler, with options that suit them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from mtasr.decoding.language import CLEAR, combined
from mtasr.decoding.submission import DecodedWindow
from mtasr.decoding.window_input import WindowInput
from mtasr.engines.engine import LanguageGuess
from mtasr.live.agreement import DraftedWord
from mtasr.live.captioner import DraftTask, FinalTask
from mtasr.options import DecodingOptions
from mtasr.tokenizer import Tokenizer
from mtasr.transcribe import Model
from mtasr.transcript import Segment

#: Both go before recordings; final texts first, because drafts become fewer when they are late and final texts do not.
_FINAL_PRIORITY, _DRAFT_PRIORITY = 20, 10
#: The beam of drafts. With one beam, drafts change more, so fewer words are committed early and more of them are wrong.
_BEAM = 3
#: The language is known once it is clear in this many seconds of speech, or from the first final text on.
_ENOUGH_SPEECH = 3.0
#: Until then, drafts change to another language if that is so many times as probable, ...
_CLEARLY = 2.0
#: ... in so many windows together.
_MOST_JUDGEMENTS = 4


class LiveDecoder:
    """Decodes the tasks of one session; drafts and finals may come from two threads."""

    def __init__(self, model: Model, options: DecodingOptions) -> None:
        self._tokenizer = model.engine.tokenizer
        finals = final_options(options)
        self._finals = model.single_windows(finals, priority=_FINAL_PRIORITY)
        self._hurried = model.single_windows(finals, priority=_FINAL_PRIORITY, retries=())
        self._drafts = model.single_windows(draft_options(options), priority=_DRAFT_PRIORITY, retries=())
        language = model.language_of(options)
        self._is_certain = language is not None
        #: The language of the next texts, None until somebody speaks. Its probability is 1 if it was given.
        self.language = None if language is None else LanguageGuess(language, 1.0)
        self._changes = options.multilingual
        #: Seconds of speech in the last windows in which the language was judged, and the guesses.
        self._judgements: deque[tuple[float, list[LanguageGuess]]] = deque(maxlen=_MOST_JUDGEMENTS)

    def draft(self, task: DraftTask) -> list[DraftedWord] | None:
        """The words of a draft, those of `task.given` first; None if its text fails the checks."""
        decoder = self._drafts.decoder
        shown = decoder.input(task.window)
        if not self._is_certain:
            (shown,) = decoder.encoded([shown])
            self._guess(shown)
        code = self.language.code if self.language else ""
        shown = replace(shown, language=code, previous=task.previous, given=task.given)
        decoded = self._drafts.attempt(shown)
        return None if decoded is None else pieces_of(decoded.segments, self._tokenizer)

    def final(self, task: FinalTask, *, hurried: bool = False) -> tuple[DecodedWindow, str]:
        """The text of a stretch, and the code of its language. In a hurry, it is decoded once, whatever checks say."""
        known = self.language.code if self.language is not None else ""
        if not task.window.speech:
            return DecodedWindow(segments=(), position=task.window.offset), known or "en"
        language = known if self._is_certain else ""
        windows = self._hurried if hurried else self._finals
        decoded, code = windows.decode(windows.decoder.input(task.window, language=language))
        if not self._is_certain and decoded.segments:
            probability = self.language.probability if self.language is not None and code == known else CLEAR
            self.language, self._is_certain = LanguageGuess(code, probability), not self._changes
        return decoded, code

    def _guess(self, shown: WindowInput) -> None:
        """Judge the language in the window of a draft, which is encoded, and in those before it."""
        self._judgements.append((shown.window.speech_seconds, self._drafts.decoder.guess_language(shown)))
        found = {guess.code: guess.probability for guess in combined(self._judgements)}
        best, probability = max(found.items(), key=lambda each: each[1])
        if self.language is not None and probability < _CLEARLY * found[self.language.code]:
            best, probability = self.language.code, found[self.language.code]
        self.language = LanguageGuess(best, probability)
        if probability >= CLEAR and shown.window.speech_seconds >= _ENOUGH_SPEECH and not self._changes:
            self._is_certain = True

    def close(self) -> None:
        """Cancel what waits."""
        self._drafts.close()
        self._finals.close()
        self._hurried.close()


def final_options(options: DecodingOptions) -> DecodingOptions:
    """The options of final texts: no random samples for a stretch that does not pass the checks.

    Samples take several times as long as the stretch and a second copy of the weights, and one session's samples hold
    up the captions of all.
    """
    return replace(options, temperature=options.temperature[:1])


def draft_options(options: DecodingOptions) -> DecodingOptions:
    """The options of drafts: a narrow beam, no timestamps, times of words instead, and no second attempt."""
    return replace(
        options,
        beam_size=min(options.beam_size, _BEAM),
        patience=1.0,
        n_best=1,
        temperature=(0.0,),
        without_timestamps=True,
        word_timestamps=True,
        also_translate=False,
        multilingual=False,
        prefix=None,
    )


def pieces_of(segments: Sequence[Segment], tokenizer: Tokenizer) -> list[DraftedWord]:
    """The words of segments with their text tokens. Times are those of the session."""
    pieces = []
    for segment in segments:
        tokens, place = [token for token in segment.tokens if token < tokenizer.eot], 0
        for word in segment.words or ():
            pieces.append(DraftedWord(word, tuple(tokens[place : place + word.tokens])))
            place += word.tokens
    return pieces
