"""whisper.cpp's `/inference`, as its documentation uses it: with curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from server.running import Running

from mtasr.transcript import Transcript

Expected = Callable[..., Transcript]

CURL = shutil.which("curl")
pytestmark = pytest.mark.skipif(CURL is None, reason="needs curl")


def curl(server: Running, clip: Path, **fields: object) -> bytes:
    """What curl prints for a request as in the server's README."""
    form = [argument for name, value in fields.items() for argument in ("-F", f"{name}={value}")]
    command = ["curl", "-sS", "--fail-with-body", f"{server.url}/inference"]
    command += ["-H", "Content-Type: multipart/form-data", "-F", f"file=@{clip}", *form]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode in (0, 22), done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {}),
        ({"temperature": "0.0", "temperature_inc": "0.2", "carry_initial_prompt": "true"}, {}),
        ({"temperature_inc": "0"}, {"temperature": (0.0,)}),
        ({"language": "auto", "prompt": "boats", "tinydiarize": "false", "max_len": 60}, {"initial_prompt": "boats"}),
        ({"language": "de", "translate": "yes", "best_of": 2}, {"language": "de", "task": "translate", "best_of": 2}),
        ({"offset_t": 1500, "beam_size": -1}, {"clip_timestamps": (1.5,)}),
        ({"offset_t": 0, "duration": 1500, "beam_size": 2}, {"clip_timestamps": (0.0, 1.5), "beam_size": 2}),
        ({"vad": "false", "no_timestamps": "true"}, {"vad_filter": False, "without_timestamps": True}),
        ({"logprob_thold": -2, "no_speech_thold": 0.5}, {"logprob_threshold": -2.0, "no_speech_threshold": 0.5}),
    ],
)
def test_fields_are_options(
    server: Running, clip: Path, expected: Expected, fields: dict[str, Any], options: dict[str, Any]
) -> None:
    text = expected(**options).to_txt()
    assert json.loads(curl(server, clip, response_format="json", **fields)) == {"text": text}
    assert text


@pytest.mark.parametrize(("form", "written"), [("text", "txt"), ("srt", "srt"), ("vtt", "vtt")])
def test_texts_are_those_of_the_command_line(
    server: Running, clip: Path, expected: Expected, form: str, written: str
) -> None:
    transcript = expected(word_timestamps=form != "text")
    assert curl(server, clip, response_format=form).decode() == transcript.to_format(written) != ""


def test_verbose_json(server: Running, clip: Path, expected: Expected) -> None:
    answer = json.loads(curl(server, clip, response_format="verbose_json"))
    transcript = expected(word_timestamps=True)
    assert (answer["task"], answer["duration"], answer["text"]) == ("transcribe", 3.0, transcript.to_txt())
    assert answer["language"] == answer["detected_language"] in ("english", "french")
    assert answer["language_probabilities"] == {transcript.language: 0.95}
    assert [each["id"] for each in answer["segments"]] == [each.id for each in transcript] != []
    for segment, ours in zip(answer["segments"], transcript, strict=True):
        assert (segment["start"], segment["end"], segment["text"]) == (ours.start, ours.end, ours.text)
        assert [word["word"] for word in segment["words"]] == [word.word for word in ours.words or ()] != []
        assert set(segment["words"][0]) == {"word", "start", "end", "t_dtw", "probability"}


def test_verbose_json_without_times(server: Running, clip: Path) -> None:
    answer = json.loads(
        curl(server, clip, response_format="verbose_json", no_timestamps="true", no_language_probabilities="true")
    )
    assert {*answer["segments"][0]} == {"id", "text", "tokens", "temperature", "avg_logprob", "no_speech_prob"}
    assert "detected_language" not in answer


def test_detection_alone(server: Running, clip: Path, expected: Expected) -> None:
    answer = json.loads(curl(server, clip, detect_language="true"))
    assert answer["text"] == ""
    assert answer["language"] == {"en": "english", "fr": "french"}[expected().language]
    assert answer["language_probabilities"] == {expected().language: 0.95, **answer["language_probabilities"]}
    assert curl(server, clip, detect_language="true", response_format="text") == b""


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"temperature_inc": 0.09}, "temperature_inc"),
        ({"response_format": "docx"}, "response_format"),
        ({"offset_t": -5}, "clip_timestamps"),
        ({"beam_size": 1000}, "beam_size"),
    ],
)
def test_what_is_wrong_is_refused(server: Running, clip: Path, fields: dict[str, Any], param: str) -> None:
    answer = json.loads(curl(server, clip, **fields))
    assert answer["error"]["param"] == param
