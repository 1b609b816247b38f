"""The options of a call: objects and keywords merged and checked, languages as codes that the model has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mtasr.audio.tracks import Tracks
from mtasr.errors import UsageError
from mtasr.options import DecodingOptions, merge_options
from mtasr.speakers.options import SpeakerOptions, check_tracks, split_off
from mtasr.tokenizer import Tokenizer, to_code

#: The keywords that choose a part of the recording.
_TRACKS = frozenset(Tracks.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedOptions:
    """How to transcribe recordings, and what of them."""

    options: DecodingOptions
    tracks: Tracks
    #: How speakers are told apart by voice, None if they are not.
    speakers: SpeakerOptions | None
    #: Code of the language, None to detect it.
    language: str | None


def resolve_options(
    tokenizer: Tokenizer,
    options: DecodingOptions | None,
    *,
    tracks: Tracks | None = None,
    diarize: bool | SpeakerOptions = False,
    changes: Mapping[str, Any] | None = None,
) -> ResolvedOptions:
    """The options for a model with this tokenizer, from objects and keywords; keywords win.

    Raises `UsageError` for a combination that makes no sense and for languages that the model lacks.
    """
    speakers, rest = split_off(diarize, changes or {})
    tracks = replace(tracks or Tracks(), **{key: rest[key] for key in _TRACKS & set(rest)})
    rest = {key: value for key, value in rest.items() if key not in _TRACKS}
    merged = with_language_codes(tokenizer, merge_options(options or DecodingOptions(), rest))
    if merged.prefix and tracks.channels == "split":
        raise UsageError("prefix cannot be used with channels split, because each channel is another speaker")
    check_tracks(speakers, tracks)
    if speakers is not None:
        merged = replace(merged, word_timestamps=True)
    language = language_given(tokenizer, merged)
    return ResolvedOptions(options=merged, tracks=tracks, speakers=speakers, language=language)


def with_language_codes(tokenizer: Tokenizer, options: DecodingOptions) -> DecodingOptions:
    """The options with languages as codes. Raises `UsageError` for one that the model lacks."""
    if options.languages is None:
        return options
    codes = tuple(dict.fromkeys(map(to_code, options.languages)))
    for code in codes:
        tokenizer.sot_sequence(code, options.task)
    return replace(options, languages=codes)


def language_given(tokenizer: Tokenizer, options: DecodingOptions) -> str | None:
    """The code of the language asked for, None to detect it. Raises `UsageError` for one that the model lacks."""
    language = to_code(options.language) if options.language is not None else None
    if language is None and not tokenizer.is_multilingual:
        language = "en"
    if language is not None:
        tokenizer.sot_sequence(language, options.task)
    return language
