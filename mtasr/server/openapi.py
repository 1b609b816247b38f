"""What the OpenAPI description says of forms and answers, from the tables of fields and the shapes of answers.

The examples are made by the code that makes the answers, so they do not go out of date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtasr.server import openai_shapes as shapes
from mtasr.server.forms import FormField
from mtasr.server.problems import Problem, bad_field, busy, no_speaker_models
from mtasr.transcript import Coverage, Segment, Transcript, Word

#: Answers of a route: by status, a description and examples by media type.
Answers = Mapping[int, Mapping[str, Any]]

_WORDS = (
    Word(word=" The", start=0.1, end=0.3, probability=0.98),
    Word(word=" train", start=0.3, end=0.6, probability=0.95),
)

#: What the examples show.
EXAMPLE = Transcript(
    language="en",
    language_probability=0.99,
    duration=2.0,
    segments=(
        Segment(
            id=0,
            start=0.1,
            end=1.6,
            text=" The train leaves at noon.",
            tokens=(50364, 440, 3847, 5510, 412, 24040, 13, 50444),
            avg_logprob=-0.2,
            compression_ratio=0.8,
            no_speech_prob=0.01,
            temperature=0.0,
            words=_WORDS,
            speaker="Anna",
        ),
    ),
    coverage=Coverage(speech=1.5),
)


def answer(description: str, **examples: Any) -> dict[str, Any]:
    """A kind of answer, with examples by media type, in which `_` stands for the slash."""
    content = {kind.replace("_", "/", 1).replace("_", "-"): {"example": shown} for kind, shown in examples.items()}
    return {"description": description, "content": content}


def problem(shown: Problem, description: str) -> dict[str, Any]:
    """The answer to a problem."""
    return answer(description, application_json=shown.body)


#: What every route may answer.
COMMON: Answers = {
    401: problem(Problem(401, "this server needs a key", code="invalid_api_key"), "A key is missing or wrong."),
    403: problem(
        Problem(403, "pages of https://example.org may not use it", code="wrong_origin"), "Not for this page."
    ),
}

#: What routes with a recording may answer.
RECEIVING: Answers = {
    400: problem(bad_field("language", "unknown language 'xx'"), "A field or the recording is wrong."),
    404: problem(
        Problem(404, "there is no model 'big' on this server", code="model_not_found", param="model"),
        "There is no such model.",
    ),
    408: problem(Problem(408, "the request came too slowly", code="request_timeout"), "The request came too slowly."),
    413: problem(Problem(413, "the recording is longer than 14400 s", code="recording_too_long"), "It is too large."),
    415: problem(Problem(415, "send multipart/form-data", code="unsupported_media_type"), "It is no form."),
    429: problem(busy("the server has as many requests as it takes", 2), "No place is free; see Retry-After."),
    501: problem(no_speaker_models(), "Speakers cannot be told apart by their voices here."),
    503: problem(Problem(503, "the server is stopping", code="stopping"), "The server stops; see Retry-After."),
}

_EVENTS = "".join(
    f"data: {each}\n\n"
    for each in (
        '{"type": "transcript.text.delta", "delta": "The train leaves at noon."}',
        '{"type": "transcript.text.done", "text": "The train leaves at noon."}',
    )
)


def _texts(task: str) -> dict[str, Any]:
    shown = answer(
        "The transcript, in the form that response_format asks for.",
        text_plain=EXAMPLE.to_txt(),
        text_vtt=EXAMPLE.to_vtt(),
        text_event_stream=_EVENTS,
    )
    examples = {"json": shapes.to_json(EXAMPLE), "verbose_json": shapes.to_verbose_json(EXAMPLE, task)}
    if task == "transcribe":
        examples["verbose_json with words"] = shapes.to_verbose_json(EXAMPLE, task, ("word",))
        examples["diarized_json"] = shapes.to_diarized_json(EXAMPLE)
    named = {name: {"value": value} for name, value in examples.items()}
    return {**shown, "content": {"application/json": {"examples": named}, **shown["content"]}}


TRANSCRIPTION_ANSWERS: Answers = {200: _texts("transcribe"), **RECEIVING}
TRANSLATION_ANSWERS: Answers = {200: _texts("translate"), **RECEIVING}

_MODEL = {"id": "base", "object": "model", "created": 1700000000, "owned_by": "Systran", "loaded": True}
MODELS_ANSWERS: Answers = {200: answer("The models.", application_json={"object": "list", "data": [_MODEL]})}
MODEL_ANSWERS: Answers = {200: answer("The model.", application_json=_MODEL), 404: RECEIVING[404]}


def route(answers: Answers) -> dict[str, Any]:
    """Arguments for a route that takes no form."""
    return {"responses": {**answers, **COMMON}}


def form_route(
    table: Iterable[FormField], answers: Answers, *, file_fields: Sequence[str] = ("file",)
) -> dict[str, Any]:
    """Arguments for a route that takes a form with these fields and a file."""
    file = {
        "type": "string",
        "format": "binary",
        "description": "The recording: any file with sound that ffmpeg reads.",
    }
    properties = {file_fields[0]: file} | {
        f"{each.name}[]" if each.repeated else each.name: each.schema for each in table
    }
    schema = {"type": "object", "required": [file_fields[0]], "properties": properties}
    body = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    return route(answers) | {"openapi_extra": {"requestBody": body}}


def without_validation(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's description without the answer 422, which this server never gives."""
    for operations in document.get("paths", {}).values():
        for operation in operations.values():
            operation.get("responses", {}).pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(name, None)
    return document
