"""`mtasr check-mark`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from mtasr.cli.display import print_line
from mtasr.cli.failures import ExitCode, printable
from mtasr.cli.options.command import Command, debug_option, option
from mtasr.cli.options.files import files_argument


@click.command("check-mark", cls=Command)
@files_argument
@option("Output", "--json", "as_json", is_flag=True, configurable=False, help="Print a line of JSON for each file.")
@debug_option
def check_mark(files: tuple[str, ...], as_json: bool, **_: Any) -> int:
    """Tell whether files are marked as synthetic speech.

    Prints the mark of each FILE: how the speech was made, with which voice, when, and the hash of its source. Exits
    with 0 if all are marked, and with 6 if one is not. That a file has no mark does not prove that a person spoke:
    tags can be removed.
    """
    from mtasr.speech.marking import read_mark

    marks = {name: read_mark(name) for name in files}
    for name, mark in marks.items():
        if as_json:
            print_line(json.dumps({"file": name, "synthetic": mark is not None, **(asdict(mark) if mark else {})}))
        elif mark is None:
            print_line(f"{printable(name)}: no mark")
        else:
            said = f"synthetic speech, {mark.engine} read by {mark.voice}, {mark.tool}, {mark.created}"
            consent = f", with the consent of {mark.consent}" if mark.consent else ""
            print_line(printable(f"{name}: {said}, source {mark.source}{consent}"))
    return ExitCode.DONE if all(marks.values()) else ExitCode.PART_FAILED
