"""The fields of `/v1/live`, in its address or in the message `start`, and the shapes of its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtasr.errors import UsageError
from mtasr.live import Event, LivePolicy
from mtasr.live.documents import event_document
from mtasr.server.forms import (
    NUMBER,
    OPTION_FIELDS,
    SPEAKER_FIELDS,
    TEXT,
    TRUTH,
    FormField,
    decoding_options,
    one_of,
    read_form,
    speakers_of,
    whole,
)
from mtasr.server.live.host import LiveWanted
from mtasr.server.live.sound import ENCODINGS, RATES, LiveSound
from mtasr.server.problems import bad_field

_FIELDS = (
    *OPTION_FIELDS,
    FormField("model", TEXT, "The model; OpenAI's names mean the default."),
    FormField("languages", TEXT, "Detect one of these languages.", repeated=True, commas=True),
    FormField("task", one_of("transcribe", "translate"), "translate: into English."),
    FormField("word_timestamps", TRUTH, "Give final texts word timestamps."),
    *SPEAKER_FIELDS,
    FormField("speakers", TEXT, "With diarize: names, in order of appearance.", repeated=True, commas=True),
    FormField("sample_rate", whole(), "Samples of a second, 16000 by default."),
    FormField("format", one_of(*ENCODINGS), "How samples are written, pcm_s16le by default."),
    FormField("pause", NUMBER, "Seconds of silence that end a stretch."),
    FormField("exact", TRUTH, "Whether the transcript at the end is that of a file, which takes more time."),
)


def texts_of(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """The fields of a message, as they would be in an address. Raises `Problem` 400."""
    found = {}
    for name, value in document.items():
        values = value if isinstance(value, list) else [value]
        if name == "type" or value is None:
            continue
        if not all(isinstance(each, str | int | float) for each in values):
            raise bad_field(name, f"{name} must be a text, a number, true or false")
        found[name] = [str(each).lower() if isinstance(each, bool) else str(each) for each in values]
    return found


def caption_wanted(fields: Mapping[str, Sequence[str]]) -> LiveWanted:
    """The live session that the fields ask for. Raises `Problem` 400."""
    values = read_form(fields, _FIELDS)
    rate = values.get("sample_rate", LiveSound().rate)
    if rate not in RATES:
        raise bad_field("sample_rate", f"sample_rate must be one of {', '.join(map(str, RATES))}, not {rate}")
    try:
        policy = LivePolicy(exact=values.get("exact", True), pause=values.get("pause", LivePolicy().pause))
    except UsageError as error:
        raise bad_field("pause", str(error)) from error
    speakers, _ = speakers_of(values, diarize=values.get("diarize", False))
    return LiveWanted(
        model=values.get("model"),
        options=decoding_options(values),
        policy=policy,
        sound=LiveSound(encoding=values.get("format", "pcm_s16le"), rate=rate),
        speakers=speakers,
    )


def caption_event(event: Event) -> dict[str, Any]:
    """An event of a live session as clients get it: as `mtasr live --events` writes it, but with `type`."""
    document = event_document(event)
    return {"type": document.pop("event"), **document}
