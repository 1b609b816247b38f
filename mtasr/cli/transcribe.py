"""`mtasr transcribe` and `mtasr translate`."""

from __future__ import annotations

from typing import Any

import click

from mtasr.batch import gather
from mtasr.batch.run import Existing
from mtasr.cli.options.command import Command, normalise, together
from mtasr.cli.options.decoding import recognition_options, task_options
from mtasr.cli.options.files import batch_options, cluster_option, inputs_argument, output_options, subtitle_options
from mtasr.cli.options.speakers import turns_option
from mtasr.cli.work import Work
from mtasr.errors import UsageError

#: What each of the options says about results of an earlier run; they exclude each other.
_EXISTING: dict[str, Existing] = {"overwrite": "overwrite", "skip_existing": "skip", "resume": "resume"}


_options = together(
    inputs_argument, output_options, batch_options, cluster_option, subtitle_options, recognition_options, turns_option
)


@click.command(cls=Command)
@_options
@task_options
@click.pass_context
def transcribe(ctx: click.Context, /, **params: Any) -> int:
    """Turn speech into text.

    Each FILE is an audio or video file, a folder of them, or - for standard input. Prints the text as it is recognised,
    and writes it to interview.srt for interview.mp3 (see --output-format). Recordings are decoded in windows: pieces of
    a few seconds, cut at pauses.
    """
    return _run(ctx, params)


@click.command(cls=Command)
@_options
@click.pass_context
def translate(ctx: click.Context, /, **params: Any) -> int:
    """Turn speech into English text.

    Each FILE is an audio or video file, a folder of them, or - for standard input. Prints the text as it is recognised,
    and writes it to interview.srt for interview.mp3 (see --output-format). Recordings are decoded in windows: pieces of
    a few seconds, cut at pauses.
    """
    return _run(ctx, params | {"task": "translate"})


def _run(ctx: click.Context, params: dict[str, Any]) -> int:
    """Refuse what is wrong before a model is loaded, which may take long and cost a download."""
    chosen = [name for name in _EXISTING if params[name]]
    if len(chosen) > 1:
        raise UsageError(f"--{normalise(chosen[0])} and --{normalise(chosen[1])} exclude each other")
    work = Work(ctx, params)
    inputs = gather(
        params["files"],
        params["files_from"],
        recursive=params["recursive"],
        allowed_schemes=params["allowed_schemes"],
    )
    return work.run(work.plan(inputs), _EXISTING[chosen[0]] if chosen else "overwrite")
