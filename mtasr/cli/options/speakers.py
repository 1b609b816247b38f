"""Who speaks: by voice, or on which channel, and what they are called."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mtasr.audio.tracks import Tracks
from mtasr.cli.options.command import Decorator, option, switch, together
from mtasr.cli.options.types import Count, NoneOr, OneOf, Several
from mtasr.errors import InputError, UsageError
from mtasr.formats.rttm import Rttm, read_rttm
from mtasr.speaker_names import checked_names
from mtasr.speakers.options import SpeakerOptions, check_tracks, split_off

_SPEAKERS = "Speakers"

#: How many there are.
number_options = together(
    option(
        _SPEAKERS,
        "--num-speakers",
        type=NoneOr(Count(1)),
        metavar="N",
        help="How many people speak.  [default: find out]",
    ),
    option(_SPEAKERS, "--min-speakers", type=NoneOr(Count(1)), metavar="N", help="At least so many people speak."),
    option(_SPEAKERS, "--max-speakers", type=NoneOr(Count(1)), metavar="N", help="At most so many people speak."),
)


def _names(about: str) -> Decorator:
    return option(_SPEAKERS, "--speakers", type=NoneOr(Several(click.STRING)), metavar="NAME,NAME", help=about)


_voices = option(
    _SPEAKERS,
    "--voices",
    type=click.Path(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Recordings of people, to call them by the names of the files.",
)


def _refuse_token(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise UsageError("no token is needed to tell speakers apart: leave out --hf-token")


#: Which whisperX's users type.
_token = option(_SPEAKERS, "--hf-token", hidden=True, expose_value=False, callback=_refuse_token)

#: How many there are, and what they are called.
count_options = together(
    _token, number_options, _names("Their names, in the order in which they first speak."), _voices
)


_diarize = switch(_SPEAKERS, "diarize", default=False, help="Tell speakers apart by their voices.")

#: What is left of the speaker options for speech that is recognised while it is spoken.
live_speaker_options = together(_diarize, count_options)

#: Of `transcribe` and `translate`.
turns_option = option(
    _SPEAKERS,
    "--turns",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    configurable=False,
    help="RTTM file that says who speaks when.",
)


def to_turns(ctx: click.Context, params: Mapping[str, Any]) -> tuple[Rttm | None, dict[str, Any]]:
    """The RTTM that a command's parameters name, if they do, and the parameters without settings that it replaces.

    `--speakers` renames the speakers of the RTTM; a setting does not, because they have names. Raises `UsageError` if
    the command line asks for speakers in another way too, and `InputError` for a file that is no RTTM.
    """
    if params.get("turns") is None:
        return None, dict(params)
    for name, how, none in (("diarize", "--diarize", False), ("channels", "--channels split", "mix")):
        if params[name] != none and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"--turns says who speaks: leave out {how}")
    path = Path(params["turns"])
    files = read_rttm(path)
    if not any(files.values()):
        raise InputError(f"{path}: has no turns")
    is_typed = ctx.get_parameter_source("speakers") is ParameterSource.COMMANDLINE
    names = checked_names(params["speakers"] or ()) if is_typed else ()
    return Rttm(path, files, names), {**params, "diarize": False, "channels": "mix", "speakers": None}


speaker_options = together(
    _token,
    _diarize,
    number_options,
    _names("Their names, in the order in which they first speak, or of the channels."),
    _voices,
    option(
        _SPEAKERS,
        "--channels",
        type=OneOf("mix", "split"),
        default="mix",
        help="split: each channel is a speaker.",
    ),
)


#: Options that exclude each other.
_EXCLUSIVE = (("num_speakers", "min_speakers"), ("num_speakers", "max_speakers"), ("speakers", "voices"))

#: What the library's messages call by the names of its keywords.
_KEYWORD = re.compile(
    r"^speakers(?= needs| and)|\b(?:num|min|max)_speakers\b|\bvoices(?= both)"
    r"|\bdiarize(?=$|,| cannot)|\bchannels(?= split)"
)


def asks_for_speakers(ctx: click.Context) -> bool:
    """Whether --diarize is on the command line itself, and not a setting."""
    return bool(ctx.params["diarize"]) and ctx.get_parameter_source("diarize") is ParameterSource.COMMANDLINE


def to_speakers(ctx: click.Context, params: Mapping[str, Any]) -> tuple[SpeakerOptions | None, Tracks]:
    """How speakers are told apart by voice, if they are, and the `Tracks` in a command's parameters.

    Settings from files and the environment wait for --diarize, or for channels to name, and for a command line that
    says nothing else. Raises `UsageError` for a combination that makes no sense.
    """
    names = {field.name for field in dataclasses.fields(SpeakerOptions)}
    given = {name: value for name in names if (value := params.get(name)) is not None}
    typed = {name for name in given if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if not params["diarize"]:
        used = typed | ({"speakers"} if params["channels"] == "split" else set())
        given = {name: value for name, value in given.items() if name in used}
    for pair in _EXCLUSIVE:
        for name, other in pair, pair[::-1]:
            if name in typed and other not in typed:
                given.pop(other, None)
    try:
        speakers, rest = split_off(params["diarize"], given)
        tracks = Tracks(audio_stream=params["audio_stream"], channels=params["channels"], **rest)
        check_tracks(speakers, tracks)
    except UsageError as error:
        as_typed = _KEYWORD.sub(lambda found: f"--{found[0].replace('_', '-')}", str(error))
        raise UsageError(as_typed) from error
    return speakers, tracks
