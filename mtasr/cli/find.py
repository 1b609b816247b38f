"""`mtasr find`."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mtasr.batch import gather
from mtasr.batch.inputs import name_of
from mtasr.cli import failures
from mtasr.cli.display import Display, print_line
from mtasr.cli.listening import ListeningRun, heard, ready_encoder
from mtasr.cli.options.command import Command, debug_option, option
from mtasr.cli.options.decoding import audio_stream_option
from mtasr.cli.options.encoder import encoder_options
from mtasr.cli.options.files import files_from_option, inputs_argument, quiet_option, recursive_option
from mtasr.cli.options.types import Count
from mtasr.errors import UsageError

if TYPE_CHECKING:
    from mtasr.probing.search import FoundPlace

_EXAMPLE, _RESULT = "Example", "Result"


@click.command("find", cls=Command)
@click.argument("example", metavar="EXAMPLE", type=click.Path())
@inputs_argument
@option(
    _EXAMPLE,
    "--start",
    type=click.FloatRange(0),
    configurable=False,
    metavar="S",
    help="Second of EXAMPLE at which it begins.",
)
@option(
    _EXAMPLE,
    "--end",
    type=click.FloatRange(0),
    configurable=False,
    metavar="S",
    help="Second of EXAMPLE at which it ends.",
)
@option(
    _EXAMPLE,
    "--example-stream",
    type=Count(),
    configurable=False,
    metavar="N",
    help="Audio track of EXAMPLE.  [default: as --audio-stream]",
)
@option(
    _RESULT,
    "--threshold",
    type=click.FloatRange(-1, 1),
    configurable=False,
    metavar="X",
    help="Score from which on a place is shown.",
)
@option(_RESULT, "--top", type=Count(1), default=10, configurable=False, help="How many places to show.")
@option(_RESULT, "--json", "as_json", is_flag=True, configurable=False, help="A line of JSON for each place.")
@quiet_option
@files_from_option
@recursive_option
@encoder_options()
@audio_stream_option
@debug_option
@click.pass_context
def find(ctx: click.Context, /, **params: Any) -> int:
    """Find where something is said in each FILE that sounds like EXAMPLE, in any language, without its text.

    EXAMPLE is a recording of a word or phrase, or of more, of which --start and --end choose a stretch; without these,
    it counts from the first speech in it to the last. Prints the most similar places first; the example's own place is
    none of them. If standard output is not a
    terminal, each line has file, start and end in seconds, and score, separated by tabs. If no place scores high
    enough, nothing is printed but a note on standard error. Needs the extra `train`.
    """
    example: str = params["example"]
    if example == "-" and "-" in params["files"]:
        raise UsageError("standard input (-) can be read only once")
    from mtasr.audio.read import check_input

    check_input(example)
    inputs = gather(params["files"], params["files_from"], recursive=params["recursive"])
    listening = ListeningRun(ctx, [each.source for each in inputs])
    if not listening.usable:
        return listening.code
    display = Display(quiet=params["quiet"])
    encoder = ready_encoder(params["encoder"], params["device"], display, params["layer"])
    from mtasr.encoders.extract import default_layer
    from mtasr.probing.search import THRESHOLD, Search, read_example

    layer = default_layer(encoder, words=True) if params["layer"] is None else params["layer"]
    stream = params["audio_stream"] if params["example_stream"] is None else params["example_stream"]
    stretch = {"start": params["start"], "end": params["end"]}
    search = Search(encoder, layer, read_example(encoder, layer, example, **stretch, audio_stream=stream))

    def listen(source: str) -> None:
        with heard(display, source) as progress:
            search.listen(source, audio_stream=params["audio_stream"], progress=progress)

    for source in listening.usable:
        listening.attempt(source, partial(listen, source))
    threshold = THRESHOLD if params["threshold"] is None else params["threshold"]
    _show(search.places(threshold, params["top"]), threshold, params, display)
    return listening.code


def _show(places: list[FoundPlace], threshold: float, params: dict[str, Any], display: Display) -> None:
    if not places or places[0].score < threshold:
        best = ""
        if places:
            (place,) = places
            best = (
                f"; the nearest, {name_of(place.source)} {place.start:.2f}-{place.end:.2f} s, scores {place.score:.2f}"
            )
        display.note(f"not found: no place scores {threshold:.2f} or more{best}")
        return
    for place in places:
        name = failures.printable(name_of(place.source))
        if params["as_json"]:
            document = {"file": name_of(place.source), "start": round(place.start, 3), "end": round(place.end, 3)}
            print_line(json.dumps(document | {"score": round(place.score, 4)}, ensure_ascii=False))
        elif sys.stdout.isatty():
            print_line(f"  {place.score:.2f}  {place.start:9.2f} – {place.end:.2f}  {name}")
        else:
            print_line(f"{name}\t{place.start:.3f}\t{place.end:.3f}\t{place.score:.4f}")
