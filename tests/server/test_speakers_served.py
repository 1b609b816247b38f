"""Speakers told apart by their voices, as clients ask for them: OpenAI's own, jobs, and whisper-asr-webservice's."""

from __future__ import annotations

import base64
import json
import threading
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from fakes import HearingEngine, LoudIsSpeech
from openai.types.audio import TranscriptionDiarized, TranscriptionTextDoneEvent, TranscriptionTextSegmentEvent
from server.running import Running, running

from mtasr.errors import ModelNotFoundError
from mtasr.server import Settings
from mtasr.server.transcribing import require_speaker_models
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.options import SpeakerOptions
from mtasr.speakers.voices import Heard
from mtasr.transcribe import Model
from mtasr.transcript import Turn

PATH = "/v1/audio/transcriptions"


@dataclass(eq=False)
class Halves:
    """A diarizer to which one speaker talks until half of a recording, and then another; short ones have only one.

    The first has a low voice and the second a high one.
    """

    asked: list[SpeakerOptions] = field(default_factory=list)
    #: Set unless the speakers shall not be known yet.
    may_know: threading.Event = field(default_factory=threading.Event)

    def listen(self) -> Hearing:
        return Hearing(self)


class Hearing:
    def __init__(self, diarizer: Halves) -> None:
        self._diarizer, self._samples = diarizer, np.zeros(0, np.float32)

    @property
    def position(self) -> float:
        return len(self._samples) / SAMPLE_RATE

    def add(self, samples: np.ndarray) -> None:
        self._samples = np.concatenate([self._samples, samples])

    def turns(self, options: SpeakerOptions) -> tuple[Turn, ...]:
        assert self._diarizer.may_know.wait(60)
        self._diarizer.asked.append(options)
        if not self._samples.any():
            return ()
        end = len(self._samples) / SAMPLE_RATE
        if end < 2.9:
            return (Turn(start=0.0, end=end, speaker=options.name(0)),)
        return (
            Turn(start=0.0, end=end / 2, speaker=options.name(0)),
            Turn(start=end / 2, end=end, speaker=options.name(1), confidence=0.4),
        )

    def heard(self, options: SpeakerOptions) -> Heard:
        turns, rises = self.turns(options), np.diff(np.signbit(self._samples)).mean()
        vectors = np.eye(2, dtype=np.float32)
        places = range(2) if len(turns) == 2 else [int(rises > 0.1)] * len(turns)
        return Heard(
            turns=turns, voices={each.speaker: vectors[place] for each, place in zip(turns, places, strict=True)}
        )


DIARIZER = Halves()
DIARIZER.may_know.set()


def model(name: str) -> Model:
    return Model(HearingEngine(), detector=LoudIsSpeech, diarizer=lambda: DIARIZER)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patched, running(Settings(reference_bytes=1 << 20), model) as started:
        patched.setattr("mtasr.models.speakers.resolve", lambda *_, **__: Path())
        yield started


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def tone(folder: Path, seconds: float, pitch: float = 0.2) -> bytes:
    """A recording of a voice, as a file; a high one has a pitch of 1 radian per sample."""
    with wave.open(str(folder / "voice.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((8000 * np.sin(np.arange(round(seconds * 8000)) * pitch)).astype("<i2").tobytes())
    return (folder / "voice.wav").read_bytes()


def data_url(content: bytes, kind: str = "audio/wav") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_diarized_json_tells_voices_apart(client: openai.OpenAI, clip: Path) -> None:
    found = client.audio.transcriptions.create(
        file=clip, model="gpt-4o-transcribe-diarize", response_format="diarized_json", chunking_strategy="auto"
    )
    assert isinstance(found, TranscriptionDiarized)
    assert [each.speaker for each in found.segments] == ["Speaker 1", "Speaker 2"]
    assert found.text == "\n".join(f"{each.speaker}: {each.text}" for each in found.segments)
    with client.audio.transcriptions.create(
        file=clip, model="gpt-4o-transcribe-diarize", response_format="diarized_json", stream=True
    ) as stream:
        events = list(stream)
    segments = [each for each in events if isinstance(each, TranscriptionTextSegmentEvent)]
    assert [(each.speaker, each.text) for each in segments] == [(each.speaker, each.text) for each in found.segments]
    assert isinstance(events[-1], TranscriptionTextDoneEvent)


def test_known_speakers(client: openai.OpenAI, server: Running, clip: Path, tmp_path: Path) -> None:
    low, high = data_url(tone(tmp_path, 2)), data_url(tone(tmp_path, 2.5, pitch=1.0), "audio/wav;codecs=1")
    for references, expected in ([low, high], ["Dr. Grey", "Åsa"]), ([high, low], ["Åsa", "Dr. Grey"]):
        found = client.audio.transcriptions.create(
            file=clip,
            model="gpt-4o-transcribe-diarize",
            response_format="diarized_json",
            known_speaker_names=["Dr. Grey", "Åsa"],
            known_speaker_references=references,
        )
        assert [each.speaker for each in found.segments] == expected  # type: ignore[union-attr]
    assert list(server.service.incoming.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "references", "status", "code"),
    [
        (["Anna"], [], 400, "invalid_value"),
        ([], ["GOOD"], 400, "invalid_value"),
        (["../Anna"], ["GOOD"], 400, "invalid_value"),
        (["Anna", "anna"], ["GOOD", "GOOD"], 400, "invalid_value"),
        (["Zo\u00e9", "Zoe\u0301"], ["GOOD", "GOOD"], 400, "invalid_value"),
        (["A", "B", "C", "D", "E"], ["GOOD"] * 5, 400, "invalid_value"),
        (["Anna"], ["voice.wav"], 400, "invalid_value"),
        (["Anna"], ["data:audio/wav;base64,UklGR*"], 400, "invalid_value"),
        (["Anna"], ["data:audio/wav;base64,"], 400, "invalid_audio"),
        (["Anna"], [data_url(b"#EXTM3U\nfile:///etc/passwd\n")], 400, "invalid_audio"),
        (["Anna"], ["SHORT"], 400, "invalid_audio"),
        (["Anna"], ["LONG"], 400, "invalid_audio"),
        (["Anna"], ["TWO PEOPLE"], 400, "invalid_audio"),
        (["Anna"], ["SILENCE"], 400, "invalid_audio"),
        (["Anna"], ["LARGE"], 413, "request_too_large"),
    ],
    ids=str,
)
def test_known_speakers_that_cannot_be_used(
    server: Running, clip: Path, tmp_path: Path, names: list[str], references: list[str], status: int, code: str
) -> None:
    made = {"GOOD": 2.0, "SHORT": 0.5, "TWO PEOPLE": 4.0, "LONG": 31.0, "LARGE": 60.0, "SILENCE": 2.0}
    sent = [
        data_url(tone(tmp_path, made[each], pitch=0.0 if each == "SILENCE" else 0.2)) if each in made else each
        for each in references
    ]
    fields = {"known_speaker_names[]": names, "known_speaker_references[]": sent, "response_format": "diarized_json"}
    answer = server.post(PATH, clip, **fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    params = (
        ("known_speaker_references",)
        if code == "invalid_audio"
        else (None, "known_speaker_names", "known_speaker_references")
    )
    assert answer.json()["error"]["param"] in params
    assert "incoming" not in answer.text
    assert list(server.service.incoming.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_speakers": 2}, "num_speakers needs diarize"),
        ({"diarize": "true", "num_speakers": 2, "max_speakers": 3}, "num_speakers says how many there are"),
        ({"diarize": "true", "num_speakers": 0}, "num_speakers must be a whole number from 1"),
        ({"diarize": "true", "channels": "split"}, "channels split"),
        ({"diarize": "false", "response_format": "diarized_json"}, "diarized_json says who speaks"),
        ({"known_speaker_names": "Anna"}, "known_speaker_names needs diarize"),
        (
            {"diarize": "true", "known_speaker_names": "Anna", "speakers": "Ben"},
            "speakers and known_speaker_names both",
        ),
        ({"diarize": "true", "speakers": "Anna,Anna"}, "two speakers are called 'Anna'"),
    ],
    ids=str,
)
def test_what_makes_no_sense(server: Running, clip: Path, fields: dict[str, Any], message: str) -> None:
    answer = server.post(PATH, clip, **fields)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    if message.startswith("num_speakers"):
        assert answer.json()["error"]["param"] == "num_speakers"


def test_an_answer_with_speakers_unless_another_is_asked_for(server: Running, clip: Path) -> None:
    assert [each["speaker"] for each in server.post(PATH, clip, diarize="true").json()["segments"]] == [
        "Speaker 1",
        "Speaker 2",
    ]
    assert "segments" not in server.post(PATH, clip, diarize="true", response_format="json").json()


def test_options_and_words(server: Running, clip: Path) -> None:
    fields = {"diarize": "true", "min_speakers": 2, "max_speakers": 3, "speakers": "Anna, Ben"}
    answer = server.post(
        PATH, clip, **fields, response_format="verbose_json", **{"timestamp_granularities[]": ["word", "segment"]}
    ).json()
    assert DIARIZER.asked[-1] == SpeakerOptions(min_speakers=2, max_speakers=3, speakers=("Anna", "Ben"))
    assert [each["speaker"] for each in answer["segments"]] == ["Anna", "Ben"]
    assert [each["speaker_confidence"] for each in answer["segments"]] == [1.0, 0.4]
    assert [each["speaker"] for each in answer["words"]] == [
        "Anna" if each["start"] < 1.5 else "Ben" for each in answer["words"]
    ]
    assert [(each["start"], each["end"], each["speaker"]) for each in answer["turns"]] == [
        (0.0, 1.5, "Anna"),
        (1.5, 3.0, "Ben"),
    ]
    assert "Ben: " in server.post(PATH, clip, **fields, response_format="srt").text


def test_rttm(server: Running, clip: Path) -> None:
    answer = server.post(PATH, clip, response_format="rttm")
    assert answer.text == (
        "SPEAKER clip 1 0.000 1.500 <NA> <NA> Speaker_1 1.000 <NA>\n"
        "SPEAKER clip 1 1.500 1.500 <NA> <NA> Speaker_2 0.400 <NA>\n"
    )


def test_a_stream_begins_before_the_speakers_are_known(
    server: Running, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtasr.server.openai_api._FIRST_EVENT", 0.05)
    DIARIZER.may_know.clear()
    try:
        fields = {"response_format": "diarized_json", "stream": "true"}
        with (
            server.client() as http,
            http.stream("POST", PATH, files={"file": clip.read_bytes()}, data=fields) as answer,
        ):
            assert answer.status_code == 200  # the head of the answer has come
            DIARIZER.may_know.set()
            heard = [json.loads(line[6:])["type"] for line in answer.iter_lines() if line.startswith("data: ")]
    finally:
        DIARIZER.may_know.set()
    assert heard == ["transcript.text.delta", "transcript.text.segment"] * 2 + ["transcript.text.done"]


def test_jobs_tell_voices_apart(server: Running, clip: Path) -> None:
    job = server.post("/v1/jobs", clip, diarize="true", num_speakers=2, speakers="Anna,Ben").json()["id"]
    with server.client() as http:
        until = time.monotonic() + 60
        while http.get(f"/v1/jobs/{job}").json()["status"] not in ("done", "failed"):
            assert time.monotonic() < until
            time.sleep(0.02)
        found = http.get(f"/v1/jobs/{job}/result?format=json").json()
        events = http.get(f"/v1/jobs/{job}/events").text
    assert DIARIZER.asked[-1] == SpeakerOptions(num_speakers=2, speakers=("Anna", "Ben"))
    assert [each["speaker"] for each in found["segments"]] == ["Anna", "Ben"]
    heard = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: ")]
    assert [each["speaker"] for each in heard if "text" in each] == ["Anna", "Ben"]


def test_asr_webservice(server: Running, clip: Path) -> None:
    with server.client() as http:
        files = {"audio_file": clip.read_bytes()}
        found = http.post("/asr?output=json&diarize=true&min_speakers=2&max_speakers=2", files=files).json()
        refused = http.post("/asr?min_speakers=2", files=files)
    assert [each["speaker"] for each in found["segments"]] == ["Speaker 1", "Speaker 2"]
    assert DIARIZER.asked[-1] == SpeakerOptions(min_speakers=2, max_speakers=2)
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "min_speakers needs diarize")


def test_without_speaker_models(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(name: str | None = None, *, local_only: bool = False) -> Path:
        assert local_only, "nothing is downloaded"
        raise ModelNotFoundError("speakers is not on this machine")

    monkeypatch.setattr("mtasr.models.speakers.resolve", resolve)
    with running(load=model) as server:
        for path, fields in [
            (PATH, {"diarize": "true"}),
            (PATH, {"stream": "true", "response_format": "diarized_json"}),
            ("/v1/jobs", {"diarize": "true"}),
        ]:
            answer = server.post(path, clip, **fields)
            assert (answer.status_code, answer.json()["error"]["code"]) == (501, "no_speaker_models")
            assert "mtasr models pull speakers" in answer.json()["error"]["message"]
            assert answer.headers["x-should-retry"] == "false"
        assert server.post(PATH, clip).status_code == 200
    require_speaker_models(Settings(downloads=True))
