"""Form fields: how each is written, read and described, in tables that routes and their OpenAPI description share."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mtasr.audio.tracks import Tracks
from mtasr.errors import UsageError
from mtasr.options import DecodingOptions
from mtasr.server.problems import Problem, bad_field, shown
from mtasr.speakers.options import MOST_SPEAKERS, SpeakerOptions, check_tracks, split_off
from mtasr.tokenizer import to_code

_TRUTHS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Kind:
    """How the value of a field is written. `read` raises `ValueError`; `rule` says what it wants."""

    read: Callable[[str], Any]
    rule: str
    schema: Mapping[str, Any]


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise ValueError(text)
    return _TRUTHS[text.lower()]


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


TEXT = Kind(str, "a text", {"type": "string"})
TRUTH = Kind(_truth, "true or false", {"type": "boolean"})
NUMBER = Kind(_number, "a number", {"type": "number"})


def whole(most: int | None = None) -> Kind:
    """A whole number, of at most `most`."""

    def read(text: str) -> int:
        value = int(text)
        if most is not None and value > most:
            raise ValueError(text)
        return value

    limit = {} if most is None else {"maximum": most}
    return Kind(read, "a whole number" + ("" if most is None else f" up to {most}"), {"type": "integer"} | limit)


def one_of(*words: str) -> Kind:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Kind(read, f"one of {', '.join(words)}", {"type": "string", "enum": list(words)})


def listed(kind: Kind) -> Kind:
    """Values between commas, as a tuple."""

    def read(text: str) -> tuple[Any, ...]:
        return tuple(kind.read(part.strip()) for part in text.split(",") if part.strip())

    return Kind(read, f"{kind.rule}, or several between commas", {"type": "string"})


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of a form. A `repeated` one is an array: it may come several times, as `name` or `name[]`.

    One with `commas` may also hold several values between commas.
    """

    name: str
    kind: Kind
    description: str
    repeated: bool = False
    example: Any = None
    commas: bool = False
    #: Its other spellings, which are not described.
    aliases: tuple[str, ...] = field(default=())

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of its values."""
        schema: dict[str, Any] = {"type": "array", "items": self.kind.schema} if self.repeated else {**self.kind.schema}
        schema["description"] = self.description
        if self.example is not None:
            schema["example"] = self.example
        return schema


def read_form(given: Mapping[str, Sequence[str]], table: Iterable[FormField]) -> dict[str, Any]:
    """The values of the fields that were given, by name; an empty value counts as not given.

    Raises `Problem` 400 for a field that the table lacks, for one that is given twice, and for a wrong value.
    """
    known = {name: each for each in table for name in (each.name, *each.aliases)}
    found: dict[str, Any] = {}
    for name, texts in given.items():
        if name not in known:
            raise bad_field(name, f"there is no field {shown(name)} here", "unknown_parameter")
        form_field = known[name]
        given_texts = [text for text in texts if text.strip()]
        if form_field.commas:
            given_texts = [part.strip() for text in given_texts for part in text.split(",")]
        values = [_read(form_field, text) for text in given_texts]
        if not values:
            continue
        if form_field.name in found or (len(values) > 1 and not form_field.repeated):
            raise bad_field(name, f"{form_field.name} is given more than once")
        found[form_field.name] = tuple(values) if form_field.repeated else values[0]
    return found


def _read(form_field: FormField, text: str) -> Any:
    try:
        return form_field.kind.read(text)
    except ValueError:
        message = f"{form_field.name} must be {form_field.kind.rule}, not {shown(text)}"
        raise bad_field(form_field.name, message) from None


# --- the options of decoding ----------------------------------------------------------------------------------------

#: Options that forms have under other names, or that are the route's to decide.
_NOT_IN_FORMS = frozenset({"task", "also_translate", "temperature", "languages", "word_timestamps"})
#: Limits, since each costs memory and time.
_MOST = {"beam_size": 16, "best_of": 16, "n_best": 16}
_MOST_CANDIDATES = 64

_KINDS: dict[Any, Kind] = {
    bool: TRUTH,
    int: whole(),
    float: NUMBER,
    float | None: NUMBER,
    str: TEXT,
    str | None: TEXT,
    tuple[int, ...]: listed(whole()),
    tuple[float, ...]: listed(NUMBER),
}


def _option_field(name: str, annotation: Any) -> FormField:
    kind = whole(_MOST[name]) if name in _MOST else _KINDS[annotation]
    return FormField(name, kind, f"See `--{name.replace('_', '-')}` of `mtasr transcribe`.")


#: One field for each of the options.
OPTION_FIELDS = tuple(
    _option_field(name, annotation)
    for name, annotation in typing.get_type_hints(DecodingOptions).items()
    if name in {each.name for each in dataclasses.fields(DecodingOptions)} and name not in _NOT_IN_FORMS
)


def decoding_options(values: Mapping[str, Any], **more: Any) -> DecodingOptions:
    """The options among the values of a form, and more. Raises `Problem` 400 for a value out of range."""
    names = {each.name for each in dataclasses.fields(DecodingOptions)}
    given = {name: value for name, value in values.items() if name in names} | more
    for name in ("language", "languages"):
        _check_languages(name, given.get(name))
    try:
        options = DecodingOptions(**given)
    except UsageError as error:
        message = str(error)
        param = message.partition(" ")[0]
        raise Problem(400, message, code="invalid_value", param=param if param in names else None) from error
    if options.beam_size * options.patience > _MOST_CANDIDATES:
        raise bad_field("patience", f"beam_size * patience must be at most {_MOST_CANDIDATES}")
    return options


def _check_languages(name: str, value: str | Sequence[str] | None) -> None:
    try:
        for each in [value] if isinstance(value, str) else value or ():
            to_code(each)
    except UsageError as error:
        raise bad_field(name, str(error)) from error


#: Which track is transcribed, and whether its channels are speakers.
TRACK_FIELDS = (
    FormField("audio_stream", whole(), "The audio track of the file, counted from 0."),
    FormField("channels", one_of("mix", "split"), "split: each channel is a speaker."),
    FormField(
        "speakers",
        TEXT,
        "Names of the speakers: channel by channel, or, with diarize, in order of appearance.",
        repeated=True,
        commas=True,
    ),
)

#: Whether speakers are told apart by their voices, and how many there are.
SPEAKER_FIELDS = (
    FormField("diarize", TRUTH, "Tell speakers apart by their voices."),
    FormField("num_speakers", whole(MOST_SPEAKERS), "With diarize: how many people speak; found by default."),
    FormField("min_speakers", whole(MOST_SPEAKERS), "With diarize: at least so many people speak."),
    FormField("max_speakers", whole(MOST_SPEAKERS), "With diarize: at most so many people speak."),
)


def speakers_of(values: Mapping[str, Any], *, diarize: bool) -> tuple[SpeakerOptions | None, Tracks]:
    """How speakers are told apart, None if that is not by their voices, and which tracks the values of a form mean.

    Raises `Problem` 400 for what makes no sense.
    """
    names = {each.name for each in (*TRACK_FIELDS, *SPEAKER_FIELDS)} - {"diarize"}
    try:
        speakers, rest = split_off(diarize, {name: value for name, value in values.items() if name in names})
        tracks = Tracks(**rest)
        check_tracks(speakers, tracks)
    except UsageError as error:
        param = str(error).partition(" ")[0]
        raise Problem(400, str(error), code="invalid_value", param=param if param in names else None) from error
    return speakers, tracks
