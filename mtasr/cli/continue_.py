"""`mtasr continue`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mtasr.batch.inputs import name_of
from mtasr.cli import failures
from mtasr.cli.display import Display, print_line
from mtasr.cli.listening import heard
from mtasr.cli.options.command import Command, debug_option, option
from mtasr.cli.options.decoding import audio_stream_option
from mtasr.cli.options.encoder import device_option
from mtasr.cli.options.files import quiet_option
from mtasr.cli.options.types import Count, OneOf
from mtasr.errors import InputError
from mtasr.extras import extras

_MODEL, _RESULT = "Model", "Continuations"


@click.command("continue", cls=Command)
@click.argument("prompt", metavar="PROMPT")
@option(
    _MODEL,
    "--model",
    required=True,
    configurable=False,
    metavar="RUN",
    help="A run of `mtasr pretrain objective=unit_lm`, or the folder unit-lm in it.",
)
@option(
    _MODEL,
    "--centres",
    type=click.Path(path_type=Path, dir_okay=False),
    configurable=False,
    metavar="NPZ",
    help="The units, as `mtasr units --fit` writes them.  [default: those that the run learnt with]",
)
@device_option
@option(_RESULT, "--count", "-n", type=Count(1), default=5, configurable=False, help="How many continuations to write.")
@option(
    _RESULT,
    "--temperature",
    type=click.FloatRange(0, 100),
    default=0.7,
    configurable=False,
    metavar="X",
    help="Low values repeat what is likely, high ones babble; 0 always takes the likeliest unit.",
)
@option(
    _RESULT,
    "--top-k",
    type=Count(1),
    configurable=False,
    help="Draw each unit only from the N likeliest.  [default: from all]",
)
@option(
    _RESULT,
    "--seconds",
    type=click.FloatRange(0, 600, min_open=True),
    default=10.0,
    configurable=False,
    metavar="S",
    help="How long a continuation may be, counted in units at the pace of PROMPT. It may end sooner.",
)
@option(_RESULT, "--seed", type=Count(), default=0, configurable=False, help="Another number draws other units.")
@option(
    _RESULT,
    "--format",
    "form",
    type=OneOf("sequence", "json"),
    default="sequence",
    configurable=False,
    help="sequence: a line of units for each continuation; json: one line with the units of PROMPT as well.",
)
@quiet_option
@audio_stream_option
@debug_option
def continue_(**params: Any) -> None:
    """Continue the speech in the recording PROMPT as a language model over units would, without any text.

    Prints units, those of PROMPT left out; runs of the same unit are one. If PROMPT is longer than the model can read,
    its end counts. The same seed gives the same units on the same machine. For example, after `mtasr units --fit
    recordings -o units.npz`:

    mtasr pretrain objective=unit_lm data=recordings objective_options.centres=units.npz output=RUN

    mtasr continue prompt.wav --model RUN -n 5 --temperature 0.7

    Needs the extra `train`.
    """
    from mtasr.audio.read import check_input

    prompt: str = params["prompt"]
    check_input(prompt)
    with extras():
        from mtasr.generative.sampling import Sampling
        from mtasr.generative.unit_model import load_unit_model
        from mtasr.pretraining.units.kmeans import read_centres

    how = Sampling(temperature=params["temperature"], top_k=params["top_k"], seed=params["seed"])
    model = load_unit_model(params["model"], params["device"])
    if params["centres"] is not None:
        model = model.with_centres(read_centres(params["centres"]))
    display = Display(quiet=params["quiet"])
    with heard(display, prompt) as progress:
        units, seconds = model.heard(prompt, audio_stream=params["audio_stream"], progress=progress)
    if not units:
        raise InputError(f"{name_of(prompt)}: is too short to have a unit")
    most = max(1, round(params["seconds"] * len(units) / seconds))
    _write(name_of(prompt), units, model.continuations(units, params["count"], most, how), params["form"])


def _write(name: str, prompt: list[int], found: list[list[int]], form: str) -> None:
    if form == "json":
        print_line(json.dumps({"file": name, "prompt": prompt, "continuations": found}))
        return
    for units in found:
        print_line(f"{failures.printable(name)}\t{' '.join(map(str, units))}")
