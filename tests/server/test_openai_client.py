"""OpenAI's own client, which knows nothing of this server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types.audio import (
    TranscriptionDiarized,
    TranscriptionStreamEvent,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionTextSegmentEvent,
    TranscriptionVerbose,
    TranslationVerbose,
)
from server.conftest import write_noise
from server.running import Running, running

from mtasr.server import Settings
from mtasr.transcript import Transcript

KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def whole(server: Running, clip: Path, **options: object) -> Transcript:
    """What the model itself makes of a recording."""
    return server.model.transcribe(clip, **options)


def test_json(client: openai.OpenAI, server: Running, clip: Path) -> None:
    found = client.audio.transcriptions.create(file=clip, model="whisper-1")
    transcript = whole(server, clip)
    assert found.text == transcript.text != ""
    assert [each.code for each in found.languages or ()] == [transcript.language]
    assert found.usage is not None
    assert found.usage.type == "duration"
    assert found.usage.seconds == 3.0


@pytest.mark.parametrize(("form", "written"), [("text", "txt"), ("srt", "srt"), ("vtt", "vtt")])
def test_texts(client: openai.OpenAI, server: Running, clip: Path, form: str, written: str) -> None:
    found = client.audio.transcriptions.create(file=clip, model="gpt-transcribe", response_format=form)  # type: ignore[call-overload]
    assert found == whole(server, clip, word_timestamps=written != "txt").to_format(written)


def test_verbose_json_with_words(client: openai.OpenAI, server: Running, clip: Path) -> None:
    found = client.audio.transcriptions.create(
        file=clip, model="base", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert isinstance(found, TranscriptionVerbose)
    transcript = whole(server, clip, word_timestamps=True)
    assert found.language == {"en": "english", "fr": "french"}[transcript.language]
    assert [(each.word, each.start) for each in found.words or ()] == [
        (word.word.strip(), word.start) for segment in transcript for word in segment.words or ()
    ]
    assert [(each.id, each.text, each.end) for each in found.segments or ()] == [
        (each.id, each.text, each.end) for each in transcript
    ]


def test_words_alone_come_without_segments(client: openai.OpenAI, clip: Path) -> None:
    found = client.audio.transcriptions.create(
        file=clip, model="base", response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert found.words
    assert found.segments is None


def test_log_probabilities_are_those_of_the_tokens(client: openai.OpenAI, server: Running, clip: Path) -> None:
    found = client.audio.transcriptions.create(file=clip, model="base", include=["logprobs"])
    assert found.logprobs
    spelt = b"".join(bytes(map(int, each.bytes or ())) for each in found.logprobs)
    assert spelt.decode() == "".join(each.token or "" for each in found.logprobs) == found.text
    assert {round(each.logprob or 0, 4) for each in found.logprobs} == {-0.6931}, "the engine says 0.5 of each"


def test_languages_and_keywords_are_heeded(client: openai.OpenAI, server: Running, clip: Path) -> None:
    found = client.audio.transcriptions.create(
        file=clip, model="base", languages=["fr", "de"], keywords=["the people", "the water"], prompt="the day"
    )
    expected = whole(server, clip, languages=("fr", "de"), hotwords="the people, the water", initial_prompt="the day")
    assert found.text == expected.text != whole(server, clip).text
    assert [each.code for each in found.languages or ()] == ["fr"]


def test_chunking_strategies_are_taken(client: openai.OpenAI, clip: Path) -> None:
    texts = {
        client.audio.transcriptions.create(file=clip, model="base", chunking_strategy=strategy).text
        for strategy in ("auto", {"type": "server_vad", "threshold": 0.4, "silence_duration_ms": 200})
    }
    assert len(texts) == 1


def events_of(events: Iterator[TranscriptionStreamEvent]) -> tuple[list[str], TranscriptionTextDoneEvent]:
    *deltas, done = events
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert all(isinstance(each, TranscriptionTextDeltaEvent) for each in deltas)
    return [each.delta for each in deltas], done  # type: ignore[union-attr]


def test_deltas_add_up_to_the_text(client: openai.OpenAI, server: Running, tmp_path: Path) -> None:
    long = write_noise(tmp_path / "long.wav", [(at, at + 8.0) for at in range(1, 60, 10)], 60.0)
    with client.audio.transcriptions.create(file=long, model="base", stream=True) as stream:
        deltas, done = events_of(iter(stream))
    assert len(deltas) > 1
    assert "".join(deltas) == done.text == whole(server, long).text


def test_deltas_have_log_probabilities(client: openai.OpenAI, clip: Path) -> None:
    with client.audio.transcriptions.create(file=clip, model="base", stream=True, include=["logprobs"]) as stream:
        *deltas, done = stream
    assert isinstance(done, TranscriptionTextDoneEvent)
    tokens = [each.token for delta in deltas for each in delta.logprobs or ()]  # type: ignore[union-attr]
    assert tokens == [each.token for each in done.logprobs or ()] != []


def test_speakers_on_channels(client: openai.OpenAI, server: Running) -> None:
    call = Path(__file__).parents[2] / "examples" / "call.flac"
    fields = {"channels": "split", "speakers": ["Anna", "Ben"]}
    found = client.audio.transcriptions.create(
        file=call, model="base", response_format="diarized_json", extra_body=fields
    )
    assert isinstance(found, TranscriptionDiarized)
    transcript = whole(server, call, channels="split", speakers=("Anna", "Ben"))
    assert [(each.speaker, each.text) for each in found.segments] == [
        (each.speaker, each.text.strip()) for each in transcript
    ]
    assert {each.speaker for each in found.segments} == {"Anna", "Ben"}
    with client.audio.transcriptions.create(
        file=call, model="base", response_format="diarized_json", stream=True, extra_body=fields
    ) as stream:
        segments = [each for each in stream if isinstance(each, TranscriptionTextSegmentEvent)]
    assert [each.speaker for each in segments] == [each.speaker for each in found.segments]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # as the client says of its own method
def test_translations(client: openai.OpenAI, server: Running, clip: Path) -> None:
    expected = whole(server, clip, task="translate")
    assert client.audio.translations.create(file=clip, model="whisper-1").text == expected.text
    found = client.audio.translations.create(file=clip, model="whisper-1", response_format="verbose_json")
    assert isinstance(found, TranslationVerbose)
    assert (found.language, found.text) == ("english", expected.text)
    srt = client.audio.translations.create(file=clip, model="whisper-1", response_format="srt")
    assert srt == expected.to_srt()


def test_models(client: openai.OpenAI) -> None:
    first, *_ = client.models.list()
    assert (first.id, first.object, first.owned_by) == ("base", "model", "Systran")
    for name in ("base", "whisper-1", "Systran/faster-whisper-base"):
        assert client.models.retrieve(name).id == "base"
    with pytest.raises(openai.NotFoundError, match="there is no model 'huge'"):
        client.models.retrieve("huge")


def test_a_model_that_is_not_here_is_not_found(client: openai.OpenAI, clip: Path) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.transcriptions.create(file=clip, model="huge")
    assert caught.value.code == "model_not_found"


def test_what_is_no_recording(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=r"notes\.txt: ") as caught:
            client.audio.transcriptions.create(file=("notes.txt", b"words " * 99), model="base", stream=stream)
        assert caught.value.code == "invalid_audio"
        assert "/" not in caught.value.message.replace("audio/", ""), "no path of the server is told"


def test_async(server: Running, clip: Path) -> None:
    async def run() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            found = await client.audio.transcriptions.create(file=clip, model="base")
            stream = await client.audio.transcriptions.create(file=clip, model="base", stream=True)
            deltas = [each.delta async for each in stream if each.type == "transcript.text.delta"]
            return found.text, "".join(deltas)

    text, streamed = asyncio.run(run())
    assert text == streamed == whole(server, clip).text


def test_keys(clip: Path) -> None:
    with running(Settings(keys=(("anna", KEY),))) as server:
        url = f"{server.url}/v1"
        with openai.OpenAI(base_url=url, api_key=KEY) as client:
            assert client.audio.transcriptions.create(file=clip, model="base").text
        with (
            openai.OpenAI(base_url=url, api_key="wrong") as client,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            client.audio.transcriptions.create(file=clip, model="base")
        assert caught.value.code == "invalid_api_key"
