"""The description of the API: complete, true, and no request that follows it makes the server fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loudness_diarizer import LoudnessDiarizer
from server.running import Running, running
from speech import speak, write_wav

from mtasr.server import Settings, create_app
from mtasr.server.openai_fields import KNOWN_SPEAKER_FIELDS, TRANSCRIPTION_FIELDS
from mtasr.transcribe import Model, load_model

DOCUMENT = create_app().openapi()
OPERATIONS = [
    (path, method, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def test_every_route_is_described() -> None:
    described = {path for path, _, _ in OPERATIONS}
    assert described >= {"/v1/audio/transcriptions", "/v1/audio/translations", "/v1/models", "/health", "/metrics"}
    for path, method, operation in OPERATIONS:
        assert operation["description"], (path, method)
        assert "422" not in operation["responses"], "which this server never answers"


def test_the_form_is_that_of_the_table() -> None:
    body = DOCUMENT["paths"]["/v1/audio/transcriptions"]["post"]["requestBody"]
    schema = body["content"]["multipart/form-data"]["schema"]
    assert schema["required"] == ["file"]
    described = {name.removesuffix("[]") for name in schema["properties"]} - {"file"}
    assert described == {each.name for each in (*TRANSCRIPTION_FIELDS, *KNOWN_SPEAKER_FIELDS)}
    assert schema["properties"]["beam_size"]["maximum"] == 16
    assert schema["properties"]["languages[]"]["type"] == "array"


def test_answers_have_examples() -> None:
    answers = DOCUMENT["paths"]["/v1/audio/transcriptions"]["post"]["responses"]
    assert set(answers) >= {"200", "400", "401", "404", "408", "413", "415", "429", "501", "503"}
    for status, answer in answers.items():
        for kind in answer["content"].values():
            assert {"example", "examples"} & set(kind), status
    examples = answers["200"]["content"]["application/json"]["examples"]
    assert examples["json"]["value"]["text"] == "The train leaves at noon."
    assert answers["429"]["content"]["application/json"]["example"]["error"]["code"] == "too_many_requests"


@pytest.fixture(scope="module")
def open_server() -> Any:
    limits = Settings(recording_seconds=60.0, upload_bytes=1_000_000)
    with pytest.MonkeyPatch.context() as patched, running(limits) as server:
        patched.setattr("mtasr.models.speakers.resolve", lambda *_, **__: Path())
        yield server


@pytest.mark.slow
def test_no_request_makes_the_server_fail(open_server: Running, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    limits = ["--max-examples", "15", "--seed", "1", "--workers", "1", "--request-timeout", "60"]
    description = f"{open_server.url}/openapi.json"
    done = subprocess.run(
        [program, "run", description, "--checks", "not_a_server_error", "--no-color", *limits],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with open_server.client() as client:
        assert client.get("/health").status_code == 200
    assert not open_server.service.admission.taken


_VALUES = st.one_of(
    st.integers(-3, 2**40).map(str),
    st.floats().map(str),
    st.sampled_from(["", "true", "auto", "en", "word", "split", "raw", "base", "1,2,x", "\0", "{}", "🎤" * 300]),
    st.text(max_size=20),
)
_NAMES = sorted({each.name for each in (*TRANSCRIPTION_FIELDS, *KNOWN_SPEAKER_FIELDS)} - {"model"})


@given(fields=st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=4))
def test_no_field_makes_the_server_fail(open_server: Running, clip: Path, fields: dict[str, str]) -> None:
    answer = open_server.post("/v1/audio/transcriptions", clip, **fields)
    assert answer.status_code in (200, 400), (fields, answer.text)


@pytest.fixture(scope="module")
def real_server() -> Any:
    def load(name: str) -> Model:
        loaded = load_model(name)
        return Model(loaded.engine, loaded.fingerprint, diarizer=LoudnessDiarizer)

    with pytest.MonkeyPatch.context() as patched, running(load=load) as server:
        patched.setattr("mtasr.models.speakers.resolve", lambda *_, **__: Path())
        yield server


#: Each has made a real model fail, though no stand-in.
_EXTREMES = [
    {"clip_timestamps": "1e308"},
    {"no_repeat_ngram_size": "99999999999999999999999"},
    {"length_penalty": "1e308"},
    {"length_penalty": "-1e308"},
    {"repetition_penalty": "1e-300"},
    {"suppress_tokens": "99999999999999999999999"},
]


@pytest.mark.slow
@pytest.mark.weights
def test_no_field_makes_a_real_model_fail(real_server: Running, tmp_path: Path) -> None:
    write_wav(tmp_path / "spoken.wav", speak("The train leaves at noon."))
    # One decoding at temperature 0: a try at each temperature costs seconds and meets the same options.
    cheap = {"beam_size": "1", "best_of": "1", "logprob_threshold": "-100", "compression_ratio_threshold": "100"}

    def check(fields: dict[str, str]) -> None:
        answer = real_server.post("/v1/audio/transcriptions", tmp_path / "spoken.wav", **cheap | fields)
        assert answer.status_code in (200, 400), (fields, answer.text)

    for fields in ({}, *_EXTREMES):
        check(fields)
    assert real_server.model.transcribe(tmp_path / "spoken.wav").text, "there is something to decode"
    values = st.dictionaries(st.sampled_from(_NAMES), _VALUES, min_size=1, max_size=2)
    settings(max_examples=12, deadline=None)(given(fields=values)(check))()


def test_the_examples_of_words_are_of_its_text() -> None:
    examples = DOCUMENT["paths"]["/v1/audio/transcriptions"]["post"]["responses"]["200"]["content"]
    verbose = examples["application/json"]["examples"]["verbose_json with words"]["value"]
    assert re.match(" ".join(each["word"] for each in verbose["words"]), verbose["text"])
