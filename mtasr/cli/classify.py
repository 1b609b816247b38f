"""`mtasr classify`."""

from __future__ import annotations

import io
import itertools
import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mtasr.batch import Input, gather
from mtasr.batch.inputs import name_of
from mtasr.cli import failures
from mtasr.cli.display import Display, print_line
from mtasr.cli.listening import ListeningRun, heard
from mtasr.cli.options.command import Command, debug_option, option
from mtasr.cli.options.decoding import audio_stream_option
from mtasr.cli.options.encoder import device_option
from mtasr.cli.options.files import inputs_argument, quiet_option, recursive_option
from mtasr.cli.options.model import complete_model
from mtasr.cli.options.types import Count
from mtasr.errors import UsageError
from mtasr.extras import extras
from mtasr.formats.rttm import write_turns
from mtasr.remote import urls
from mtasr.transcript import Turn

if TYPE_CHECKING:
    from mtasr.arrays import Float32Array
    from mtasr.probing.answers import Answer
    from mtasr.probing.classifying import Classifier

_RESULT = "Result"
#: Cosine from which on voices are the same, if neither the head nor the user says.
_SAME_VOICE = 0.5


@click.command("classify", cls=Command)
@inputs_argument
@option(
    _RESULT,
    "--head",
    required=True,
    configurable=False,
    metavar="FOLDER|NAME",
    help="What to tell: a head that `mtasr probe` saved, or one on the hub (superb/hubert-base-superb-er).",
)
@option(_RESULT, "--top", type=Count(1), default=3, configurable=False, help="How many labels to show.")
@option(
    _RESULT,
    "--threshold",
    type=click.FloatRange(-1, 1),
    configurable=False,
    metavar="X",
    help="Least cosine of one voice, or least probability of speech.  [default: the head's]",
)
@option(_RESULT, "--json", "as_json", is_flag=True, configurable=False, help="A line of JSON for each result.")
@quiet_option
@recursive_option
@audio_stream_option
@option(
    "Encoder",
    "--encoder",
    configurable=False,
    metavar="NAME|FOLDER",
    shell_complete=complete_model,
    help="The encoder of a head of your own, if it was moved.",
)
@device_option
@debug_option
@click.pass_context
def classify(ctx: click.Context, /, **params: Any) -> int:
    """Label each FILE with a head: keyword, emotion, speaker, intent, ...

    If standard output is not a terminal, each line has file, question, label and probability, separated by tabs; with
    spans instead, file, start and end in seconds, and label. A head that compares voices (microsoft/wavlm-base-plus-sv)
    takes two or more FILEs; for each two it prints their cosine, and whether the voices are the same. A head that tells
    who speaks when (microsoft/wavlm-base-plus-sd) prints RTTM. No code in a model is run. Needs the extra `train`.
    """
    sources = [each.source for each in gather(params["files"], recursive=params["recursive"])]
    listening = ListeningRun(ctx, sources)
    if not listening.usable:
        return listening.code
    with extras():
        from mtasr.probing.classifying import load_classifier
    display = Display(quiet=params["quiet"])
    with display.downloads() as progress:
        classifier = load_classifier(params["head"], params["device"], encoder=params["encoder"], progress=progress)
    _check_options(ctx, classifier.head.config.kind)
    if classifier.head.config.kind == "x-vector":
        _compare(listening, classifier, params, display)
        return listening.code
    for source in listening.usable:
        listening.attempt(source, partial(_show, source, classifier, params, display))
    return listening.code


def _check_options(ctx: click.Context, kind: str) -> None:
    """Raise `UsageError` for options that mean nothing to a head of this kind."""
    top = ctx.get_parameter_source("top") is ParameterSource.COMMANDLINE
    if top and kind != "mean":
        raise UsageError("--top is for heads that tell the labels of a recording, and this head does not")
    threshold = ctx.params["threshold"]
    speaks = "activity" in kind
    if threshold is not None and kind != "x-vector" and not speaks:
        raise UsageError("--threshold is for heads that compare voices or tell who speaks when, and this head does not")
    if threshold is not None and speaks and threshold < 0:
        raise UsageError("this head tells who speaks when: its --threshold is a probability, from 0 to 1")


def _answer(source: str, classifier: Classifier, params: dict[str, Any], display: Display) -> Answer:
    from mtasr.probing.classifying import classified

    with heard(display, source) as progress:
        return classified(
            classifier,
            source,
            threshold=params["threshold"],
            audio_stream=params["audio_stream"],
            progress=progress,
        )


def _show(source: str, classifier: Classifier, params: dict[str, Any], display: Display) -> None:
    answer = _answer(source, classifier, params, display)
    if params["as_json"]:
        print_line(json.dumps({"file": name_of(source)} | _document(answer, params["top"]), ensure_ascii=False))
    elif answer.text is not None:
        print_line(f"{failures.printable(name_of(source))}\t{failures.printable(answer.text)}")
    elif answer.choices:
        _print_choices(source, answer, params["top"])
    elif "activity" in classifier.head.config.kind:
        _print_rttm(source, answer)
    else:
        for span in answer.spans:
            name, label = failures.printable(name_of(source)), failures.printable(span.label)
            print_line(f"{name}\t{span.start:.3f}\t{span.end:.3f}\t{label}")


def _document(answer: Answer, top: int) -> dict[str, Any]:
    if answer.text is not None:
        return {"text": answer.text}
    if answer.choices:
        return {
            question: [{"label": label, "probability": round(probability, 6)} for label, probability in choices[:top]]
            for question, choices in answer.choices.items()
        }
    return {
        "spans": [
            {"start": round(span.start, 4), "end": round(span.end, 4), "label": span.label} for span in answer.spans
        ]
    }


def _print_choices(source: str, answer: Answer, top: int) -> None:
    name = failures.printable(name_of(source))
    if sys.stdout.isatty():
        print_line(name)
    for question, choices in answer.choices.items():
        for label, probability in choices[:top]:
            if sys.stdout.isatty():
                asked = f"{question}: " if len(answer.choices) > 1 else ""
                print_line(f"  {probability:6.1%}  {asked}{failures.printable(label)}")
            else:
                print_line(f"{name}\t{question}\t{failures.printable(label)}\t{probability:.6f}")


def _print_rttm(source: str, answer: Answer) -> None:
    text = io.StringIO()
    turns = [Turn(start=span.start, end=span.end, speaker=span.label) for span in answer.spans]
    write_turns(turns, text, Input(source).stem.name)
    for line in text.getvalue().splitlines():
        print_line(line)


def _compare(listening: ListeningRun, classifier: Classifier, params: dict[str, Any], display: Display) -> None:
    """Print the cosine of each two recordings."""
    voices: dict[str, Float32Array] = {}

    def listen(source: str) -> None:
        embedding = _answer(source, classifier, params, display).embedding
        if embedding is not None:
            voices[source] = embedding

    if len(listening.usable) < 2:
        raise UsageError("this head compares voices: name two recordings or more")
    for source in listening.usable:
        listening.attempt(source, partial(listen, source))
    threshold = params["threshold"]
    if threshold is None:
        threshold = classifier.head.config.settings.get("threshold", _SAME_VOICE)
    for (one, first), (other, second) in itertools.combinations(voices.items(), 2):
        cosine = float(first @ second)
        same = cosine >= threshold
        if params["as_json"]:
            document = {"files": [name_of(one), name_of(other)], "cosine": round(cosine, 6), "same": same}
            print_line(json.dumps(document | {"threshold": threshold}, ensure_ascii=False))
        else:
            names = "\t".join(failures.printable(urls.name_of(each)) for each in (one, other))
            print_line(f"{names}\t{cosine:.3f}\t{'same voice' if same else 'different voices'}")
