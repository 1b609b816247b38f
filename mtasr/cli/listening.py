"""What the commands share that listen to recordings with an encoder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from mtasr.batch.inputs import name_of
from mtasr.cli import failures
from mtasr.extras import extras

if TYPE_CHECKING:
    from mtasr.cli.display import Display
    from mtasr.encoders.extract import Progress
    from mtasr.networks.speech_encoder import SpeechEncoder


def ready_encoder(name: str, device: str, display: Display, layer: int | str | None = None) -> SpeechEncoder:
    """The encoder of that name. Raises `MissingExtraError` without the extra `train`.

    A `layer` that it is known not to have is a `UsageError` before it is loaded.
    """
    from mtasr.encoders.loading import check_layer, known_layers

    layers = known_layers(name) if isinstance(layer, int) else None
    if isinstance(layer, int) and layers is not None:
        check_layer(name, layers, layer)
    with extras():
        from mtasr.encoders import load_encoder
    with display.downloads() as progress:
        return load_encoder(name, device, progress=progress)


@contextlib.contextmanager
def heard(display: Display, source: str) -> Iterator[Progress]:
    """Bars while a recording is listened to; yields what tells them how far it is."""
    seconds, total = 0.0, None

    def tell(now: float, of: float | None) -> None:
        nonlocal seconds, total
        seconds, total = now, of

    with display.working(name_of(source), lambda: seconds, lambda: total):
        yield tell


class ListeningRun:
    """Work on several recordings, where one that fails does not stop the others."""

    def __init__(self, ctx: click.Context, sources: Sequence[str]) -> None:
        from mtasr.audio.read import check_input

        debug = ctx.meta.get(failures.DEBUG, False)
        self._attempts = failures.Attempts(len(sources), partial(failures.report, debug=debug))
        #: Those that can be opened.
        self.usable = [each for each in sources if self.attempt(each, partial(check_input, each))]

    @property
    def code(self) -> failures.ExitCode:
        return self._attempts.code

    def attempt(self, source: str, work: Callable[[], None]) -> bool:
        return self._attempts.attempt(name_of(source), work)
