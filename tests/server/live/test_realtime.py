"""OpenAI's realtime transcription, with its own client and with sockets that talk nonsense."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.realtime import (
    ConversationItemInputAudioTranscriptionCompletedEvent,
    InputAudioBufferCommittedEvent,
    InputAudioBufferSpeechStartedEvent,
    RealtimeErrorEvent,
)
from server.live.fake_session import FakeSession
from server.live.talking import ITEMS, append, closed, next_of, noise, pieces, say, socket
from server.running import Running, running
from waiting import wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from mtasr.errors import ModelError
from mtasr.server import Settings

#: OpenAI's client uses the package websockets in a way that this one warns of, and warns of its own beta.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PATH = "/v1/realtime?intent=transcription"
KEY = "0123456789abcdef"
COMPLETED = "conversation.item.input_audio_transcription.completed"


def session(turn_detection: Any = "unset", **transcription: Any) -> dict[str, Any]:
    sound: dict[str, Any] = {
        "format": {"type": "audio/pcm", "rate": 24_000},
        "transcription": {"model": "gpt-4o-transcribe", "language": "en", **transcription},
    }
    if turn_detection != "unset":
        sound["turn_detection"] = turn_detection
    return {"type": "transcription", "audio": {"input": sound}}


@pytest.fixture
def talk(server: Running) -> Iterator[ClientConnection]:
    with socket(server, PATH) as connection:
        assert next_of(connection, "session.created")["session"]["type"] == "transcription"
        yield connection


# --- OpenAI's client -------------------------------------------------------------------------------------------------


def test_turns_become_items(server: Running) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        connection.session.update(session=session())  # type: ignore[arg-type]
        for piece in pieces(noise(24_000)):
            connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        events: list[Any] = []
        while sum(each.type == COMPLETED for each in events) < 2:
            events.append(connection.recv())
    assert [each.type for each in events[:2]] == ["session.created", "session.updated"]
    started = [each for each in events if isinstance(each, InputAudioBufferSpeechStartedEvent)]
    committed = [each for each in events if isinstance(each, InputAudioBufferCommittedEvent)]
    done = [each for each in events if isinstance(each, ConversationItemInputAudioTranscriptionCompletedEvent)]
    ids = [each.item_id for each in started]
    assert ids == [each.item_id for each in committed] == [each.item_id for each in done]
    assert [each.previous_item_id for each in committed] == [None, ids[0]]
    # The padding of 300 ms belongs to an item.
    assert [each.audio_start_ms for each in started] == [200, 3200]
    assert [each.audio_end_ms for each in events if each.type == "input_audio_buffer.speech_stopped"] == [2200, 5100]
    assert tuple(each.transcript for each in done) == ITEMS
    assert [each.usage.seconds for each in done if each.usage.type == "duration"] == [2.0, 1.9]
    for item, text in zip(ids, ITEMS, strict=True):
        assert "".join(each.delta for each in events if each.type.endswith("delta") and each.item_id == item) == text


def test_the_beta(server: Running) -> None:
    with (
        openai.OpenAI(websocket_base_url=f"{server.url.replace('http', 'ws')}/v1", api_key="none") as client,
        client.beta.realtime.connect(model="whisper-1", extra_query={"intent": "transcription"}) as connection,
    ):
        update = {
            "input_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1", "language": "en", "prompt": "Numbers."},
            "turn_detection": {"type": "server_vad", "threshold": 0.4, "silence_duration_ms": 300},
        }
        connection.transcription_session.update(session=update)  # type: ignore[arg-type]
        for piece in pieces(noise(24_000)):
            connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        events: list[Any] = []
        while sum(each.type == COMPLETED for each in events) < 2:
            events.append(connection.recv())
    assert [each.type for each in events[:2]] == ["transcription_session.created", "transcription_session.updated"]
    assert events[1].session.input_audio_format == "pcm16"
    assert events[1].session.turn_detection.silence_duration_ms == 300
    assert tuple(each.transcript for each in events if each.type == COMPLETED) == ITEMS


def test_a_client_may_say_where_items_end(server: Running) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        connection.session.update(session=session(turn_detection=None))  # type: ignore[arg-type]
        texts = []
        for _ in range(2):
            for piece in pieces(noise(24_000)):
                connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
            connection.input_audio_buffer.commit()
            while (event := connection.recv()).type != COMPLETED:
                assert event.type != "input_audio_buffer.speech_started"
            texts.append(event.transcript)
        connection.input_audio_buffer.commit()
        wrong = connection.recv()
    assert texts == [" ".join(ITEMS)] * 2
    assert isinstance(wrong, RealtimeErrorEvent)
    assert wrong.error.code == "input_audio_buffer_commit_empty"


def test_keys(server: Running) -> None:
    with running(Settings(keys=(("anna", KEY),))) as guarded:
        with (
            openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=KEY) as client,
            client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
        ):
            assert connection.recv().type == "session.created"
        # A browser cannot send a header, but name a subprotocol.
        with socket(guarded, PATH, subprotocols=["realtime", f"openai-insecure-api-key.{KEY}"]) as connection:
            assert connection.subprotocol == "realtime"
            next_of(connection, "session.created")
        for wrong in ({}, {"subprotocols": ["realtime", "openai-insecure-api-key.wrong"]}):
            with pytest.raises(InvalidStatus) as caught, socket(guarded, PATH, **wrong):  # type: ignore[arg-type]
                pass
            assert caught.value.response.status_code == 401
            assert json.loads(caught.value.response.body or b"")["error"]["code"] == "invalid_api_key"


# --- what else a client may do ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "old"), [("audio/pcmu", "g711_ulaw"), ("audio/pcma", "g711_alaw")])
def test_telephone_sound(talk: ClientConnection, form: str, old: str) -> None:
    # The quietest byte, and a loud hum whatever the law.
    quiet = 0xFF if old == "g711_ulaw" else 0xD5
    sound = bytes([quiet]) * 4000 + bytes([*[0x90] * 8, *[0x10] * 8]) * 1000 + bytes([quiet]) * 8000
    say(talk, "session.update", session={"type": "transcription", "audio": {"input": {"format": {"type": form}}}})
    assert next_of(talk, "session.updated")["session"]["audio"]["input"]["format"] == {"type": form}
    append(talk, sound)
    assert next_of(talk, "input_audio_buffer.speech_started")["audio_start_ms"] == 200
    assert next_of(talk, "input_audio_buffer.speech_stopped")["audio_end_ms"] == pytest.approx(2500, abs=50)
    assert next_of(talk, COMPLETED)["transcript"] == "2 3 4 5"


def test_a_commit_ends_a_turn(talk: ClientConnection) -> None:
    append(talk, noise(24_000, ((0.2, 2.0),), 2.0))
    say(talk, "input_audio_buffer.commit")
    first = next_of(talk, COMPLETED)
    assert first["transcript"] == "1 2 3"
    append(talk, noise(24_000, ((0.5, 1.6),), 2.5))
    # The times of a session go on.
    assert next_of(talk, "input_audio_buffer.speech_started")["audio_start_ms"] == 2200
    assert next_of(talk, "input_audio_buffer.committed")["previous_item_id"] == first["item_id"]
    assert next_of(talk, COMPLETED)["transcript"] == "2 3"
    append(talk, bytes(48_000))
    say(talk, "input_audio_buffer.commit")
    assert next_of(talk, COMPLETED)["transcript"] == "", "what was committed has no speech"


@pytest.mark.parametrize("turn_detection", [None, {"type": "server_vad"}])
def test_what_is_cleared_is_not_transcribed(talk: ClientConnection, turn_detection: Any) -> None:
    say(talk, "session.update", session=session(turn_detection))
    append(talk, noise(24_000, ((0.2, 2.0),), 2.0))
    say(talk, "input_audio_buffer.clear")
    next_of(talk, "input_audio_buffer.cleared")
    append(talk, noise(24_000, ((0.5, 1.6),), 1.6))
    say(talk, "input_audio_buffer.commit")
    assert next_of(talk, COMPLETED)["transcript"] == "2 3"


def test_settings_are_mapped(server: Running) -> None:
    made: list[FakeSession] = []

    def make(*parts: Any, **more: Any) -> FakeSession:
        made.append(FakeSession(*parts, **more))
        return made[-1]

    server.service.live.make_session = make  # type: ignore[assignment]
    try:
        with socket(server, PATH) as talk:
            turns = {"type": "server_vad", "threshold": 0.7, "prefix_padding_ms": 100, "silence_duration_ms": 900}
            asked = session(turns, keywords=["Ada", "river"], prompt="Names.", language="de")
            say(talk, "session.update", session=asked)
            shown = next_of(talk, "session.updated")["session"]["audio"]["input"]
            assert shown["turn_detection"] == turns
            assert shown["transcription"] == asked["audio"]["input"]["transcription"]
            append(talk, noise(24_000))
            # Other settings begin another session, and those that are not named stay.
            eager = {"type": "semantic_vad", "eagerness": "low"}
            say(
                talk, "session.update", session={"type": "transcription", "audio": {"input": {"turn_detection": eager}}}
            )
            append(talk, noise(24_000))
            say(talk, "input_audio_buffer.commit")
            texts = [next_of(talk, COMPLETED)["transcript"] for _ in range(3)]
            assert texts == [*ITEMS, " ".join(ITEMS)], "the longer pause joins what the shorter one divides"
    finally:
        server.service.live.make_session = FakeSession  # type: ignore[assignment]
    first, second = made
    assert (first.options.language, first.options.hotwords) == ("de", "Ada, river")
    assert (first.options.initial_prompt, first.options.vad_threshold) == ("Names.", 0.7)
    assert (first.policy.pause, second.policy.pause) == (0.9, 1.5)
    assert second.options.language == "de"


# --- what is wrong ---------------------------------------------------------------------------------------------------

WRONG: list[tuple[str | bytes, str]] = [
    ("{", "invalid_json"),
    ("[" * 100_000, "invalid_json"),
    ("[]", "invalid_message"),
    ('{"type": 5}', "invalid_message"),
    (b"\x00\x01", "invalid_message"),
    ('{"type": "session.update", "session": NaN}', "invalid_json"),
    ('{"type": "transcription_session.update", "session": {"turn_detection": {"threshold": 1e999}}}', "invalid_json"),
    (
        '{"type": "transcription_session.update", "session": {"input_audio_transcription": {"prompt": "\\ud800"}}}',
        "invalid_json",
    ),
    (json.dumps({"type": "input_audio_buffer.append", "audio": "A" * (1 << 18) + "\udc00"}), "invalid_json"),
    (
        '{"type": "transcription_session.update", "session": {"input_audio_noise_reduction": {"type": "loud"}}}',
        "invalid_value",
    ),
    ('{"type": "response.create"}', "invalid_value"),
    ('{"type": "input_audio_buffer.append"}', "invalid_value"),
    ('{"type": "input_audio_buffer.append", "audio": 5}', "invalid_value"),
    ('{"type": "input_audio_buffer.append", "audio": "no base64"}', "invalid_audio"),
    ('{"type": "input_audio_buffer.append", "audio": "AAAA"}', "invalid_audio"),
    ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty"),
    ('{"type": "session.update"}', "invalid_value"),
    ('{"type": "session.update", "session": {"type": "realtime"}}', "invalid_value"),
    ('{"type": "session.update", "session": {"type": "transcription", "voice": "alloy"}}', "unknown_parameter"),
    ('{"type": "session.update", "session": {"type": "transcription", "audio": [1]}}', "invalid_value"),
    ('{"type": "transcription_session.update", "session": {"input_audio_format": "mp3"}}', "invalid_value"),
    ('{"type": "transcription_session.update", "session": {"turn_detection": {"type": "ears"}}}', "invalid_value"),
    (
        '{"type": "transcription_session.update", "session": {"turn_detection": {"silence_duration_ms": 1}}}',
        "invalid_value",
    ),
    (
        '{"type": "transcription_session.update", "session": {"input_audio_transcription": {"language": "klingon"}}}',
        "invalid_value",
    ),
    (
        '{"type": "transcription_session.update", "session": {"input_audio_transcription": {"model": "huge"}}}',
        "model_not_found",
    ),
    (json.dumps({"type": "input_audio_buffer.append", "audio": "A" * (20 * (1 << 20) + 4)}), "message_too_large"),
]


def test_garbage_is_answered_and_costs_nobody_anything(server: Running, talk: ClientConnection) -> None:
    with socket(server, PATH) as other:
        for message, code in WRONG:
            append(other, bytes(9600))
            talk.send(message)
            error = next_of(talk, "error")
            assert error["error"]["code"] == code, message[:100]
            assert error["event_id"]
        say(talk, "input_audio_buffer.append", event_id="mine", audio="AAAA")
        assert next_of(talk, "error")["error"]["event_id"] == "mine"
        # Both go on.
        for connection in (talk, other):
            append(connection, noise(24_000))
            for _ in ITEMS:
                assert next_of(connection, COMPLETED)["transcript"]


def test_nobody_may_be_wrong_for_ever(talk: ClientConnection) -> None:
    for _ in range(101):
        talk.send("{")
    codes = [next_of(talk, "error")["error"]["code"] for _ in range(101)]
    assert codes == ["invalid_json"] * 100 + ["too_many_errors"]
    assert closed(talk) == 1008


def test_a_message_that_is_far_too_large_ends_its_connection_alone(server: Running, talk: ClientConnection) -> None:
    with socket(server, PATH) as other:
        with contextlib.suppress(ConnectionClosed):
            other.send("x" * (22 << 20))
        assert closed(other) in (1009, None)
    append(talk, noise(24_000))
    assert next_of(talk, COMPLETED)["transcript"] == ITEMS[0]


def test_only_transcription(server: Running) -> None:
    with socket(server, "/v1/realtime?intent=conversation") as talk:
        assert next_of(talk, "error")["error"]["param"] == "intent"


def test_a_session_that_fails_says_so(server: Running) -> None:
    class Failing(FakeSession):
        failure = ModelError("the weights are gone")

    server.service.live.make_session = Failing  # type: ignore[assignment]
    try:
        with socket(server, PATH) as talk:
            say(talk, "session.update", session=session(turn_detection=None))
            append(talk, noise(24_000)[:9600])
            kind = "conversation.item.input_audio_transcription.failed"
            assert next_of(talk, kind, "error")["error"]["code"] == "model_error"
    finally:
        server.service.live.make_session = FakeSession  # type: ignore[assignment]
    wait_until(lambda: not server.service.admission.live)


# --- limits ----------------------------------------------------------------------------------------------------------


def test_limits() -> None:
    settings = Settings(client_live_sessions=1, live_sessions=2, live_seconds=2.0, live_pause=0.4)
    with running(settings) as server:
        server.service.live.make_session = FakeSession  # type: ignore[assignment]
        with socket(server, PATH) as talk:
            next_of(talk, "session.created")
            with pytest.raises(InvalidStatus) as caught, socket(server, PATH):
                pass
            assert caught.value.response.status_code == 429
            assert caught.value.response.headers["retry-after"]
            append(talk, bytes(2 * 48_000))
            append(talk, bytes(2))
            assert next_of(talk, "error")["error"]["code"] == "session_too_long"
            assert next_of(talk, "error")["error"]["code"] == "idle_timeout"
            assert closed(talk) == 1008
        wait_until(lambda: not server.service.admission.live)
        with socket(server, PATH) as talk:
            next_of(talk, "session.created")


def test_a_client_that_vanishes_leaves_nothing(server: Running) -> None:
    with socket(server, PATH) as talk:
        append(talk, noise(24_000))
        next_of(talk, COMPLETED)
        talk.socket.close()
    wait_until(lambda: not server.service.admission.live)
    assert not server.service.live._open


def test_the_server_tells_what_it_has_heard_before_it_stops() -> None:
    with contextlib.ExitStack() as held:
        with running() as server:
            server.service.live.make_session = FakeSession  # type: ignore[assignment]
            talk, quiet = (held.enter_context(socket(server, PATH)) for _ in range(2))
            append(talk, noise(24_000, ((0.2, 2.0),), 2.0))
            next_of(talk, "input_audio_buffer.speech_started")
        assert next_of(talk, COMPLETED)["transcript"] == "1 2 3"
        assert [closed(each) for each in (talk, quiet)] == [1001, 1001]
