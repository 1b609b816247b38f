"""whisper-asr-webservice's routes, as its documentation and Bazarr use them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from server.running import Running, running

from mtasr import __version__
from mtasr.server import Settings
from mtasr.server.protocols.pcm import SampleFormat
from mtasr.tokenizer.languages import LANGUAGES
from mtasr.transcript import Transcript

Expected = Callable[..., Transcript]


class Bazarr:
    """Sends what Bazarr's provider `whisperai` sends: samples that its own ffmpeg made, and its parameters."""

    def __init__(self, endpoint: str, *, pass_video_name: bool = False) -> None:
        self._endpoint = endpoint
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "Subliminal/2.2"
        # It passes a set of one, which requests leaves out if that one is None.
        self._name = {"/films/A film (2020).mkv" if pass_video_name else None}

    def _post(self, path: str, samples: bytes, **params: Any) -> requests.Response:
        return self._session.post(
            f"{self._endpoint}/{path}",
            params={**params, "encode": "false", "video_file": self._name},
            files={"audio_file": samples},
            timeout=(5, 3600),
        )

    def detect_language(self, samples: bytes) -> tuple[str, str]:
        found = self._post("detect-language", samples).json()
        return found["language_code"], found["detected_language"]

    def download(self, samples: bytes, task: str, language: str) -> bytes:
        return self._post("asr", samples, task=task, language=language, output="srt").content

    def close(self) -> None:
        self._session.close()


@pytest.mark.parametrize("pass_video_name", [False, True])
@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_bazarr_gets_the_subtitles_of_the_command_line(
    server: Running, samples: bytes, expected: Expected, task: str, pass_video_name: bool
) -> None:
    bazarr = Bazarr(server.url, pass_video_name=pass_video_name)
    content = bazarr.download(samples, task, "fr")
    transcript = expected(language="fr", task=task, word_timestamps=task == "transcribe")
    assert content.decode() == transcript.to_srt() != ""
    bazarr.close()


def test_bazarr_detects_the_language(server: Running, samples: bytes, clip: Path) -> None:
    bazarr = Bazarr(server.url)
    model = server.model
    code = model.detect_language(clip)[0].code
    assert bazarr.detect_language(samples) == (code, LANGUAGES[code])
    bazarr.close()


def test_bazarr_shows_the_version_when_the_connection_is_tested(server: Running) -> None:
    answer = requests.get(f"{server.url}/status", {}, allow_redirects=False, timeout=5)
    assert (answer.status_code, answer.json()["version"]) == (200, f"mtasr {__version__}")


def test_bazarr_can_show_a_key_in_the_address(samples: bytes) -> None:
    key = "a-key-for-the-tests"
    with running(Settings(keys=(("bazarr", key),))) as server:
        open_to_all = Bazarr(server.url)
        assert b"invalid_api_key" in open_to_all.download(samples, "transcribe", "fr")
        with_key = Bazarr(server.url.replace("://", f"://bazarr:{key}@"))
        assert b" --> " in with_key.download(samples, "transcribe", "fr")
        assert requests.get(f"{server.url}/status", timeout=5).ok
        open_to_all.close()
        with_key.close()


@pytest.mark.parametrize(
    ("query", "form", "options"),
    [
        ("", "txt", {}),
        ("?output=txt", "txt", {}),
        ("?output=text", "txt", {}),
        ("?output=vtt", "vtt", {"word_timestamps": True}),
        ("?output=srt&initial_prompt=boats", "srt", {"word_timestamps": True, "initial_prompt": "boats"}),
        ("?output=tsv&language=german", "tsv", {"language": "de"}),
        ("?output=json&vad_filter=false", "json", {"vad_filter": False}),
        ("?output=json&word_timestamps=true&diarize=false&min_speakers=2", "json", {"word_timestamps": True}),
    ],
)
def test_outputs_are_those_of_the_command_line(
    server: Running, clip: Path, expected: Expected, query: str, form: str, options: dict[str, Any]
) -> None:
    with server.client() as client:
        answer = client.post(f"/asr{query}", files={"audio_file": ("a talk.wav", clip.read_bytes())})
    assert answer.status_code == 200
    assert answer.text == expected(**options).to_format(form) != ""
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="a%20talk.wav.{form}"'


def test_detection_says_how_sure_it_is(server: Running, clip: Path) -> None:
    with server.client() as client:
        answer = client.post("/detect-language", files={"audio_file": ("talk.wav", clip.read_bytes())}).json()
    assert set(answer) == {"detected_language", "language_code", "confidence"}
    assert answer["detected_language"] == LANGUAGES[answer["language_code"]]
    assert answer["confidence"] == 0.95


@pytest.mark.parametrize("cut", [1, 30_001])
def test_half_a_sample_at_the_end_is_left_out(
    server: Running, samples: bytes, tmp_path: Path, expected: Expected, cut: int
) -> None:
    whole = samples[: -cut // 2 * 2]
    recording = tmp_path / "cut.wav"
    recording.write_bytes(SampleFormat().header(len(whole)) + whole)
    with server.client() as client:
        answer = client.post("/asr?encode=false&output=json", files={"audio_file": samples[:-cut]})
    assert answer.text == expected(recording).to_json()


@pytest.mark.parametrize(
    ("path", "field", "status", "param"),
    [
        ("/asr?output=docx", "audio_file", 400, "output"),
        ("/asr?task=summarise", "audio_file", 400, "task"),
        ("/asr?encode=perhaps", "audio_file", 400, "encode"),
        ("/asr?language=klingon", "audio_file", 400, "language"),
        ("/asr", "file", 400, "file"),
        ("/detect-language", "recording", 400, "recording"),
    ],
)
def test_what_is_wrong_is_refused(server: Running, clip: Path, path: str, field: str, status: int, param: str) -> None:
    with server.client() as client:
        answer = client.post(path, files={field: clip.read_bytes()})
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param
    assert [*server.service.incoming.iterdir()] == []


def test_a_file_without_sound_has_no_language(server: Running) -> None:
    with server.client() as client:
        answer = client.post("/detect-language", files={"audio_file": b"this is no recording"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_audio")
