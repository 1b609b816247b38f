"""Home Assistant's protocol, with the client of the package `wyoming`."""

from __future__ import annotations

import asyncio
import json
import struct
import time
import wave
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from server.conftest import write_noise
from server.running import Running, fake_model, running
from wyoming.asr import Transcribe
from wyoming.asr import Transcript as TranscriptEvent
from wyoming.audio import AudioChunk, AudioStart, AudioStop, wav_to_chunks
from wyoming.client import AsyncClient
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from mtasr import __version__
from mtasr.errors import OutputError, UsageError
from mtasr.server import Settings
from mtasr.server.protocols import pcm, wyoming
from mtasr.transcribe import Model
from mtasr.transcript import Transcript

Expected = Callable[..., Transcript]

ANYWHERE = "tcp://127.0.0.1:0"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(Settings(wyoming=ANYWHERE)) as started:
        yield started


def exchange(server: Running, *events: Eventable | Event) -> list[Event]:
    """Send events, and return what comes until the server hangs up or has answered all of it."""

    async def talk() -> list[Event]:
        answers = []
        async with AsyncClient.from_uri(server.service.addresses[0]) as client, asyncio.timeout(60):
            for each in events:
                await client.write_event(each if isinstance(each, Event) else each.event())
            while (answer := await client.read_event()) is not None:
                answers.append(answer)
                if not (TranscriptEvent.is_type(answer.type) or Error.is_type(answer.type)):
                    break
        return answers

    return asyncio.run(talk())


def spoken(path: Path, **start: Any) -> list[Eventable]:
    """A recording as Home Assistant sends it."""
    with wave.open(str(path)) as recording:
        chunks = wav_to_chunks(recording, 1024, start_event=True, stop_event=True)
        return [Transcribe(**start), *chunks]


def text_of(answers: list[Event]) -> str:
    (answer,) = answers
    assert TranscriptEvent.is_type(answer.type), answer
    return TranscriptEvent.from_event(answer).text


def code_of(answers: list[Event]) -> str | None:
    (answer,) = answers
    assert Error.is_type(answer.type), answer
    return Error.from_event(answer).code


def test_says_what_it_offers(server: Running) -> None:
    (answer,) = exchange(server, Describe())
    (program,) = Info.from_event(answer).asr
    assert (program.name, program.version, program.installed) == ("mtasr", __version__, True)
    assert program.models[0].name == "base"
    assert program.models[0].installed
    assert {"en", "de", "yue"} <= set(program.models[0].languages)


def test_home_assistant_gets_the_text_of_the_command_line(server: Running, clip: Path, expected: Expected) -> None:
    answers = exchange(server, *spoken(clip, language="fr"))
    assert text_of(answers) == expected(language="fr").text != ""
    assert TranscriptEvent.from_event(answers[0]).language == "fr"


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, {}),
        ({"language": "auto", "name": "base"}, {}),
        ({"language": "de-CH"}, {"language": "de"}),
        ({"transcript_names": ["Ada"], "transcript_terms": ["river"]}, {"hotwords": "Ada, river"}),
    ],
)
def test_what_is_asked_for(
    server: Running, clip: Path, expected: Expected, given: dict[str, Any], options: dict[str, Any]
) -> None:
    assert text_of(exchange(server, *spoken(clip, **given))) == expected(**options).text


@pytest.mark.parametrize(("rate", "width", "channels"), [(8000, 1, 1), (44_100, 2, 2), (48_000, 3, 1), (22_050, 4, 2)])
def test_any_sound(server: Running, tmp_path: Path, expected: Expected, rate: int, width: int, channels: int) -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, (rate, channels)).clip(-1, 1)
    numbers = (noise * (2 ** (8 * width - 1) - 1)).astype("<i4")
    bytes_ = numbers.astype("<i4").view(np.uint8).reshape(rate, channels, 4)[..., :width].copy()
    if width == 1:
        bytes_ += 128  # WAV has unsigned bytes
    recording = tmp_path / "noise.wav"
    with wave.open(str(recording), "wb") as file:
        file.setparams((channels, width, rate, rate, "NONE", "NONE"))
        file.writeframes(bytes_.tobytes())
    assert text_of(exchange(server, *spoken(recording))) == expected(recording).text != ""


def test_sound_may_come_without_its_start(server: Running, clip: Path, expected: Expected) -> None:
    events = [each for each in spoken(clip) if not isinstance(each, AudioStart | Transcribe)]
    assert text_of(exchange(server, *events)) == expected().text


@pytest.mark.parametrize("chunks", [[], [b""], [b"\0"]])
def test_without_sound_there_is_no_text(server: Running, chunks: Iterable[bytes]) -> None:
    events = [AudioChunk(16_000, 2, 1, each) for each in chunks]
    assert text_of(exchange(server, AudioStart(16_000, 2, 1), *events, AudioStop())) == ""
    assert text_of(exchange(server, AudioStop())) == ""


def test_ping_and_what_nobody_knows(server: Running) -> None:
    (answer,) = exchange(server, Event("select-program", {"name": "mtasr"}), Ping(text="hello"))
    assert Pong.from_event(answer).text == "hello"


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([Transcribe(name="no-such-model")], "model_not_found"),
        ([Transcribe(language="klingon")], "invalid_value"),
        ([Event("transcribe", {"language": 5})], "invalid_event"),
        ([Event("transcribe", {"transcript_terms": [5]})], "invalid_event"),
        ([Event("audio-start", {"rate": 16_000})], "invalid_event"),
        ([AudioStart(0, 2, 1)], "invalid_value"),
        ([AudioStart(16_000, 8, 1)], "invalid_value"),
        ([Event("audio-start", {"rate": "fast", "width": 2, "channels": 1})], "invalid_value"),
        ([AudioStart(8000, 2, 1)], "invalid_audio"),
    ],
)
def test_what_is_wrong_is_refused(server: Running, clip: Path, events: list[Eventable], code: str) -> None:
    assert code_of(exchange(server, *events, *spoken(clip)[1:])) == code
    nothing_is_left(server)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"this is no event\n", None),
        (b"[]\n", "invalid_event"),
        (b'{"data": {}}\n', "invalid_event"),
        (b'{"type": "audio-chunk", "payload_length": 100000000000}\n', "request_too_large"),
        (b'{"type": "describe", "data_length": 100000000000}\n', "request_too_large"),
        (b'{"type": "describe", "data_length": "a"}\n', "invalid_event"),
        (b"[" * 50_000 + b"\n", "invalid_event"),
        (b"a" * 1_000_000, None),
        (struct.pack("<I", 7) * 5, None),
    ],
)
def test_garbage(server: Running, sent: bytes, code: str | None) -> None:
    async def talk() -> bytes:
        host, port = server.service.addresses[0].removeprefix("tcp://").split(":")
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(sent)
            writer.write_eof()
            return await reader.read()
        except OSError:  # The server has hung up.
            return b""
        finally:
            writer.close()

    answer = asyncio.run(talk())
    if code is None:
        assert answer == b""
    else:
        assert json.loads(answer.splitlines()[1])["code"] == code
    nothing_is_left(server)


def nothing_is_left(server: Running) -> None:
    """Places are free and files deleted, within a while."""
    deadline = time.monotonic() + 30
    while server.service.admission.taken or server.service.tasks or [*server.service.incoming.iterdir()]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"upload_bytes": 50_000}, "recording_too_long"),
        ({"recording_seconds": 2.0}, "recording_too_long"),
    ],
)
def test_limits(clip: Path, limits: dict[str, Any], code: str) -> None:
    with running(Settings(wyoming=ANYWHERE, **limits)) as server:
        assert code_of(exchange(server, *spoken(clip))) == code
        nothing_is_left(server)


def test_a_disk_that_cannot_be_written_is_no_fault_of_the_client(clip: Path, tmp_path: Path) -> None:
    with running(Settings(wyoming=ANYWHERE)) as server:
        server.service.incoming = tmp_path / "missing"
        assert code_of(exchange(server, *spoken(clip))) == "server_error"
        assert not server.service.admission.taken


def test_places_are_limited(clip: Path) -> None:
    with running(Settings(wyoming=ANYWHERE, requests=1)) as server:
        with server.service.admission.place("another client"):
            assert code_of(exchange(server, *spoken(clip))) == "too_many_requests"
        nothing_is_left(server)


def test_a_client_that_sends_nothing_more(clip: Path) -> None:
    with running(Settings(wyoming=ANYWHERE, upload_pause=0.2)) as server:
        assert code_of(exchange(server, *spoken(clip)[:5])) == "request_timeout"
        nothing_is_left(server)


def test_a_client_that_hangs_up_frees_its_place(tmp_path: Path) -> None:
    long = write_noise(tmp_path / "long.wav", [(start, start + 2.0) for start in range(0, 60, 3)], 60.0)

    async def leave(server: Running) -> None:
        async with AsyncClient.from_uri(server.service.addresses[0]) as client:
            for each in spoken(long):
                await client.write_event(each.event())
            while not server.service.admission.active:
                await asyncio.sleep(0.01)

    with running(Settings(wyoming=ANYWHERE), load=lambda name: fake_model(pause=0.5)) as server:
        asyncio.run(leave(server))
        nothing_is_left(server)


def test_a_server_that_stops_hangs_up_on_those_who_say_nothing() -> None:
    async def wait(server: Running) -> list[Event | None]:
        async with AsyncClient.from_uri(server.service.addresses[0]) as client:
            await client.write_event(Ping().event())
            answers = [await client.read_event()]
            server.call(server.service.stop())
            return [*answers, await client.read_event(), await client.read_event()]

    with running(Settings(wyoming=ANYWHERE, stop_seconds=0.1)) as server:
        pong, error, end = asyncio.run(wait(server))
        assert pong is not None
        assert error is not None
        assert (Pong.is_type(pong.type), Error.from_event(error).code, end) == (True, "stopping", None)


def test_whoever_waits_for_a_transcript_gets_it_though_the_server_stops(clip: Path) -> None:
    model = fake_model(pause=0.2)

    async def wait(server: Running) -> str:
        async with AsyncClient.from_uri(server.service.addresses[0]) as client:
            for each in spoken(clip):
                await client.write_event(each.event())
            while not server.service.admission.active:
                await asyncio.sleep(0.01)
            server.call(server.service.stop())
            answer = await client.read_event()
            assert answer is not None
            return TranscriptEvent.from_event(answer).text

    def load(name: str) -> Model:
        return model

    with running(Settings(wyoming=ANYWHERE), load=load) as server:
        assert asyncio.run(wait(server)) == model.transcribe(clip).text


@pytest.mark.parametrize("address", ["127.0.0.1:10300", "tcp://127.0.0.1", "tcp://:10300", "udp://a:1", "tcp://a:b"])
def test_addresses(address: str) -> None:
    with pytest.raises(UsageError, match="wyoming must be an address such as"):
        Settings(wyoming=address)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        service = SimpleNamespace(settings=Settings(), incoming=tmp_path)
        recording = wyoming._Recording(service, pcm.SampleFormat(rate=16_000, width=2, channels=1))  # type: ignore[arg-type]
        with recording.kept():
            recording._file.close()
            recording._file = Path("/dev/full").open("wb")  # noqa: SIM115
            with pytest.raises(OutputError, match="No space left"):
                await recording.add(bytes(2 << 20))

    asyncio.run(run())
    assert not any(tmp_path.iterdir())
