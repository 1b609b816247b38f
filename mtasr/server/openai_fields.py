"""The form fields of OpenAI's audio API, and what a request asks for in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtasr.audio.tracks import Tracks
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.options import FALLBACK_TEMPERATURES, DecodingOptions, Task, temperatures
from mtasr.server.forms import (
    NUMBER,
    OPTION_FIELDS,
    SPEAKER_FIELDS,
    TEXT,
    TRACK_FIELDS,
    TRUTH,
    FormField,
    decoding_options,
    one_of,
    read_form,
    speakers_of,
    whole,
)
from mtasr.server.problems import bad_field
from mtasr.server.upload import REFERENCES
from mtasr.speakers.options import SpeakerOptions
from mtasr.subtitles import STYLES

#: OpenAI's names of the formats that mtasr writes; other formats have the same name in both.
WRITTEN = {"text": "txt"} | {name: name for name in OUTPUT_FORMATS if name != "json"}
_JSON = ("json", "verbose_json", "diarized_json")
#: Formats that say who speaks. To ask for one is to ask for speakers.
_DIARIZED = ("diarized_json", "rttm")

_OPTIONS = tuple(each for each in OPTION_FIELDS if each.name not in ("initial_prompt", "language"))
_LANGUAGE = FormField("language", TEXT, "The language spoken, as a code or English name.", example="en")
_OURS = (
    *_OPTIONS,
    *TRACK_FIELDS,
    *SPEAKER_FIELDS,
    FormField("strict", TRUTH, "Answer with an error if speech has no text, or text no speech."),
    FormField("subtitle_style", one_of(*STYLES), "The layout of subtitles.", example="web"),
    FormField("highlight_words", TRUTH, "Underline the spoken word, in SRT and VTT."),
)


def _common(forms: Sequence[str]) -> tuple[FormField, ...]:
    return (
        FormField("model", TEXT, "The model; OpenAI's names mean the default.", example="whisper-1"),
        FormField("prompt", TEXT, "Text before the recording: names, spelling, style.", aliases=("initial_prompt",)),
        FormField("response_format", one_of(*forms), "The form of the answer.", example="json"),
        FormField("temperature", NUMBER, "The temperature of the first try; text that fails its checks gets others."),
        FormField("stream", TRUTH, "Answer with events as the text comes."),
    )


#: The fields of /v1/audio/translations. OpenAI has no `language` there.
TRANSLATION_FIELDS = (*_common((*_JSON[:2], *WRITTEN)), _LANGUAGE, *_OURS)

#: The fields of /v1/audio/transcriptions.
TRANSCRIPTION_FIELDS = (
    *_common((*_JSON, *WRITTEN)),
    _LANGUAGE,
    FormField("languages", TEXT, "Detect one of these languages.", repeated=True, commas=True, example=["en", "fr"]),
    FormField("keywords", TEXT, "Words to expect.", repeated=True, example=["mtasr", "CTranslate2"]),
    FormField("include", one_of("logprobs"), "With json or events: log-probabilities of tokens.", repeated=True),
    FormField(
        "timestamp_granularities",
        one_of("word", "segment"),
        "With verbose_json: what to give times of; segments by default.",
        repeated=True,
        example=["word", "segment"],
    ),
    FormField("chunking_strategy", TEXT, "`auto`, or server_vad as JSON or as the fields below.", example="auto"),
    FormField("chunking_strategy[type]", one_of("server_vad"), "Voice activity detection, which is always used."),
    FormField("chunking_strategy[threshold]", NUMBER, "Audio counts as speech at this probability or above."),
    FormField("chunking_strategy[prefix_padding_ms]", whole(), "Accepted without effect."),
    FormField("chunking_strategy[silence_duration_ms]", whole(), "Accepted without effect."),
    *_OURS,
)

#: What besides these /v1/audio/transcriptions takes.
KNOWN_SPEAKER_FIELDS = (
    FormField("known_speaker_names", TEXT, "Names of people whose voices are known.", repeated=True, example=["Anna"]),
    FormField(
        REFERENCES,
        TEXT,
        "For each of them, a recording of the voice as a data URL: up to four, of 1 to 30 s.",
        repeated=True,
        example=["data:audio/wav;base64,..."],
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request asks for."""

    model: str | None
    options: DecodingOptions
    tracks: Tracks
    #: How speakers are told apart by their voices; None if they are not.
    speakers: SpeakerOptions | None = None
    #: The names of those whose voices come with the request.
    known_names: tuple[str, ...] = ()
    response_format: str
    granularities: tuple[str, ...] = ()
    stream: bool = False
    logprobs: bool = False
    strict: bool = False
    subtitle_style: str = "web"
    highlight_words: bool = False


def read_wanted(fields: Mapping[str, Sequence[str]], task: Task) -> Wanted:
    """What the fields of a form ask for. Raises `Problem` 400 for what is wrong, unknown or contradictory."""
    table = (*TRANSCRIPTION_FIELDS, *KNOWN_SPEAKER_FIELDS) if task == "transcribe" else TRANSLATION_FIELDS
    values = read_form(fields, table)
    form = values.get("response_format", "diarized_json" if values.get("diarize") else "json")
    logprobs, stream = "include" in values, values.get("stream", False)
    speakers, tracks = speakers_of(values, diarize=_diarizes(values, form))
    _check(values, form, stream=stream, speakers=speakers)
    granularities = values.get("timestamp_granularities", ())
    style, highlights = values.get("subtitle_style", "web"), values.get("highlight_words", False)
    subtitled = form in WRITTEN and OUTPUT_FORMATS[WRITTEN[form]].is_subtitle
    # As `mtasr transcribe` has it: word times of a translation are vague.
    laid_out = subtitled and STYLES[style] is not None and task == "transcribe"
    options = decoding_options(
        {name: value for name, value in values.items() if name != "temperature"},
        task=task,
        temperature=_temperatures(values.get("temperature", FALLBACK_TEMPERATURES[0])),
        word_timestamps=laid_out or logprobs or "word" in granularities or (subtitled and highlights),
        **_renamed(values),
    )
    return Wanted(
        model=values.get("model"),
        options=options,
        tracks=tracks,
        speakers=speakers,
        known_names=values.get("known_speaker_names", ()),
        response_format=form,
        granularities=granularities,
        stream=stream,
        logprobs=logprobs,
        strict=values.get("strict", False),
        subtitle_style=style,
        highlight_words=highlights,
    )


def _diarizes(values: Mapping[str, Any], form: str) -> bool:
    """Whether speakers are told apart by their voices. Raises `Problem` 400 for a format that needs it, without it."""
    on_channels = values.get("channels") == "split"
    diarizes: bool = values.get("diarize", form in _DIARIZED and not on_channels)
    if form in _DIARIZED and not diarizes and not on_channels:
        message = f"{form} says who speaks, which needs diarize, or channels=split with a speaker on each channel"
        raise bad_field("response_format", message, "unsupported_value")
    return diarizes


def _check(values: Mapping[str, Any], form: str, *, stream: bool, speakers: SpeakerOptions | None) -> None:
    """Refuse what OpenAI refuses, and what would have no effect."""
    if "timestamp_granularities" in values and form != "verbose_json":
        raise bad_field("timestamp_granularities", "timestamp_granularities needs response_format verbose_json")
    if "include" in values and not stream and form != "json":
        raise bad_field("include", "logprobs needs response_format json, or stream")
    if "known_speaker_names" in values and speakers is None:
        raise bad_field("known_speaker_names", "known_speaker_names needs diarize, or response_format diarized_json")
    if "known_speaker_names" in values and any(values.get("speakers", ())):
        raise bad_field("speakers", "speakers and known_speaker_names both name the speakers: give one of them")


def _temperatures(first: float) -> tuple[float, ...]:
    if not 0 <= first <= 2:
        raise bad_field("temperature", f"temperature must be between 0 and 2, not {first:g}")
    return temperatures(first, FALLBACK_TEMPERATURES[1])


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that are options under another name."""
    given: dict[str, Any] = {}
    if "prompt" in values:
        given["initial_prompt"] = values["prompt"]
    if "keywords" in values:
        if "hotwords" in values:
            raise bad_field("keywords", "keywords and hotwords are the same: give one of them")
        given["hotwords"] = ", ".join(values["keywords"])
    threshold = values.get("chunking_strategy[threshold]", _threshold(values.get("chunking_strategy", "auto")))
    if threshold is not None:
        given["vad_threshold"] = threshold
    return given


def _threshold(strategy: str) -> float | None:
    """The threshold in `chunking_strategy`, if it has one."""
    if strategy == "auto":
        return None
    try:
        document = json.loads(strategy)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("type") != "server_vad":
        raise bad_field("chunking_strategy", "chunking_strategy must be auto, or JSON with the type server_vad")
    threshold = document.get("threshold")
    if threshold is not None and not (isinstance(threshold, int | float) and not isinstance(threshold, bool)):
        raise bad_field("chunking_strategy", "the threshold of chunking_strategy must be a number")
    return threshold
