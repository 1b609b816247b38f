"""From a socket through a live session and the scheduler, with an engine that needs no weights."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from server.live.talking import append, next_of, noise, pieces, say, socket
from server.running import Running, fake_model, running

from mtasr.formats import transcript_json

COMPLETED = "conversation.item.input_audio_transcription.completed"


@pytest.fixture(scope="module")
def real() -> Iterator[Running]:
    with running() as started:
        yield started


def test_captions_end_with_the_transcript_of_the_file(real: Running) -> None:
    sound, events, name = noise(16_000), [], ""
    with socket(real, "/v1/live") as talk:
        say(talk, "start", language="en", word_timestamps=True)
        name = next_of(talk, "ready")["session"]
        for piece in pieces(sound[:100_000], 3200):
            talk.send(piece)
        events.append(next_of(talk, "final"))
        talk.socket.close()
    with socket(real, f"/v1/live?session={name}&event={events[-1]['event']}") as talk:
        for piece in pieces(sound[next_of(talk, "ready")["received"] * 2 :], 3200):
            talk.send(piece)
        say(talk, "end")
        while events[-1]["type"] != "end":
            events.append(json.loads(talk.recv(60)))
    samples = np.frombuffer(sound, "<i2").astype(np.float32) / 32768
    expected = fake_model().transcribe(samples, language="en", word_timestamps=True)
    assert events[-1]["transcript"] == json.loads(json.dumps(transcript_json.to_dict(expected)))
    finals = [each for each in events if each["type"] == "final"]
    assert [each["stretch"] for each in finals] == [0, 1]
    assert all(each["text"] for each in finals)


def test_many_realtime_sessions_at_once(real: Running) -> None:
    with contextlib.ExitStack() as held:
        talks = [held.enter_context(socket(real, "/v1/realtime?intent=transcription")) for _ in range(4)]
        for talk in talks:
            update: dict[str, Any] = {"input_audio_transcription": {"language": "en"}}
            say(talk, "transcription_session.update", session={**update, "include": [LOGPROBS]})
            append(talk, noise(24_000))
        for talk in talks:
            items: dict[str, list[str]] = {}
            while len(items) < 2 or "completed" not in items[[*items][-1]]:
                event = next_of(talk, "input_audio_buffer.committed", COMPLETED)
                items.setdefault(event["item_id"], []).append(event["type"].rpartition(".")[2])
                if event["type"] == COMPLETED:
                    assert event["transcript"]
                    assert event["languages"] == [{"code": "en"}]
                    assert "logprobs" in event
            assert [*items.values()] == [["committed", "completed"]] * 2


LOGPROBS = "item.input_audio_transcription.logprobs"
