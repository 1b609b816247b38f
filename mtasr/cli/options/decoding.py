"""What of a recording is decoded, and how: languages, tracks, and the fields of `DecodingOptions`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from mtasr.cli.options.command import Decorator, debug_option, normalise, option, switch, together
from mtasr.cli.options.model import model_options
from mtasr.cli.options.speakers import speaker_options
from mtasr.cli.options.types import Count, Language, NoneOr, Numbers, OneOf, ParamType, Several
from mtasr.errors import UsageError
from mtasr.options import FALLBACK_TEMPERATURES, DecodingOptions, temperatures

_DEFAULTS = DecodingOptions()

_LANGUAGE, _WORDS, _SEARCH = "Language", "Word times", "Search"
_CHECKS, _CONTEXT, _VOICE = "Checks and fallback", "Prompt and tokens", "Input and voice activity"

#: The task of writing both texts.
_BOTH = "transcribe,translate"

#: Short, so that most options stay on one line of help.
_METAVARS = {"integer": "N", "float": "X"}

_TOKEN_IDS = Numbers("ids", int, "numbers such as -1 or 50257,50362")
_SECONDS = Numbers("times", float, "seconds such as 10,25.5,60,90")


def _field(group: str, field: str, kind: ParamType, text: str, **settings: Any) -> Decorator:
    """The option for a field of `DecodingOptions`, with the field's default."""
    settings = {"default": getattr(_DEFAULTS, field), "metavar": _METAVARS.get(kind.name)} | settings
    return option(group, f"--{normalise(field)}", type=kind, help=text, **settings)


def _field_switch(group: str, field: str, text: str) -> Decorator:
    return switch(group, normalise(field), default=getattr(_DEFAULTS, field), help=text)


language_option = option(
    _LANGUAGE,
    "--language",
    type=NoneOr(Language()),
    metavar="LANG",
    help="Spoken language: code or name.  [default: detect it]",
)

languages_option = option(
    _LANGUAGE, "--languages", type=NoneOr(Several(Language())), metavar="LANG,LANG", help="Detect only these languages."
)

task_options = together(
    option(
        _LANGUAGE,
        "--task",
        type=OneOf("transcribe", "translate", _BOTH),
        default=_DEFAULTS.task,
        metavar="TASK",
        help="transcribe, translate (into English) or both: transcribe,translate.",
    ),
    _field_switch(_LANGUAGE, "also_translate", "Write an English translation too."),
)

audio_stream_option = option(
    _VOICE, "--audio-stream", type=Count(), default=0, help="Audio track of the file, counted from 0."
)

_languages = together(languages_option, _field_switch(_LANGUAGE, "multilingual", "Detect the language of each window."))

_words = together(
    _field_switch(_WORDS, "word_timestamps", "Find the times of words.  [default: on if the output needs them]"),
    _field(
        _WORDS, "prepend_punctuations", click.STRING, "Marks that belong to the word after them.", show_default=False
    ),
    _field(
        _WORDS, "append_punctuations", click.STRING, "Marks that belong to the word before them.", show_default=False
    ),
)

# What None means is openai-whisper's: no beam, one sample, plain scores.
_search = together(
    _field(_SEARCH, "beam_size", NoneOr(click.INT, 1), "Width of the beam at temperature 0."),
    _field(
        _SEARCH, "patience", NoneOr(click.FLOAT, 1.0), "Stop once this many texts are finished: X times the beam size."
    ),
    _field(_SEARCH, "length_penalty", NoneOr(click.FLOAT, 1.0), "Divide each score by the length to this power."),
    _field(_SEARCH, "repetition_penalty", click.FLOAT, "If above 1, avoid words already used."),
    _field(_SEARCH, "no_repeat_ngram_size", click.INT, "Never write the same N tokens in a row twice; 0: no limit."),
    _field(_SEARCH, "n_best", click.INT, "Possible texts (readings) to give for each window, in JSON."),
)

_checks = together(
    _field(
        _CHECKS,
        "temperature",
        NoneOr(click.FLOAT, FALLBACK_TEMPERATURES[0]),
        "Temperature of the first try.",
        default=FALLBACK_TEMPERATURES[0],
    ),
    option(
        _CHECKS,
        "--temperature-increment-on-fallback",
        "temperature_increment",
        metavar="X",
        type=NoneOr(click.FLOAT),
        default=FALLBACK_TEMPERATURES[1] - FALLBACK_TEMPERATURES[0],
        help="Added for each retry; None: no retry.",
    ),
    _field(_CHECKS, "best_of", NoneOr(click.INT, 1), "Samples per try above temperature 0."),
    _field(_CHECKS, "seed", click.INT, "Seed of the random samples."),
    _field(_CHECKS, "compression_ratio_threshold", NoneOr(click.FLOAT), "Retry text that compresses better than this."),
    _field(_CHECKS, "logprob_threshold", NoneOr(click.FLOAT), "Retry text with a lower mean log-probability."),
    _field(
        _CHECKS, "no_speech_threshold", NoneOr(click.FLOAT), "Drop improbable text if silence is likelier than this."
    ),
)

_vad_threshold = _field(_VOICE, "vad_threshold", click.FLOAT, "Audio counts as speech at this probability or above.")

_voice = together(
    _field(
        _VOICE,
        "clip_timestamps",
        _SECONDS,
        "Transcribe only these parts, in seconds.",
        metavar="START,END,...",
        configurable=False,
        default="",
        show_default=False,
    ),
    _field_switch(_VOICE, "vad_filter", "Decode speech only."),
    _vad_threshold,
)

_initial_prompt = _field(_CONTEXT, "initial_prompt", NoneOr(click.STRING), "Names, spelling and style to expect.")
_hotwords = _field(_CONTEXT, "hotwords", NoneOr(click.STRING), "Words to expect in every window.")

_tokens = together(
    _field(
        _CONTEXT,
        "suppress_tokens",
        NoneOr(_TOKEN_IDS, ()),
        "Tokens never to write; -1: non-speech symbols.",
        default=",".join(map(str, _DEFAULTS.suppress_tokens)),
    ),
    _field_switch(_CONTEXT, "suppress_blank", "Never begin a window with a blank."),
    _field_switch(_CONTEXT, "without_timestamps", "Decode without timestamps: one segment per window."),
    _field(
        _CONTEXT, "max_initial_timestamp", NoneOr(click.FLOAT, 30.0), "Latest start of text in a window, in seconds."
    ),
)

_context = together(
    _initial_prompt,
    _field(_CONTEXT, "prefix", NoneOr(click.STRING), "First words of the recording.", configurable=False),
    _hotwords,
    _field_switch(_CONTEXT, "condition_on_previous_text", "Give the model the text before each window; slower."),
    _field(
        _CONTEXT,
        "prompt_reset_on_temperature",
        click.FLOAT,
        "Drop the previous text after a window that needed a higher temperature.",
    ),
    _tokens,
)

#: What decides the text.
text_options = together(_languages, _search, _checks, _voice, _context)

#: What every command has that recognises speech and writes when it is said.
recognition_options = together(
    language_option, model_options, _words, text_options, audio_stream_option, speaker_options, debug_option
)

#: What is left of that for speech that is recognised while it is spoken.
live_options = together(
    language_option,
    model_options,
    _words,
    _languages,
    _search,
    _checks,
    _vad_threshold,
    _initial_prompt,
    _hotwords,
    _tokens,
    debug_option,
)


def to_decoding_options(params: Mapping[str, Any]) -> DecodingOptions:
    """The `DecodingOptions` in a command's parameters. Raises `UsageError` for a value out of range."""
    names = {field.name for field in dataclasses.fields(DecodingOptions)}
    given = {name: value for name, value in params.items() if name in names}
    given["temperature"] = temperatures(params["temperature"], params["temperature_increment"])
    if given["task"] == _BOTH:
        given |= {"task": "transcribe", "also_translate": True}
    return DecodingOptions(**given)


def with_word_times(ctx: click.Context, options: DecodingOptions, *, needed: bool) -> DecodingOptions:
    """The options with word times: for speakers, or if the output needs them and the user has not decided.

    Raises `UsageError` if the command line wants speakers without word times.
    """
    source = ctx.get_parameter_source("word_timestamps")
    if wanted := next((name for name in ("turns", "diarize") if ctx.params.get(name)), None):
        if source is ParameterSource.COMMANDLINE and not options.word_timestamps:
            raise UsageError(f"--{wanted} needs the times of words, so it cannot be used with --no-word-timestamps")
        return dataclasses.replace(options, word_timestamps=True)
    undecided = source is ParameterSource.DEFAULT
    return dataclasses.replace(options, word_timestamps=True) if needed and undecided else options
