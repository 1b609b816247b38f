"""`mtasr detect-language`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mtasr.batch.inputs import name_of
from mtasr.cli import failures
from mtasr.cli.display import Display, print_line
from mtasr.cli.options.command import Command, debug_option, option
from mtasr.cli.options.decoding import audio_stream_option, languages_option
from mtasr.cli.options.files import files_argument, quiet_option
from mtasr.cli.options.model import model_options
from mtasr.cli.options.types import Count
from mtasr.cli.work import english_name, load
from mtasr.remote import urls

if TYPE_CHECKING:
    from mtasr.transcribe import Model


@click.command("detect-language", cls=Command)
@files_argument
@option("Output", "--top", type=Count(1), default=3, help="How many languages to show.")
@languages_option
@audio_stream_option
@quiet_option
@model_options
@debug_option
@click.pass_context
def detect_language(ctx: click.Context, /, **params: Any) -> int:
    """Detect the language spoken in each FILE, and list the most probable ones.

    If standard output is not a terminal, each line has file, language code, English name and probability, separated by
    tabs.
    """
    from mtasr.audio.read import check_input

    files: tuple[str, ...] = params["files"]
    attempts = failures.Attempts(len(files), partial(failures.report, debug=ctx.meta.get(failures.DEBUG, False)))
    ready = [file for file in files if attempts.attempt(name_of(file), partial(check_input, file))]
    if not ready:
        return attempts.code
    # --quiet drops the notes; the languages are the result and stay.
    display = Display(quiet=params["quiet"])
    model = load(params, display, "transcribe")
    for file in ready:
        attempts.attempt(name_of(file), partial(_show, file, model, params))
    return attempts.code


def _show(file: str, model: Model, params: Mapping[str, Any]) -> None:
    guesses = model.detect_language(file, params["languages"], audio_stream=params["audio_stream"])[: params["top"]]
    if not sys.stdout.isatty():
        name = failures.printable(urls.name_of(file))
        for guess in guesses:
            print_line(f"{name}\t{guess.code}\t{english_name(guess.code)}\t{guess.probability:.6f}")
        return
    print_line(failures.printable(name_of(file)))
    for guess in guesses:
        print_line(f"  {guess.probability:6.1%}  {guess.code:<3}  {english_name(guess.code)}")
