"""Who speaks: by voice, or on which channel, and what they are called."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import click

from mtasr.audio.tracks import Tracks
from mtasr.cli.options.command import option, switch, together
from mtasr.cli.options.types import Count, NoneOr, OneOf, Several
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

#: How many there are, and what they are called.
count_options = together(
    number_options,
    option(
        _SPEAKERS,
        "--speakers",
        type=NoneOr(Several(click.STRING)),
        metavar="NAME,NAME",
        help="Their names, in the order in which they first speak, or of the channels.",
    ),
    option(
        _SPEAKERS,
        "--voices",
        type=click.Path(exists=True, file_okay=False),
        metavar="FOLDER",
        help="Recordings of people, to call them by the names of the files.",
    ),
)

speaker_options = together(
    switch(_SPEAKERS, "diarize", default=False, help="Tell speakers apart by their voices."),
    count_options,
    option(
        _SPEAKERS,
        "--channels",
        type=OneOf("mix", "split"),
        default="mix",
        help="split: each channel is a speaker.",
    ),
)


def to_speakers(params: Mapping[str, Any]) -> tuple[SpeakerOptions | None, Tracks]:
    """How speakers are told apart by voice, if they are, and the `Tracks` in a command's parameters.

    Raises `UsageError` for a combination that makes no sense.
    """
    names = {field.name for field in dataclasses.fields(SpeakerOptions)}
    given = {name: params[name] for name in names if params[name] is not None}
    speakers, rest = split_off(params["diarize"], given)
    tracks = Tracks(audio_stream=params["audio_stream"], channels=params["channels"], **rest)
    check_tracks(speakers, tracks)
    return speakers, tracks
