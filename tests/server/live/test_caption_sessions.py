"""`/v1/live`: sound in, events out, and nothing lost with a connection."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from server.live.fake_session import EndlessSession, FakeSession
from server.live.talking import ITEMS, append, closed, next_of, noise, pieces, say, socket
from server.running import Running, running
from waiting import wait_until
from websockets.sync.client import ClientConnection

from mtasr.errors import ModelError
from mtasr.live import Event, Final, SpeakersChanged
from mtasr.server import Settings
from mtasr.server.problems import no_speaker_models
from mtasr.speakers.options import SpeakerOptions

PATH = "/v1/live"
KEY = "0123456789abcdef"


def send(connection: ClientConnection, sound: bytes, size: int = 3200) -> None:
    for piece in pieces(sound, size):
        connection.send(piece)


def rest(connection: ClientConnection) -> list[dict[str, Any]]:
    """All events to the end of the session."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in ("end", "error"):
        events.append(json.loads(connection.recv(20)))
    return events


def text_of(events: list[dict[str, Any]]) -> str:
    """What a client knows that keeps final texts."""
    return "".join(each["text"] for each in events if each["type"] == "final").strip()


@contextlib.contextmanager
def faked(server: Running, kind: type[FakeSession]) -> Iterator[list[FakeSession]]:
    """Live sessions of another kind, and those that are made."""
    made: list[FakeSession] = []

    def make(*parts: Any, **more: Any) -> FakeSession:
        made.append(kind(*parts, **more))
        return made[-1]

    server.service.live.make_session = make  # type: ignore[assignment]
    try:
        yield made
    finally:
        server.service.live.make_session = FakeSession  # type: ignore[assignment]


def test_sound_becomes_events(server: Running) -> None:
    with socket(server, PATH) as talk:
        say(talk, "start", language="en", sample_rate=24_000)
        ready = next_of(talk, "ready")
        assert (ready["received"], ready["sample_rate"], ready["format"]) == (0, 24_000, "pcm_s16le")
        send(talk, noise(24_000))
        say(talk, "end")
        events = rest(talk)
        assert closed(talk) == 1000
    numbers = [each["event"] for each in events if "event" in each]
    assert numbers == sorted(set(numbers))
    finals = [each for each in events if each["type"] == "final"]
    assert tuple(each["text"].strip() for each in finals) == ITEMS
    assert [(each["segments"][0]["start"], each["segments"][0]["end"]) for each in finals] == [(0.5, 2.2), (3.5, 5.1)]
    acks = [each["received"] for each in events if each["type"] == "ack"]
    assert len(acks) == 6
    assert acks == sorted(acks)
    end = events[-1]
    assert end["received"] == 24_000 * 6
    assert (end["transcript"]["text"], end["transcript"]["duration"]) == (" ".join(ITEMS), 6.0)


def test_options_in_the_address(server: Running) -> None:
    with faked(server, FakeSession) as made:
        with socket(server, f"{PATH}?language=de&format=pcm_f32le&sample_rate=48000&pause=0.8&exact=false") as talk:
            assert next_of(talk, "ready")["sample_rate"] == 48_000
            sound = np.frombuffer(noise(48_000), "<i2").astype("<f4") / 32768
            send(talk, sound.tobytes(), 40_000)
            say(talk, "end")
            assert text_of(rest(talk)) == " ".join(ITEMS)
        with socket(server, PATH) as talk:
            say(talk, "start", beam_size=2, languages=["en", "fr"], word_timestamps=True, task="translate")
            next_of(talk, "ready")
    first, second = made
    assert (first.options.language, first.policy.pause, first.policy.exact) == ("de", 0.8, False)
    assert (second.options.beam_size, second.options.languages) == (2, ("en", "fr"))
    assert (second.options.word_timestamps, second.options.task, second.policy.exact) == (True, "translate", True)


def test_a_client_may_begin_with_samples(server: Running) -> None:
    with socket(server, PATH) as talk:
        send(talk, noise(16_000))
        say(talk, "end")
        assert text_of(rest(talk)) == " ".join(ITEMS)


def test_a_cut_ends_a_stretch(server: Running) -> None:
    with socket(server, PATH) as talk:
        send(talk, noise(16_000, ((0.2, 2.0),), 2.0))
        say(talk, "ping")
        say(talk, "cut")
        assert next_of(talk, "final")["text"] == " 1 2 3"


def test_what_is_discarded_is_gone_at_once(server: Running) -> None:
    live = server.service.admission.live
    others = live.total()
    with socket(server, PATH) as talk:
        send(talk, noise(16_000, ((0.2, 2.0),), 2.0))
        say(talk, "discard")
        assert next_of(talk, "error")["error"]["code"] == "session_discarded"
        assert closed(talk) == 1000
        wait_until(lambda: live.total() <= others)


class Attributing(FakeSession):
    """Ann says everything, and then it was Ben."""

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        finals = []
        for event in super().events(timeout):
            if isinstance(event, Final):
                ann = tuple(replace(each, speaker="Ann") for each in event.segments)
                finals.append(event := replace(event, segments=ann))
            yield event
        for each in finals:
            ben = tuple(replace(segment, speaker="Ben") for segment in each.segments)
            yield SpeakersChanged(stretch=each.stretch, segments=ben)


def test_speakers_are_told_apart_and_corrected(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.server.live.host.require_speaker_models", lambda settings: None)
    with faked(server, Attributing) as made, socket(server, PATH) as talk:
        say(talk, "start", diarize=True, max_speakers=3, speakers=["Ann", "Ben"])
        next_of(talk, "ready")
        send(talk, noise(16_000))
        say(talk, "end")
        events = rest(talk)
    assert made[0].diarize == SpeakerOptions(max_speakers=3, speakers=("Ann", "Ben"))
    segments = [
        (each["type"], each["stretch"], each["segments"][0]["speaker"]) for each in events if "segments" in each
    ]
    assert segments == [
        ("final", 0, "Ann"), ("final", 1, "Ann"), ("speakers_changed", 0, "Ben"), ("speakers_changed", 1, "Ben"),
    ]  # fmt: skip


def test_a_server_without_the_models_of_speakers_says_so(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(settings: Settings) -> None:
        raise no_speaker_models()

    monkeypatch.setattr("mtasr.server.live.host.require_speaker_models", lack)
    with socket(server, PATH) as talk:
        say(talk, "start", diarize=True)
        assert "models pull speakers" in next_of(talk, "error")["error"]["message"]
        assert closed(talk) == 1011


@pytest.mark.parametrize("lost_at", [7, 40, 52])
def test_a_client_that_vanishes_and_comes_back_loses_no_text(server: Running, lost_at: int) -> None:
    sound, size = noise(16_000), 3200
    kept: dict[int, dict[str, Any]] = {}
    with socket(server, PATH) as talk:
        say(talk, "start")
        name = next_of(talk, "ready")["session"]
        send(talk, sound[: lost_at * size])
        kept |= _read_some(talk, 3)
        talk.socket.close()  # without a word
    for _ in range(2):
        with socket(server, PATH) as talk:
            say(talk, "resume", session=name, event=max(kept, default=0))
            received = next_of(talk, "ready")["received"]
            assert received <= lost_at * size // 2
            kept |= _read_some(talk, 1)
            talk.socket.close()
    with socket(server, f"{PATH}?session={name}&event={max(kept, default=0)}") as talk:
        received = next_of(talk, "ready")["received"]
        send(talk, sound[received * 2 :])
        say(talk, "end")
        events = rest(talk)
    end = events[-1]
    kept |= {each["event"]: each for each in events if "event" in each}
    assert end["received"] == 16_000 * 6, "no sample was lost, and none came twice"
    assert end["transcript"]["text"] == text_of([*kept.values()]) == " ".join(ITEMS)


def _read_some(talk: ClientConnection, count: int) -> dict[int, dict[str, Any]]:
    """Some events, or what there is."""
    found = {}
    with contextlib.suppress(TimeoutError):
        while len(found) < count:
            event = json.loads(talk.recv(0.1))
            if "event" in event:
                found[event["event"]] = event
    return found


def test_a_client_that_vanished_before_the_end_gets_it(server: Running) -> None:
    live = server.service.admission.live
    others = live.total()
    with socket(server, PATH) as talk:
        say(talk, "start")
        name = next_of(talk, "ready")["session"]
        send(talk, noise(16_000))
        say(talk, "end")
        end = rest(talk)[-1]
    wait_until(lambda: live.total() <= others)
    with socket(server, f"{PATH}?session={name}&event=0") as talk:
        assert next_of(talk, "ready")["received"] == 96_000
        events = rest(talk)
    assert text_of(events) == " ".join(ITEMS)
    assert events[-1] == end


def test_another_connection_takes_a_session_over(server: Running) -> None:
    class Gated(FakeSession):
        gate = threading.Event()

    with faked(server, Gated), socket(server, PATH) as first:
        say(first, "start")
        name = next_of(first, "ready")["session"]
        first.send(noise(16_000)[:64_000])
        first.send(b"\0\0" * 160)  # which is not taken yet
        with socket(server, PATH) as second:
            say(second, "resume", session=name)
            assert next_of(first, "error")["error"]["code"] == "session_taken"
            Gated.gate.set()
            received = next_of(second, "ready")["received"]
            assert received == 32_000, "what was being taken counts, what was not does not"
            send(second, noise(16_000)[64_000:])
            say(second, "end")
            assert text_of(rest(second)) == " ".join(ITEMS)


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ('{"type": "start", "language": "klingon"}', "invalid_value"),
        ('{"type": "start", "sample_rate": 12345}', "invalid_value"),
        ('{"type": "start", "format": "mp3"}', "invalid_value"),
        ('{"type": "start", "model": "huge"}', "model_not_found"),
        ('{"type": "start", "volume": 11}', "unknown_parameter"),
        ('{"type": "start", "language": {}}', "invalid_value"),
        ('{"type": "start", "pause": 99}', "invalid_value"),
        ('{"type": "start", "num_speakers": 2}', "invalid_value"),
        ('{"type": "start", "speakers": ["Ann"]}', "invalid_value"),
        ('{"type": "resume", "session": "live_nobody"}', "session_not_found"),
        ('{"type": "resume", "session": "live_nobody", "event": -1}', "invalid_value"),
        ('{"type": "end"}', "invalid_value"),
        ("{", "invalid_json"),
        ('{"type": "start", "pause": NaN}', "invalid_json"),
        ('{"type": "start", "pause": 1e999}', "invalid_json"),
        ('{"type": "start", "hotwords": "\\ud800"}', "invalid_json"),
    ],
)
def test_a_wrong_beginning(server: Running, first: str, code: str) -> None:
    with socket(server, PATH) as talk:
        talk.send(first)
        error = next_of(talk, "error")["error"]
        assert error["code"] == code
        assert closed(talk) == 1008
        assert talk.close_reason
        assert error["message"].startswith(talk.close_reason)


def test_garbage_is_answered_and_costs_nobody_anything(server: Running) -> None:
    with socket(server, PATH) as talk, socket(server, PATH) as other:
        for each in (talk, other):
            say(each, "start")
            next_of(each, "ready")
        for wrong, code in [
            (b"\0", "invalid_audio"), ("{", "invalid_json"), ("[]", "invalid_message"),
            ('{"type": "end", "why": NaN}', "invalid_json"), ('{"type": "\\uDFFF"}', "invalid_json"),
            ('{"type": "sing"}', "invalid_value"), ('{"type": "start"}', "invalid_value"),
        ]:  # fmt: skip
            talk.send(wrong)
            assert next_of(talk, "error")["error"]["code"] == code
        for each in (talk, other):
            send(each, noise(16_000))
            say(each, "end")
            assert text_of(rest(each)) == " ".join(ITEMS)


def test_what_could_not_be_had_is_told_at_the_end(server: Running) -> None:
    class Warned(FakeSession):
        warnings = ("only 1 of 2 speakers could be told apart",)

    for kind in (Warned, FakeSession):
        with faked(server, kind), socket(server, PATH) as talk:
            say(talk, "start")
            send(talk, noise(16_000))
            say(talk, "end")
            assert rest(talk)[-1].get("warnings", []) == list(kind.warnings)


def test_a_session_that_fails_says_so(server: Running) -> None:
    class Failing(FakeSession):
        failure = ModelError("the weights are gone")

    with faked(server, Failing), socket(server, PATH) as talk:
        say(talk, "start")
        send(talk, noise(16_000)[:3200])
        error = next_of(talk, "error")["error"]
        assert error["code"] == "model_error"
        assert "weights" not in error["message"], "the log has the reason"


def test_sessions_that_are_left_do_not_stay() -> None:
    with running(Settings(resume_seconds=0.3, client_live_sessions=1)) as server:
        server.service.live.make_session = FakeSession  # type: ignore[assignment]
        with socket(server, PATH) as talk:
            say(talk, "start")
            ready = next_of(talk, "ready")
            assert ready["resume_seconds"] == 0.3
            with socket(server, PATH) as other:
                say(other, "start")
                assert next_of(other, "error")["error"]["code"] == "too_many_requests"
            with server.client() as client:
                assert client.get("/health").json()["live_sessions"] == 1
                assert "mtasr_live_sessions 1.0" in client.get("/metrics").text
        wait_until(lambda: not server.service.admission.live)
        assert not server.service.captions._sessions
        with socket(server, f"{PATH}?session={ready['session']}") as talk:
            assert next_of(talk, "error")["error"]["code"] == "session_not_found"


def test_keys() -> None:
    with running(Settings(keys=(("anna", KEY), ("ben", KEY[::-1])))) as server:
        server.service.live.make_session = FakeSession  # type: ignore[assignment]
        with socket(server, PATH, additional_headers={"authorization": f"Bearer {KEY}"}) as talk:
            say(talk, "start")
            name = next_of(talk, "ready")["session"]
        with socket(server, PATH, subprotocols=["mtasr", f"openai-insecure-api-key.{KEY[::-1]}"]) as talk:
            assert talk.subprotocol == "mtasr"
            say(talk, "resume", session=name)
            assert next_of(talk, "error")["error"]["code"] == "session_not_found", "it is Anna's"


def test_pages_of_other_sites_may_not_listen(server: Running) -> None:
    with (
        pytest.raises(Exception, match="403"),
        socket(server, PATH, additional_headers={"origin": "https://example.org"}),
    ):
        pass
    with socket(server, PATH, additional_headers={"origin": server.url}) as talk:
        say(talk, "start")
        next_of(talk, "ready")


def test_a_late_session_does_not_hold_up_others(server: Running) -> None:
    class Gated(FakeSession):
        gate = threading.Event()

    with contextlib.ExitStack() as held:
        with faked(server, Gated):
            for _ in range(3):
                late = held.enter_context(socket(server, PATH))
                say(late, "start")
                next_of(late, "ready")
                send(late, noise(16_000))
        with socket(server, PATH) as talk:
            send(talk, noise(16_000))
            say(talk, "end")
            assert text_of(rest(talk)) == " ".join(ITEMS)
        assert httpx.get(f"{server.url}/health", timeout=20).json()["live_sessions"] >= 3
        Gated.gate.set()


def test_the_server_tells_what_it_has_heard_before_it_stops() -> None:
    with contextlib.ExitStack() as held:
        with running() as server:
            server.service.live.make_session = FakeSession  # type: ignore[assignment]
            talk = held.enter_context(socket(server, PATH))
            send(talk, noise(16_000, ((0.2, 2.0),), 2.0))
            next_of(talk, "speech_started")
        assert rest(talk)[-1]["transcript"]["text"] == "1 2 3"
        assert closed(talk) == 1001


def test_a_server_that_stops_says_what_it_finishes_and_does_not_wait_for_who_has_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running(Settings(stop_seconds=600)) as server, caplog.at_level(logging.INFO, "mtasr"):
        server.service.live.make_session = EndlessSession  # type: ignore[assignment]
        with socket(server, PATH) as talk, socket(server, "/v1/realtime") as other:
            send(talk, noise(16_000, ((0.2, 2.0),), 2.0))
            append(other, noise(24_000, ((0.2, 2.0),), 2.0))
            next_of(talk, "speech_started")
            next_of(other, "input_audio_buffer.speech_started")
            server.stop()
            wait_until(lambda: "stopping: a second signal drops what is under way" in caplog.messages)
            for each in (talk, other):
                each.socket.close()
    (said,) = (record for record in caplog.records if record.message.startswith("stopping"))
    assert (said.live_sessions, said.requests) == (2, 0)  # type: ignore[attr-defined]
