"""`mtasr features`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtasr.batch import Job, gather, outputs, plan
from mtasr.cli.display import Display
from mtasr.cli.listening import ListeningRun, heard, ready_encoder
from mtasr.cli.options.command import Command, debug_option
from mtasr.cli.options.decoding import audio_stream_option
from mtasr.cli.options.encoder import encoder_options
from mtasr.cli.options.files import (
    files_from_option,
    inputs_argument,
    output_dir_short_option,
    quiet_option,
    recursive_option,
)
from mtasr.errors import UsageError

if TYPE_CHECKING:
    from mtasr.networks.speech_encoder import SpeechEncoder


@click.command("features", cls=Command)
@inputs_argument
@encoder_options(every_layer=True)
@output_dir_short_option
@quiet_option
@files_from_option
@recursive_option
@audio_stream_option
@debug_option
@click.pass_context
def features(ctx: click.Context, /, **params: Any) -> int:
    """Write what an encoder makes of each FILE: one vector for each frame, with times.

    interview.npz for interview.mp3 has the arrays states (frames, width), times (the middle of each frame, in seconds),
    layers, encoder and frame_seconds; with --layer all, states has the shape (layers, frames, width). Needs the extra
    `train`.
    """
    directory = outputs.to_destination(params["directory"])
    if not isinstance(directory, Path):
        raise UsageError(f"{directory}: features go to a folder on this machine")
    inputs = gather(params["files"], params["files_from"], recursive=params["recursive"])
    jobs = {job.source: job for job in plan(inputs, directory, ("npz",))}
    listening = ListeningRun(ctx, list(jobs))
    if not listening.usable:
        return listening.code
    display = Display(quiet=params["quiet"])
    with outputs.new_folders([directory, *(file.parent for job in jobs.values() for file in job.files)]):
        encoder = ready_encoder(params["encoder"], params["device"], display, params["layer"])
        from mtasr.encoders.extract import chosen_layers, default_layer

        layer = default_layer(encoder) if params["layer"] is None else params["layer"]
        layers = chosen_layers(encoder, None if layer == "all" else layer)
        for source in listening.usable:
            listening.attempt(source, partial(_write, jobs[source], encoder, layers, params, display))
    return listening.code


def _write(job: Job, encoder: SpeechEncoder, layers: Sequence[int], params: dict[str, Any], display: Display) -> None:
    from mtasr.encoders.extract import extract
    from mtasr.encoders.feature_file import write_features

    every = params["layer"] == "all"
    (target,) = job.local_files
    with heard(display, job.source) as progress:
        blocks = extract(encoder, job.source, layers, audio_stream=params["audio_stream"], progress=progress)
        frames = write_features(target, blocks, encoder, layers, every=every)
    which = "all layers" if every else f"layer {layers[0]}"
    display.note(f"{job.name}: {frames} frames of {which} of {encoder.name}; wrote {target}")
