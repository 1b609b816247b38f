"""Captions on standard output: final texts as lines and, on a terminal, below them what is not final yet."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import click

from mtasr.cli.display import print_line
from mtasr.cli.failures import printable
from mtasr.formats.cue_text import labelled, one_line, prefix
from mtasr.live import Committed, Draft, Event, Final, Lag

if TYPE_CHECKING:
    from mtasr.cli.display.screen import Screen
    from mtasr.transcript import Word

#: Seconds from which on people are told how late the captions are.
_LATE = 3.0


class Captions(Protocol):
    """Shows events."""

    def show(self, event: Event) -> None: ...

    def note(self, text: str) -> None:
        """One line about the work, on standard error, from any thread."""
        ...

    def end(self, **fields: Any) -> None:
        """No event follows."""
        ...


class PlainCaptions:
    """Each final segment on a line, at once; with `quiet` nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def show(self, event: Event) -> None:
        if isinstance(event, Final) and not self._quiet:
            for text in filter(None, map(labelled, event.segments)):
                print_line(text)

    def note(self, text: str) -> None:
        if not self._quiet:
            click.echo(printable(text), err=True)

    def end(self, **fields: Any) -> None:
        pass


class Objects(PlainCaptions):
    """Each event as a line of JSON (`mtasr.live.documents`)."""

    def show(self, event: Event) -> None:
        from mtasr.live.documents import event_document

        self._print(event_document(event))

    def end(self, **fields: Any) -> None:
        self._print({"event": "end", **fields})

    def _print(self, document: dict[str, Any]) -> None:
        # ASCII, which every encoding of standard output can take.
        print_line(json.dumps(document))


@dataclass(slots=True)
class _Stretch:
    """What is known of a stretch before it is final."""

    committed: str = ""
    draft: str = ""
    speaker: str | None = None

    def commit(self, words: Sequence[Word]) -> None:
        """Words that follow, after the name of whoever begins to speak."""
        for word in words:
            if word.speaker != self.speaker:
                self.speaker = word.speaker
                self.committed += f" {prefix(word.speaker).rstrip()}"
            self.committed += word.word
        self.draft = ""

    def shown(self) -> tuple[str, str]:
        """The committed text, and the draft that follows it, on one line."""
        whole = one_line(self.committed + self.draft)
        length = min(len(one_line(self.committed)), len(whole)) if self.committed else 0
        return whole[:length], whole[length:]


class Terminal:
    """Final texts as lines, and below them what was said since: committed words plain, the draft dimmed."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._open: dict[int, _Stretch] = {}
        self._lag = 0.0

    def show(self, event: Event) -> None:
        match event:
            case Committed():
                self._open.setdefault(event.stretch, _Stretch()).commit(event.words)
            case Draft():
                self._open.setdefault(event.stretch, _Stretch()).draft = event.text
            case Final():
                self._open.pop(event.stretch, None)
                for text in filter(None, map(labelled, event.segments)):
                    self._screen.print(text)
            case Lag():
                self._lag = event.seconds
            case _:
                return
        texts = [self._open[number].shown() for number in sorted(self._open)]
        late = f"({self._lag:.0f} s late)" if self._lag >= _LATE else ""
        self._screen.draw([each for each in texts if any(each)], late)

    def note(self, text: str) -> None:
        self._screen.note(printable(text))

    def end(self, **fields: Any) -> None:
        self._screen.draw([], "")


def captions(*, quiet: bool, objects: bool) -> Captions:
    """What fits the options and standard output."""
    if objects:
        return Objects(quiet=quiet)
    if quiet or not sys.stdout.isatty():
        return PlainCaptions(quiet=quiet)
    from mtasr.cli.display.screen import Screen

    screen = Screen()
    return Terminal(screen) if screen.can_draw else PlainCaptions()
