"""Ephemeral keys: a browser opens live sessions with one and can do nothing else."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from server.live.fake_session import FakeSession
from server.live.talking import ITEMS, next_of, noise, pieces, say, socket
from server.running import Running, running
from websockets.exceptions import InvalidStatus

from mtasr.server import Settings
from mtasr.server.access import KEY_PROTOCOL
from mtasr.server.ephemeral_keys import EphemeralKey, EphemeralKeys
from mtasr.server.live.realtime_settings import RealtimeSettings, default_settings
from mtasr.server.problems import Problem

#: OpenAI's client uses the package websockets in a way that this one warns of, and warns of its own beta.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

KEY, BENS = "0123456789abcdef", "fedcba9876543210"
PATH = "/v1/realtime"
SESSION: dict[str, Any] = {
    "type": "transcription",
    "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe", "language": "fr"}, "turn_detection": None}},
}


@pytest.fixture(scope="module")
def keyed() -> Iterator[Running]:
    with running(Settings(keys=(("anna", KEY), ("ben", BENS)))) as started:
        started.service.live.make_session = FakeSession  # type: ignore[assignment]
        yield started


def client(server: Running, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def with_prompt(prompt: bytes) -> bytes:
    """A request whose prompt is written so."""
    transcription = b'{"transcription": {"prompt": "%s"}}' % prompt
    return b'{"session": {"type": "transcription", "audio": {"input": %s}}}' % transcription


# --- OpenAI's client --------------------------------------------------------------------------------------------------


def test_a_key_opens_a_session_with_its_settings(keyed: Running) -> None:
    now = time.time()
    with client(keyed) as owner:
        made = owner.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 120},
            session=SESSION,  # type: ignore[arg-type]
        )
    assert made.value.startswith("ek_")
    assert now + 120 <= made.expires_at <= time.time() + 121
    assert made.session.type == "transcription"
    with client(keyed, made.value) as browser:
        for _ in range(2):  # It opens any number of sessions.
            with browser.realtime.connect(extra_query={"intent": "transcription"}) as connection:
                created: Any = connection.recv()
                assert created.session.audio.input.transcription.language == "fr"
                assert created.session.audio.input.turn_detection is None
                for piece in pieces(noise(24_000)):
                    connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
                connection.input_audio_buffer.commit()
                event: Any = created
                while event.type != "conversation.item.input_audio_transcription.completed":
                    event = connection.recv()
                assert event.transcript == " ".join(ITEMS)


def test_without_a_wish_it_lasts_ten_minutes(keyed: Running) -> None:
    now = time.time()
    with client(keyed) as owner:
        made = owner.realtime.client_secrets.create()
    assert now + 600 <= made.expires_at <= time.time() + 601


def test_the_beta(keyed: Running) -> None:
    now = time.time()
    with client(keyed) as owner:
        made = owner.beta.realtime.transcription_sessions.create(
            input_audio_format="g711_ulaw",
            input_audio_transcription={"model": "whisper-1", "language": "de"},
            client_secret={"expires_at": {"anchor": "created_at", "seconds": 30}},
        )
    assert now + 30 <= made.client_secret.expires_at <= time.time() + 31
    assert (made.input_audio_format, made.turn_detection and made.turn_detection.type) == ("g711_ulaw", "server_vad")
    headers = bearer(made.client_secret.value) | {"openai-beta": "realtime=v1"}
    with socket(keyed, PATH, additional_headers=headers) as talk:
        created = next_of(talk, "transcription_session.created")["session"]
        assert created["input_audio_format"] == "g711_ulaw"
        assert created["input_audio_transcription"]["language"] == "de"


def test_a_server_without_keys_gives_one_too(server: Running) -> None:
    with client(server, "none") as anybody:
        made = anybody.realtime.client_secrets.create(session=SESSION)  # type: ignore[arg-type]
    with socket(server, PATH, additional_headers=bearer(made.value)) as talk:
        found = next_of(talk, "session.created")["session"]["audio"]["input"]["transcription"]
        assert found == {"model": "gpt-4o-transcribe", "language": "fr"}


@pytest.mark.parametrize("path", [PATH, "/v1/live"])
def test_it_opens_a_server_without_keys_to_a_page_of_another_site(server: Running, path: str) -> None:
    with client(server, "none") as anybody:
        made = anybody.realtime.client_secrets.create()
    with pytest.raises(InvalidStatus) as refused, socket(server, path, origin="https://elsewhere.example"):
        pass
    assert refused.value.response.status_code == 403
    protocols = ["realtime", f"{KEY_PROTOCOL}{made.value}"]
    with socket(server, path, origin="https://elsewhere.example", subprotocols=protocols) as talk:
        if path == "/v1/live":
            say(talk, "start")
        next_of(talk, "session.created", "ready")


# --- what it is good for ----------------------------------------------------------------------------------------------


@pytest.fixture
def value(keyed: Running) -> str:
    with client(keyed) as owner:
        return owner.realtime.client_secrets.create(session=SESSION).value  # type: ignore[arg-type]


def test_browsers_name_it_as_a_subprotocol(keyed: Running, value: str) -> None:
    with socket(keyed, f"{PATH}?model=base", subprotocols=["realtime", f"{KEY_PROTOCOL}{value}"]) as talk:
        found = next_of(talk, "session.created")["session"]["audio"]["input"]["transcription"]
        assert found == {"model": "base", "language": "fr"}
        assert talk.subprotocol == "realtime"


def test_who_has_a_key_does_not_get_the_settings_of_another(keyed: Running, value: str) -> None:
    headers = {"x-api-key": BENS} | bearer(value)
    with socket(keyed, PATH, additional_headers=headers) as talk:
        found = next_of(talk, "session.created")["session"]["audio"]["input"]["transcription"]
        assert found == {"model": "whisper-1"}
        assert keyed.service.admission.live == {"ben": 1}


def test_it_opens_captions_of_its_owner(keyed: Running, value: str) -> None:
    with socket(keyed, "/v1/live", additional_headers=bearer(value)) as talk:
        say(talk, "start")
        next_of(talk, "ready")
        assert keyed.service.admission.live == {"anna": 1}


@pytest.mark.parametrize("path", ["/v1/realtime/client_secrets", "/v1/realtime/transcription_sessions", "/v1/models"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_is_good_for_nothing_else(keyed: Running, value: str, method: str, path: str) -> None:
    with keyed.client(headers=bearer(value)) as anybody:
        assert anybody.request(method, path).status_code == 401


def test_one_that_expired_resumes_what_it_began_and_begins_nothing(
    keyed: Running, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = bearer(value)
    with socket(keyed, "/v1/live", additional_headers=headers) as talk:
        say(talk, "start")
        name = next_of(talk, "ready")["session"]
        talk.send(noise(16_000)[:32_000])
        next_of(talk, "ack")
        talk.socket.close()  # without a word
    monkeypatch.setattr(keyed.service.ephemeral_keys, "_clock", lambda: time.time() + 601)
    with socket(keyed, "/v1/live", additional_headers=headers) as talk:
        say(talk, "start")
        error = next_of(talk, "error")["error"]
        assert (error["code"], error["type"]) == ("invalid_api_key", "authentication_error")
    with pytest.raises(InvalidStatus), socket(keyed, PATH, additional_headers=headers):
        pass
    with socket(keyed, "/v1/live", additional_headers=headers) as talk:
        say(talk, "resume", session=name)
        assert next_of(talk, "ready")["received"] == 16_000
        say(talk, "end")
        next_of(talk, "end")


def test_one_that_expired_opens_nothing(keyed: Running, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed.service.ephemeral_keys, "_clock", lambda: time.time() + 601)
    for path in (PATH, "/v1/live"):
        with pytest.raises(InvalidStatus) as refused, socket(keyed, path, additional_headers=bearer(value)):
            pass
        assert refused.value.response.status_code == 401


def test_who_has_no_key_gets_none(keyed: Running) -> None:
    with keyed.client() as nobody:
        assert nobody.post("/v1/realtime/client_secrets").status_code == 401


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("client_secrets", {"expires_after": {"seconds": 5}}, "expires_after.seconds"),
        ("client_secrets", {"expires_after": {"seconds": 7201}}, "expires_after.seconds"),
        ("client_secrets", {"expires_after": {"seconds": "60"}}, "expires_after.seconds"),
        ("client_secrets", {"expires_after": {"anchor": "today"}}, "expires_after.anchor"),
        ("client_secrets", {"expires_after": 60}, "expires_after"),
        ("client_secrets", {"expires_after": {"second": 60}}, "expires_after.second"),
        ("transcription_sessions", {"client_secret": {"expires_after": {}}}, "client_secret.expires_after"),
        ("transcription_sessions", {"turn_detection": {"type": []}}, "turn_detection.type"),
        (
            "transcription_sessions",
            {"turn_detection": {"type": "semantic_vad", "eagerness": []}},
            "turn_detection.eagerness",
        ),
        ("client_secrets", {"session": {"type": "realtime"}}, "session.type"),
        ("client_secrets", {"session": []}, "session"),
        ("client_secrets", {"session": 1}, "session"),
        ("client_secrets", {"voice": "alloy"}, "voice"),
        ("client_secrets", [], None),
        ("transcription_sessions", {"client_secret": 1}, "client_secret"),
        (
            "transcription_sessions",
            {"client_secret": {"expires_at": {"seconds": 1}}},
            "client_secret.expires_at.seconds",
        ),
        ("transcription_sessions", {"turn_detection": {"type": "loud"}}, "turn_detection.type"),
        ("transcription_sessions", {"voice": "alloy"}, "session.voice"),
        ("transcription_sessions", {"input_audio_noise_reduction": {"type": "x" * 10_000}}, "noise_reduction.type"),
        ("transcription_sessions", {"input_audio_noise_reduction": {"type": ["near_field"]}}, "noise_reduction.type"),
        ("transcription_sessions", {"input_audio_noise_reduction": {}}, "noise_reduction.type"),
        ("transcription_sessions", {"input_audio_noise_reduction": "near_field"}, "noise_reduction"),
        ("transcription_sessions", {"input_audio_noise_reduction": False}, "noise_reduction"),
        (
            "transcription_sessions",
            {"input_audio_noise_reduction": {"type": "far_field", "more": 1}},
            "noise_reduction.more",
        ),
    ],
)
def test_what_makes_no_sense(server: Running, path: str, body: Any, param: str | None) -> None:
    with server.client() as anybody:
        answer = anybody.post(f"/v1/realtime/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"[" * 10_000, 400),
        (b" " * 16_382 + b"{}", 200),
        (b" " * 16_383 + b"{}", 413),
        (b"", 200),
        (b"\xef\xbb\xbf{}", 200),
        (b"\xff", 400),
        (with_prompt(b"\xed\xa0\x80"), 400),
        (with_prompt(b"\\ud800"), 400),
        (with_prompt(b"\\uDFFF"), 400),
        (with_prompt(b"\\ud83d\\ude00"), 200),
        (b'{"session": NaN}', 400),
        (b'{"expires_after": {"seconds": Infinity}}', 400),
        (b'{"expires_after": {"seconds": -1e999}}', 400),
    ],
)
def test_bodies(server: Running, content: bytes, status: int) -> None:
    before = len(server.service.ephemeral_keys._keys)
    with server.client() as anybody:
        answer: httpx.Response = anybody.post("/v1/realtime/client_secrets", content=content)
    assert answer.status_code == status
    assert len(server.service.ephemeral_keys._keys) - before == (status == 200), "what is refused makes no key"


@pytest.mark.parametrize("kind", ["near_field", "far_field", None])
def test_noise_reduction_is_taken_and_shown(server: Running, kind: str | None) -> None:
    wanted = None if kind is None else {"type": kind}
    session = {"type": "transcription", "audio": {"input": {"noise_reduction": wanted}}}
    with server.client() as anybody:
        answer = anybody.post("/v1/realtime/client_secrets", json={"session": session})
    assert answer.json()["session"]["audio"]["input"]["noise_reduction"] == wanted


def test_a_model_that_is_not_there(server: Running) -> None:
    session = {"type": "transcription", "audio": {"input": {"transcription": {"model": "huge"}}}}
    with client(server, "none") as anybody, pytest.raises(openai.NotFoundError):
        anybody.realtime.client_secrets.create(session=session)  # type: ignore[arg-type]


# --- in memory --------------------------------------------------------------------------------------------------------


class Now:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def issue(keys: EphemeralKeys, client: str, seconds: int = 60) -> tuple[str, EphemeralKey]:
    with keys.issue(client, seconds, b"") as made:
        return made


def test_a_client_has_a_thousand_at_most() -> None:
    now = Now()
    keys = EphemeralKeys(now)
    for _ in range(1000):
        value, key = issue(keys, "anna")
    issue(keys, "ben")
    with pytest.raises(Problem, match="1000 ephemeral keys") as refused:
        issue(keys, "anna")
    assert (refused.value.status, refused.value.headers["retry-after"]) == (429, "60")
    assert keys.find(["nothing", value]) == key
    now.time = 1060.0
    assert keys.find([value]) is None
    issue(keys, "anna")
    assert len(keys._keys) == 1


def test_all_clients_have_ten_thousand_at_most() -> None:
    now = Now()
    keys = EphemeralKeys(now)
    for number in range(10_000):
        issue(keys, f"client {number}", 30 if number == 5000 else 7200)
    with pytest.raises(Problem, match="the server has as many ephemeral keys") as refused:
        issue(keys, "another")
    assert (refused.value.status, refused.value.headers["retry-after"]) == (429, "30")
    now.time = 1030.0
    issue(keys, "another")
    with pytest.raises(Problem):
        issue(keys, "yet another")


def test_who_looks_for_a_key_finds_the_expired_ones_gone() -> None:
    now = Now()
    keys = EphemeralKeys(now)
    short = [issue(keys, "anna", seconds)[0] for seconds in (50, 10, 30)]
    long, key = issue(keys, "ben", 7200)
    now.time = 1030.0
    assert keys.find(short[1:]) is None
    assert keys.find(short) is not None
    assert (len(keys._keys), keys._counts) == (2, {"anna": 1, "ben": 1})
    now.time = 1050.0
    assert keys.find([long]) == key
    assert (len(keys._keys), keys._counts) == (1, {"ben": 1})


def test_a_key_that_expired_is_known_while_a_session_goes_on_that_it_began() -> None:
    now = Now()
    keys = EphemeralKeys(now)
    value, key = issue(keys, "anna")
    assert keys.find_used([value]) is None
    with keys.used(key):
        with keys.used(key):
            now.time = 1060.0
        assert keys.find([value]) is None
        assert keys.find_used(["nothing", value]) == key
    assert keys.find_used([value]) is None


@pytest.mark.parametrize("turns", [None, {"type": "semantic_vad"}, {"type": "server_vad", "threshold": 0.7}])
def test_settings_are_packed_and_unpacked(turns: Any) -> None:
    transcription = {"model": "base", "prompt": "Grüße", "keywords": ["ab"] * 3000}
    wished = {
        "input_audio_format": "g711_alaw",
        "input_audio_transcription": transcription,
        "input_audio_noise_reduction": {"type": "near_field"},
        "turn_detection": turns,
        "include": ["item.input_audio_transcription.logprobs"],
    }
    for settings in (default_settings(), default_settings().updated(wished, beta=True)):
        packed = settings.packed()
        assert RealtimeSettings.unpacked(packed) == settings
        assert len(packed) < 16_000


def test_a_key_that_cannot_be_told_is_not_counted() -> None:
    keys = EphemeralKeys(Now())
    with pytest.raises(UnicodeError), keys.issue("anna", 60, b"") as (value, _):
        raise UnicodeError
    assert keys.find([value]) is None
    assert not keys._counts
