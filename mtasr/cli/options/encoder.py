"""Which encoder listens, and which of its layers counts."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from mtasr.cli.options.command import Decorator, option, together
from mtasr.cli.options.model import complete_model
from mtasr.cli.options.types import Device, ParamType

_ENCODER = "Encoder"

#: What listens if nothing else is asked for: OpenAI's multilingual model that the extra `base` installs.
DEFAULT_ENCODER = "base"


class Layer(ParamType):
    """The number of a layer; with `every`, also the word all, which stands for None."""

    name = "layer"

    def __init__(self, *, every: bool = False) -> None:
        self._every = every

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "N|all" if self._every else "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if self._every and str(value).lower() == "all":
            return "all"
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is not the number of a layer{' or all' if self._every else ''}.", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem("all")] if self._every and "all".startswith(incomplete) else []


device_option = option(
    _ENCODER, "--device", type=Device(), default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N."
)


def encoder_options(*, default: str | None = DEFAULT_ENCODER, every_layer: bool = False) -> Decorator:
    """The encoder, its layer and the device; `default` None if it is known from elsewhere."""
    return together(
        option(
            _ENCODER,
            "--encoder",
            default=default,
            configurable=False,
            metavar="NAME|FOLDER",
            shell_complete=complete_model,
            help="A Whisper model, a folder, a name on the hub (facebook/hubert-base-ls960), log-mel, mfcc, "
            "random:NAME; NAME+5 adds 5 frames before and after each."
            + ("" if default else f"  [default: that of the centres; {DEFAULT_ENCODER} with --fit]"),
        ),
        option(
            _ENCODER,
            "--layer",
            type=Layer(every=every_layer),
            configurable=False,
            help="Layer whose states to take; 0 is the input of the first."
            + (
                "  [default: one that suits the task]"
                if default
                else "  [default: that of the centres; with --fit, one that suits the task]"
            ),
        ),
        device_option,
    )
