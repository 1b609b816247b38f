"""`mtasr units`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtasr.batch import gather, outputs
from mtasr.batch.inputs import name_of
from mtasr.cli import failures
from mtasr.cli.display import Display, print_line
from mtasr.cli.listening import ListeningRun, heard, ready_encoder
from mtasr.cli.options.command import Command, debug_option, option, switch
from mtasr.cli.options.decoding import audio_stream_option
from mtasr.cli.options.encoder import DEFAULT_ENCODER, encoder_options
from mtasr.cli.options.files import inputs_argument, quiet_option, recursive_option
from mtasr.cli.options.types import Count, OneOf
from mtasr.errors import UsageError
from mtasr.extras import extras

if TYPE_CHECKING:
    from mtasr.networks.speech_encoder import SpeechEncoder
    from mtasr.pretraining.units.kmeans import UnitCentres
    from mtasr.pretraining.units.spoken_units import SpokenUnit

_UNITS, _FIT = "Units", "Learning units"
_PATH = click.Path(path_type=Path, dir_okay=False)


@click.command("units", cls=Command)
@inputs_argument
@option(
    _UNITS,
    "--centres",
    type=_PATH,
    metavar="NPZ",
    help="The units, as --fit writes them; also .npy, or scikit-learn's .bin.",
)
@switch(_UNITS, "join", default=True, configurable=False, help="Take frames of the same unit in a row for one.")
@option(
    _UNITS,
    "--format",
    "form",
    type=OneOf("tsv", "json", "sequence"),
    default="tsv",
    configurable=False,
    help="tsv: a line for each unit; json: for each recording; sequence: units alone.",
)
@quiet_option
@option(
    _FIT,
    "--fit",
    "learn_from",
    type=click.Path(),
    multiple=True,
    metavar="FILE|FOLDER",
    help="Learn units from these recordings, instead of printing any. Repeatable.",
)
@option(_FIT, "--clusters", type=Count(1), default=100, configurable=False, help="How many units to learn.")
@option(_FIT, "--output", "-o", type=_PATH, metavar="NPZ", help="Where to write the units learnt.")
@recursive_option
@encoder_options(default=None)
@audio_stream_option
@debug_option
@click.pass_context
def units(ctx: click.Context, /, **params: Any) -> int:
    """Turn speech into a sequence of units: sounds that were learnt without any text.

    First learn units from recordings: mtasr units --fit FOLDER --clusters 100 -o units.npz. Then print those of each
    FILE: mtasr units FILE --centres units.npz. A line of tsv has file, start and end in seconds, and the number of the
    unit. Needs the extra `train`.
    """
    if params["learn_from"]:
        if params["files"] or params["centres"]:
            raise UsageError(
                "--fit learns units and prints none: leave out FILE and --centres, and name them afterwards"
            )
        return _fit(ctx, params)
    if params["output"]:
        raise UsageError("--output is for the units that --fit learns; the units of FILE go to standard output")
    if params["centres"] is None:
        raise UsageError(
            "which units? Learn them first with `mtasr units --fit FOLDER -o units.npz`, then give --centres units.npz"
        )
    return _print(ctx, params)


def _fit(ctx: click.Context, params: dict[str, Any]) -> int:
    target: Path | None = params["output"]
    if target is None:
        raise UsageError("--fit needs --output, the file for the units")
    if target.suffix != ".npz":
        raise UsageError(f"{target}: the name of a file of units ends with .npz")
    sources = [each.source for each in gather(params["learn_from"], recursive=params["recursive"])]
    outputs.check_target(target, sources)
    listening = ListeningRun(ctx, sources)
    if not listening.usable:
        return listening.code
    display = Display(quiet=params["quiet"])
    encoder = ready_encoder(params["encoder"] or DEFAULT_ENCODER, params["device"], display, params["layer"])
    from mtasr.encoders.extract import chosen_layers, default_layer
    from mtasr.pretraining.units.kmeans import FrameSample
    from mtasr.pretraining.units.spoken_units import learnt, sampled
    from mtasr.probing.states import identity_of

    layer = params["layer"]
    (layer,) = chosen_layers(encoder, default_layer(encoder) if layer is None else layer)
    sample = FrameSample()

    def listen(source: str) -> None:
        with heard(display, source) as progress:
            sampled(sample, encoder, layer, source, params["audio_stream"], progress)

    for source in listening.usable:
        listening.attempt(source, partial(listen, source))
    centres = learnt(sample, encoder, layer, params["clusters"], identity=identity_of(encoder))
    centres.save(target)
    display.note(f"{centres.units} units of layer {layer} of {encoder.name}; wrote {target}")
    return listening.code


def _print(ctx: click.Context, params: dict[str, Any]) -> int:
    with extras():
        from mtasr.pretraining.units.kmeans import read_centres
        from mtasr.pretraining.units.spoken_units import check_fit
        from mtasr.probing.states import identity_of

    sources = [each.source for each in gather(params["files"], recursive=params["recursive"])]
    centres = read_centres(params["centres"])
    name = params["encoder"] or centres.encoder
    if not name:
        raise UsageError(f"{params['centres']}: does not say for which encoder it is; name it with --encoder")
    listening = ListeningRun(ctx, sources)
    if not listening.usable:
        return listening.code
    display = Display(quiet=params["quiet"])
    encoder = ready_encoder(name, params["device"], display, params["layer"])
    check_fit(centres, encoder, params["layer"], identity=identity_of(encoder))
    for source in listening.usable:
        listening.attempt(source, partial(_show, source, encoder, centres, params, display))
    return listening.code


def _show(source: str, encoder: SpeechEncoder, centres: UnitCentres, params: dict[str, Any], display: Display) -> None:
    from mtasr.pretraining.units.spoken_units import spoken_units

    with heard(display, source) as progress:
        found = list(
            spoken_units(
                encoder,
                centres,
                source,
                layer=params["layer"],
                joins=params["join"],
                audio_stream=params["audio_stream"],
                progress=progress,
            )
        )
    _write(source, found, params["form"])


def _write(source: str, found: Sequence[SpokenUnit], form: str) -> None:
    name = failures.printable(name_of(source))
    if form == "sequence":
        print_line(f"{name}\t{' '.join(str(each.unit) for each in found)}")
    elif form == "json":
        document = {
            "file": name_of(source),
            "units": [each.unit for each in found],
            "starts": [round(each.start, 4) for each in found],
            "ends": [round(each.end, 4) for each in found],
        }
        print_line(json.dumps(document))
    else:
        for each in found:
            print_line(f"{name}\t{each.start:.3f}\t{each.end:.3f}\t{each.unit}")
