"""What a client asks a job for, as a value, as form fields, and as the store keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mtasr.audio.tracks import Tracks
from mtasr.errors import InputError, MtasrError, UsageError
from mtasr.options import DecodingOptions
from mtasr.server.forms import FormField, one_of, read_form
from mtasr.server.openai_fields import TRANSCRIPTION_FIELDS, WRITTEN, read_wanted
from mtasr.server.problems import problem_of
from mtasr.speakers.options import SpeakerOptions
from mtasr.subtitles import STYLES

_BOTH = "transcribe,translate"
_TASK = FormField("task", one_of("transcribe", "translate", _BOTH), "What to make of the speech.", example="transcribe")

#: The fields of /v1/jobs: those of a transcription, and the task. Events and results have routes of their own.
JOB_FIELDS = (_TASK, *(each for each in TRANSCRIPTION_FIELDS if each.name != "stream"))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What a client asks a job for."""

    #: The name of the model.
    model: str
    options: DecodingOptions
    tracks: Tracks
    #: How speakers are told apart by their voices; None if they are not.
    speakers: SpeakerOptions | None = None
    #: The format of a result that is fetched without naming one.
    output_format: str = "json"
    #: Whether the job fails if speech has no text, or text no speech.
    strict: bool = False
    subtitle_style: str = "web"
    highlight_words: bool = False

    def document(self) -> dict[str, Any]:
        """For the store: what differs from the defaults."""
        plain = {name: value for name, value in asdict(self).items() if name not in ("options", "tracks", "speakers")}
        speakers = None if self.speakers is None else _changes(self.speakers)
        return plain | {"options": _changes(self.options), "tracks": _changes(self.tracks), "speakers": speakers}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> JobRequest:
        """The request in such a document.

        Raises `InputError` for one that is damaged, or has options that this version lacks.
        """
        try:
            options, tracks = DecodingOptions(**document["options"]), Tracks(**document["tracks"])
            given = document.get("speakers")
            speakers = None if given is None else SpeakerOptions(**given)
            return cls(**{**document, "options": options, "tracks": tracks, "speakers": speakers})
        except (KeyError, TypeError, MtasrError) as error:
            raise InputError(f"the server cannot use its note of what was asked for: {error}") from error


def _changes(values: DecodingOptions | Tracks | SpeakerOptions) -> dict[str, Any]:
    defaults = asdict(type(values)())
    return {name: value for name, value in asdict(values).items() if value != defaults[name]}


def read_request(fields: Mapping[str, Sequence[str]], model: str) -> JobRequest:
    """What the fields of a form ask for; `model` is the name of the model that they mean. Raises `Problem` 400."""
    values = read_form(fields, JOB_FIELDS)
    task = values.get("task", "transcribe")
    wanted = read_wanted(
        {name: texts for name, texts in fields.items() if name != _TASK.name},
        "translate" if task == "translate" else "transcribe",
    )
    # As `mtasr transcribe --output-format all` has it: the word times of a translation are vague.
    laid_out = STYLES[wanted.subtitle_style] is not None and wanted.options.task == "transcribe"
    timed = wanted.options.word_timestamps or wanted.highlight_words or laid_out
    try:
        options = replace(wanted.options, word_timestamps=timed, also_translate=task == _BOTH)
    except UsageError as error:
        raise problem_of(error) from error
    return JobRequest(
        model=model,
        options=options,
        tracks=wanted.tracks,
        speakers=wanted.speakers,
        output_format=WRITTEN.get(wanted.response_format, "json"),
        strict=wanted.strict,
        subtitle_style=wanted.subtitle_style,
        highlight_words=wanted.highlight_words,
    )
