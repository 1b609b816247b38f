"""Nothing is lost where windows meet: a synthesised recording through the default path with the base model."""

from __future__ import annotations

import io
import re
from collections import Counter

import numpy as np
import pytest
from speech import speak

import mtasr
from mtasr.audio import SAMPLE_RATE
from mtasr.transcript import Transcript
from mtasr.writers import WRITERS

pytestmark = [pytest.mark.weights, pytest.mark.slow]

# Each has a word that the model knows well from this voice, and that is in no other.
SENTENCES = """
The kitchen window was open all night.
My brother bought a yellow bicycle in April.
We waited for the doctor until noon.
Somebody left an umbrella in the garden.
The new bridge is longer than the old one.
Her daughter plays the piano every evening.
There was no sugar left in the house.
The teacher asked us to close our books.
They sold the farm to a young family.
It has been raining since Monday morning.
The museum is closed for the whole winter.
I can hear the church bells from my room.
Nobody answered the telephone yesterday.
The children found a turtle near the river.
Please bring the blue chairs into the office.
His father worked as a carpenter for years.
The airport is an hour away from here.
She wrote the letter with a pencil.
We had dinner at a small restaurant.
The dog was sleeping under the table.
Our village has only one hospital.
The soldiers marched through the snow.
He forgot his passport at the hotel.
An orange cat was sitting on the roof.
The library has thousands of maps.
Tomorrow we will climb the mountain.
The baker makes fresh bread at five.
This song was written by an old sailor.
There is a picture of a horse on the wall.
The lawyer spoke for almost an hour.
""".strip().splitlines()
PAUSES = (0.15, 0.3, 0.5, 0.8, 1.2, 2.4)


def words(transcript: Transcript) -> Counter[str]:
    return Counter(re.findall(r"[a-z]+", transcript.text.lower()))


def test_nothing_is_lost_at_the_joins_whatever_the_workers() -> None:
    clips = [speak(sentence) for sentence in SENTENCES]
    parts = []
    for index, clip in enumerate(clips):
        parts += [clip, np.zeros(round(PAUSES[index % len(PAUSES)] * SAMPLE_RATE), np.float32)]
    recording = np.concatenate(parts)
    heard, written = [], []
    for workers in (1, 2):
        model = mtasr.load_model("base", device="cpu", threads=2, workers=workers)
        heard.append(model.transcribe(recording, language="en", word_timestamps=True))
        out = io.StringIO()
        WRITERS["json"](heard[-1], out)
        written.append(out.getvalue())
    assert written[0] == written[1]
    joined = words(heard[0])
    lost = []
    total = 0
    with model.stream_all(clips, language="en") as streams:
        for stream in streams:
            alone = words(stream.transcript())
            marks = [word for word in alone if len(word) > 4]
            total += len(marks)
            lost += [word for word in marks if word not in joined]
    assert total > 60
    assert len(lost) <= 0.02 * total, lost
