"""Nothing is lost where windows meet: a synthesised recording through the default path with the base model."""

from __future__ import annotations

import io
import re
from collections import Counter

import numpy as np
import pytest
from speech import speak

import mtasr
from mtasr.formats import transcript_json
from mtasr.spans import SAMPLE_RATE

pytestmark = [pytest.mark.weights, pytest.mark.slow]

# What the model understands well from this voice: the test is about the joins, not about hearing.
SENTENCES = """
The kitchen window was open all night.
My brother bought a yellow bicycle in April.
We waited for the doctor until noon.
Somebody left an umbrella in the garden.
The new bridge is longer than the old one.
The winter in the mountains was long and cold.
The morning train to London was late again.
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
The hospital is behind the central station.
The dog was sleeping under the table.
Our village has only one hospital.
The soldiers marched through the snow.
He forgot his passport at the hotel.
An orange cat was sitting on the roof.
The library has thousands of maps.
Tomorrow we will climb the mountain.
Seven people were waiting outside the theatre.
This song was written by an old sailor.
There is a picture of a horse on the wall.
The lawyer spoke for almost an hour.
The weather was beautiful in September.
They are building a school beside the church.
My uncle has a garden full of flowers.
The minister answered all of the questions.
Yesterday we walked through the forest.
The president will visit our country in March.
""".strip().splitlines()
PAUSES = (0.15, 0.3, 0.5, 0.8, 1.2, 2.4)


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[a-z]+", text.lower()))


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
        transcript_json.write(heard[-1], out)
        written.append(out.getvalue())
    assert written[0] == written[1]
    joined = words(heard[0].text)
    alone: Counter[str] = Counter()
    with model.stream_all(clips, language="en") as streams:
        for sentence, stream in zip(SENTENCES, streams, strict=True):
            # What is misheard alone may be misheard in another way in company.
            alone += words(stream.transcript().text) & words(sentence)
    marks = Counter({word: count for word, count in alone.items() if len(word) > 4})
    assert marks.total() > 100
    assert (marks - joined).total() <= 0.02 * marks.total(), marks - joined
    # Nothing is said twice either.
    spoken = words(" ".join(SENTENCES))
    assert joined.total() <= 1.04 * spoken.total()
