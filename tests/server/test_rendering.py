"""/v1/render, over a real socket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server.running import Running, running
from server.test_cancelling import wait_until

from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.server import Settings
from mtasr.subtitles import STYLES, lay_out

#: Names that transcripts have.
WORDS = ["segments", "start", "end", "text", "words", "word", "coverage", "repairs", "kind", "seconds", "speech"]


def test_transcripts_are_written_in_every_format(server: Running, clip: Path) -> None:
    model = server.model
    transcript = model.transcribe(clip, word_timestamps=True)
    with server.client() as client:
        for name in OUTPUT_FORMATS:
            answer = client.post("/v1/render", params={"format": name}, json=transcript.to_dict())
            assert answer.status_code == 200
            if name not in ("json", "ttml"):  # which hold what JSON does not
                assert answer.text == transcript.to_format(name)
        assert (
            client.post("/v1/render", params={"format": "text"}, json=transcript.to_dict()).text == transcript.to_txt()
        )
        edited = transcript.to_dict()
        edited["segments"][0] |= {"text": " Corrected \ud800.", "words": None, "speaker": "Anna"}
        answer = client.post("/v1/render", params={"format": "txt"}, content=json.dumps(edited).encode(),
                             headers={"content-type": "application/json"})  # fmt: skip
        assert answer.text.startswith("Anna: Corrected \\ud800.\n")
        style = {"format": "srt", "subtitle_style": "social", "highlight_words": "true"}
        answer = client.post("/v1/render", params=style, json=transcript.to_dict())
        assert answer.text == transcript.to_srt(subtitle_style="social", highlight_words=True)
        answer = client.post("/v1/render", params={"format": "json", "cues": "true"}, json=transcript.to_dict())
        layout = STYLES["web"]
        assert layout is not None
        assert answer.text == lay_out(transcript, layout).transcript.to_json()


@pytest.mark.parametrize(
    ("params", "content", "expected"),
    [
        ({}, b"{}", (400, "invalid_value", "format")),
        ({"format": "docx"}, b"{}", (400, "invalid_value", "format")),
        ({"format": "srt", "subtitle_style": "grand"}, b"{}", (400, "invalid_value", "subtitle_style")),
        ({"format": "srt"}, b"", (400, "invalid_transcript", None)),
        ({"format": "srt"}, b"[" * 100_000, (400, "invalid_transcript", None)),
        ({"format": "srt"}, b"[]", (400, "invalid_transcript", None)),
        ({"format": "srt"}, b'{"segments": [{"start": -1, "end": 2, "text": "a"}]}', (400, "invalid_transcript", None)),
        ({"format": "srt"}, b" " * 5001, (413, "request_too_large", None)),
    ],
    ids=["no format", "format", "style", "nothing", "nested", "list", "time", "large"],
)
def test_what_cannot_be_written_is_refused(
    params: dict[str, str], content: bytes, expected: tuple[int, str, str | None]
) -> None:
    most = 5000 if len(content) < 10_000 else 1 << 20
    with running(Settings(transcript_bytes=most)) as server, server.client() as client:
        answer = client.post("/v1/render", params=params, content=content,
                             headers={"content-type": "application/json"})  # fmt: skip
        said = answer.json()["error"]
        assert (answer.status_code, said["code"], said["param"]) == expected
        assert client.post("/v1/render", params={"format": "srt"}, content=b"{}").status_code == 415


def test_it_takes_a_place() -> None:
    with running(Settings(client_requests=1)) as server, server.client() as client:
        params, headers = {"format": "txt"}, {"content-type": "application/json"}
        server.service.admission.taken["127.0.0.1"] += 1
        answer = client.post("/v1/render", params=params, content=b"{}", headers=headers)
        assert answer.status_code == 429
        assert answer.headers["retry-after"]
        del server.service.admission.taken["127.0.0.1"]
        server.call(server.service.stop())
        wait_until(server.service.stopping.is_set)
        answer = client.post("/v1/render", params=params, content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=4),
    max_leaves=8,
)
_TIMES = st.floats() | st.floats(0, 100) | st.integers() | st.text(max_size=3)
_WORD = st.fixed_dictionaries(
    {"word": st.text(max_size=9), "start": _TIMES, "end": _TIMES}, optional={"probability": _JSON}
)
_SEGMENT = st.fixed_dictionaries(
    {"start": _TIMES, "end": _TIMES, "text": st.text(max_size=40)},
    optional={"words": st.lists(_WORD, max_size=3) | _JSON, "speaker": st.text(max_size=3) | _JSON, "id": _JSON},
)
_DOCUMENT = st.fixed_dictionaries(
    {"segments": st.lists(_SEGMENT, max_size=4)}, optional={"duration": _TIMES, "language": _JSON}
)


@given(document=_DOCUMENT | _JSON, form=st.sampled_from([*OUTPUT_FORMATS]), highlight=st.booleans())
def test_whatever_is_sent_to_be_written_the_server_goes_on(
    server: Running, document: object, form: str, highlight: bool
) -> None:
    params = {"format": form, "highlight_words": str(highlight).lower()}
    headers = {"content-type": "application/json"}
    with server.client() as client:
        answer = client.post("/v1/render", params=params, content=json.dumps(document).encode(), headers=headers)
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert answer.json()["error"]["code"] == "invalid_transcript"
