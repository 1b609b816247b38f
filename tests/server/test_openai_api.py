"""OpenAI's API."""

from __future__ import annotations

from pathlib import Path

import pytest
from server.running import Running, running

from mtasr.server import Settings
from mtasr.transcript import Transcript


def expected(server: Running, clip: Path, **options: object) -> Transcript:
    """What the model itself makes of a recording."""
    return server.model.transcribe(clip, **options)


def test_json_is_the_default(server: Running, clip: Path) -> None:
    answer = server.post("/v1/audio/transcriptions", clip, model="whisper-1")
    assert answer.status_code == 200
    assert answer.json()["text"] == expected(server, clip).text != ""
    assert answer.json()["usage"] == {"type": "duration", "seconds": 3.0}


@pytest.mark.parametrize(("form", "written"), [("text", "txt"), ("srt", "srt"), ("vtt", "vtt")])
def test_texts_are_those_of_the_command_line(server: Running, clip: Path, form: str, written: str) -> None:
    answer = server.post("/v1/audio/transcriptions", clip, response_format=form)
    transcript = expected(server, clip, word_timestamps=form != "text")
    assert answer.text == transcript.to_format(written) != ""


def test_verbose_json(server: Running, clip: Path) -> None:
    answer = server.post("/v1/audio/transcriptions", clip, response_format="verbose_json").json()
    transcript = expected(server, clip)
    assert answer["text"] == transcript.text
    assert answer["duration"] == 3.0
    assert [each["text"] for each in answer["segments"]] == [each.text for each in transcript]
    assert "words" not in answer


def test_errors_are_in_the_envelope(server: Running, clip: Path) -> None:
    answer = server.post("/v1/audio/transcriptions", clip, colour="red")
    assert answer.status_code == 400
    assert answer.json() == {
        "error": {
            "message": "there is no field 'colour' here",
            "type": "invalid_request_error",
            "param": "colour",
            "code": "unknown_parameter",
        }
    }


def test_a_model_that_cannot_translate_says_so(clip: Path) -> None:
    with running(Settings(models=("turbo",))) as server:
        answer = server.post("/v1/audio/translations", clip, model="large-v3-turbo")
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "model")
    assert error["message"] == "large-v3-turbo was not trained to translate; use the model medium or the model large-v3"
