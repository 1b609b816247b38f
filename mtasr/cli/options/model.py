"""Which model, and how it runs on this machine."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from mtasr.cli.options.command import option, switch, together
from mtasr.cli.options.types import Count, Device, OneOf

#: The precisions that CTranslate2 knows, and "auto".
_COMPUTE_TYPES = (
    "auto", "default", "int8", "int8_float16", "int8_float32", "int8_bfloat16", "int16", "float16", "bfloat16",
    "float32"
)  # fmt: skip

_MODEL = "Model"


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of models, or else folders."""
    from mtasr.models.registry import MODELS

    names = [CompletionItem(name) for name in MODELS if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="dir")]


def complete_any_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of models, those that tell speakers apart too, or else folders."""
    from mtasr.models.speakers.published import SPEAKER_MODELS

    names = [CompletionItem(name) for name in SPEAKER_MODELS if incomplete and name.startswith(incomplete)]
    return names + [each for each in complete_model(ctx, param, incomplete) if each.type == "plain" or not names]


model_options = together(
    option(
        _MODEL,
        "--model",
        metavar="NAME|FOLDER",
        shell_complete=complete_model,
        help="Model name or folder; see `mtasr models list`.",
    ),
    option(_MODEL, "--device", type=Device(), default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N."),
    option(
        _MODEL,
        "--device-index",
        type=Count(),
        default=0,
        help="GPU to use, counted from 0, unless --device cuda:N names it.",
    ),
    option(
        _MODEL,
        "--compute-type",
        type=OneOf(*_COMPUTE_TYPES),
        default="auto",
        metavar="TYPE",
        help="auto, int8, int8_float16, float16, float32, ...",
    ),
    option(_MODEL, "--threads", type=Count(), default=0, help="CPU threads in total; 0: automatic."),
    option(_MODEL, "--workers", type=Count(), default=0, help="Batches decoded in parallel; 0: automatic."),
    option(_MODEL, "--batch-size", type=Count(), default=0, help="Windows per batch; 0: automatic."),
    option(
        _MODEL,
        "--engine",
        type=OneOf("ctranslate2", "torch"),
        default="ctranslate2",
        metavar="NAME",
        help="ctranslate2, or torch (slower).",
    ),
    # openai-whisper's name for the precision on a GPU, which is --compute-type here.
    switch(_MODEL, "fp16", default=True, hidden=True, expose_value=False),
)
