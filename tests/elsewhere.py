"""Other machines that decode a recording, each with a model of its own; what they say travels pickled."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from mtasr.audio.sources import Source
from mtasr.decoding.submission import DecodedWindow, PlacedResult
from mtasr.decoding.survey import DecodedRecording, Survey
from mtasr.decoding.windows import Place, WindowOutline
from mtasr.transcribe import Model

_T = TypeVar("_T")


def sent(value: _T) -> _T:
    """The value as another process gets it."""
    copy: _T = pickle.loads(pickle.dumps(value))
    return copy


@dataclass
class InParts:
    """A recording whose windows are shared out: `parts` divides the outlines of a channel. An `Elsewhere`."""

    source: Source
    #: Makes the model of another machine.
    machine: Callable[[], Model]
    parts: Callable[[Sequence[WindowOutline]], Sequence[Sequence[WindowOutline]]]
    #: Arguments of `Model.stream_all`.
    asked: dict[str, Any] = field(default_factory=dict)
    #: Places whose samples were drawn at random.
    drawn: list[Place] = field(default_factory=list)

    @cached_property
    def _survey(self) -> Survey:
        return sent(self.machine().survey(self.source, **self.asked))

    def survey(self) -> Survey:
        return self._survey

    def results(self, channel: int) -> Iterator[DecodedWindow]:
        outlines = self._survey.channels[channel].outlines
        results: dict[Place, DecodedWindow] = {}
        for part in reversed(self.parts(outlines)):
            placed = self._decoded(channel, part)
            assert [each.place for each in placed] == [each.place for each in part]
            results |= {each.place: each.result for each in placed if each.place and each.result}
        left = [each for each in outlines if each.place not in results]
        self.drawn += [each.place for each in left]
        if left:
            placed = self._decoded(channel, left, draws=True)
            assert not any(each.to_note for each in placed)
            results |= {each.place: each.result for each in placed if each.place and each.result}
        for each in outlines:
            yield results[each.place]

    def _decoded(self, channel: int, outlines: Sequence[WindowOutline], **how: bool) -> list[PlacedResult]:
        others = ("language", "diarize", "num_speakers", "most_seconds")
        asked = {key: value for key, value in self.asked.items() if key not in others}
        if self.asked.get("diarize"):
            asked["word_timestamps"] = True
        language = self._survey.channels[channel].spoken
        found = self.machine().decode_windows(
            self.source, sent(outlines), language=language, channel=channel, **asked, **how
        )
        return sent(list(found))

    def close(self) -> None:
        pass


class AsAWhole:
    """A recording that another machine has decoded as a whole. An `Elsewhere`."""

    def __init__(self, decoded: DecodedRecording) -> None:
        self.decoded = sent(decoded)

    def survey(self) -> Survey:
        return self.decoded.survey

    def results(self, channel: int) -> Iterator[DecodedWindow]:
        for each in self.decoded.results[channel]:
            assert each.result is not None
            yield each.result

    def close(self) -> None:
        pass
