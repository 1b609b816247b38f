"""The functions that change a transcript, called in a browser without a page around them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from server.page.stand_in import StandIn

from mtasr.formats import transcript_json
from mtasr.formats.registry import render

pytestmark = pytest.mark.slow

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def call(browser: Any, served: tuple[str, StandIn]) -> Iterator[Call]:
    """Calls a function of transcript.js."""
    page = browser.new_page()
    page.goto(f"{served[0]}/page/icon.svg")
    script = """async ([name, given]) => {
        const found = (await import("/page/transcript.js"))[name](...given);
        return found instanceof Map ? [...found] : found;
    }"""
    yield lambda name, *given: page.evaluate(script, [name, list(given)])
    page.close()


def words(*given: tuple[str, float, float]) -> list[dict[str, Any]]:
    return [{"word": word, "start": start, "end": end, "probability": 0.9} for word, start, end in given]


def segment(text: str, start: float, end: float, timed: list[dict[str, Any]] | None = None, **more: Any) -> Any:
    found = {"id": 0, "start": start, "end": end, "text": text, "avg_logprob": -0.2, **more}
    return found if timed is None else found | {"words": timed}


def transcript(*segments: Any, duration: float = 20.0) -> dict[str, Any]:
    numbered = [each | {"id": number} for number, each in enumerate(segments)]
    text = "".join(each["text"] for each in segments).strip()
    return {"language": "en", "language_probability": 0.9, "duration": duration, "text": text, "segments": numbered}


CHINESE = transcript(
    segment("今天天气很好", 1.0, 4.0, words(("今天", 1.0, 2.0), ("天气", 2.0, 3.0), ("很好", 3.0, 4.0)))
)


def test_text_without_spaces(call: Call) -> None:
    changed = call("withText", CHINESE["segments"][0], "今天的天气不好")
    assert changed["text"] == "今天的天气不好"
    assert "".join(word["word"] for word in changed["words"]) == changed["text"]
    assert changed["words"][0]["start"] == 1.0
    assert changed["words"][-1]["end"] == 4.0
    kept = next(word for word in changed["words"] if word["word"] == "天气")
    assert kept == {"word": "天气", "start": 2.0, "end": 3.0, "probability": 0.9}


def test_part_of_a_word_is_no_word(call: Call) -> None:
    given = transcript(
        segment(" The sea there.", 1.0, 4.0, words((" The", 1.0, 2.0), (" sea", 2.0, 3.0), (" there.", 3.0, 4.0)))
    )
    changed = call("withText", given["segments"][0], "There, season there.")["words"]
    assert [word["probability"] for word in changed] == [None, None, 0.9]


def test_segments_without_words(call: Call) -> None:
    given = transcript(segment(" One two three four", 0.0, 4.0))
    first, second = call("split", given, 0, len("One two"))["segments"]
    assert (first["text"], second["text"]) == (" One two", " three four")
    assert first["end"] == second["start"] == pytest.approx(4 * 8 / 19, abs=1e-3)
    (joined,) = call("join", transcript(first, second), 0)["segments"]
    assert (joined["text"], joined["start"], joined["end"]) == (" One two three four", 0.0, 4.0)
    assert "words" not in joined


def test_times_that_words_do_not_fit_into_move_them(call: Call) -> None:
    given = segment(" One two", 1.0, 3.0, words((" One", 1.0, 2.0), (" two", 2.0, 3.0)))
    later = call("withTimes", given, 5.0, 6.0)
    assert [(word["start"], word["end"]) for word in later["words"]] == [(5.0, 5.5), (5.5, 6.0)]
    longer = call("withTimes", given, 0.5, 4.0)
    assert [(word["start"], word["end"]) for word in longer["words"]] == [(0.5, 2.0), (2.0, 4.0)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1:02:03.45", 3723.45),
        ("2:03,5", 123.5),
        ("75", 75.0),
        ("0:00.000", 0.0),
        ("", None),
        ("1:2:3:4", None),
        ("-1", None),
    ],
)
def test_times_as_text(call: Call, text: str, seconds: float | None) -> None:
    found = call("secondsOf", text)
    assert found == seconds if seconds is not None else found != found


def test_times_are_written_as_they_are_read(call: Call) -> None:
    for seconds in (0.0, 59.9996, 61.25, 3599.9999, 3600.0, 36000.125):
        text = call("timeText", seconds)
        assert call("secondsOf", text) == pytest.approx(seconds, abs=5e-4), text


def test_what_is_hard_to_read(call: Call) -> None:
    limits = {"cps": 20, "cps_cjk": 12, "shortest": 0.83}

    def found(text: str, start: float, end: float, following: Any = None) -> list[str]:
        return call("warnings", segment(text, start, end), following, limits)

    assert found(" Twenty characters!!!", 0.0, 1.0) == []
    assert found(" Twenty-one characters", 0.0, 0.9) == ["Fast to read: 23 characters per second, at most 20 are easy."]
    assert found("今天天气很好今天天气很好今", 0.0, 1.0) == [
        "Fast to read: 13 characters per second, at most 12 are easy."
    ]
    assert found(" Oh", 0.0, 0.5) == ["Short: shown for 0.5 seconds."]
    assert found(" Oh dear", 0.0, 1.5, segment(" No", 1.0, 2.0)) == ["Overlaps the next one."]
    assert found(" Oh dear", 0.0, 1.5, segment(" No", 1.0, 2.0, speaker="Ben")) == []


def check(document: dict[str, Any]) -> None:
    """What every transcript must be, whatever a person did to it."""
    assert document["text"] == "".join(each["text"] for each in document["segments"]).strip()
    assert [each["id"] for each in document["segments"]] == list(range(len(document["segments"])))
    for each in document["segments"]:
        assert each["start"] < each["end"]
        if each.get("words"):
            assert "".join(word["word"] for word in each["words"]) == each["text"]
            assert each["words"][0]["start"] >= each["start"] - 1e-9
            assert each["words"][-1]["end"] <= each["end"] + 1e-9
            for word in each["words"]:
                assert word["start"] <= word["end"]
            for before, after in zip(each["words"], each["words"][1:], strict=False):
                assert before["end"] <= after["start"] + 1e-9
    for name in ("srt", "json", "ttml"):
        render(transcript_json.loads(json.dumps(document).encode(), "the page"), name)


def test_whatever_is_changed_the_transcript_stays_whole(call: Call) -> None:
    chooser = random.Random(4)
    vocabulary = ["old", "boat", "the", "river,", "a", "Nobody", "it's", "五", "今天", "naïve"]

    def spoken() -> Any:
        count, at, timed = chooser.randint(1, 6), chooser.uniform(0, 10), []
        for _ in range(count):
            after = at + chooser.choice([0.0, 0.05, 0.3])
            timed.append((f" {chooser.choice(vocabulary)}", round(at, 3), round(after, 3)))
            at = after
        end = max(timed[-1][2], timed[0][1] + 0.2)
        timed[-1] = (timed[-1][0], timed[-1][1], end)
        return segment("".join(word for word, *_ in timed), timed[0][1], end, words(*timed))

    def one(document: dict[str, Any], index: int, name: str, *given: Any) -> Any:
        return call("withSegment", document, index, call(name, document["segments"][index], *given))

    for _ in range(60):
        document = transcript(*(spoken() for _ in range(3)))
        for _ in range(4):
            index = chooser.randrange(len(document["segments"]))
            chosen = document["segments"][index]
            text = " ".join(chooser.choices([*chosen["text"].split(), *vocabulary], k=chooser.randint(1, 8)))
            start = round(chooser.uniform(0, 10), 3)
            document = chooser.choice(
                [
                    lambda d=document, i=index, t=text: one(d, i, "withText", t),
                    lambda d=document, i=index, t=text: call("split", d, i, chooser.randint(0, len(t))),
                    lambda d=document, i=index: call("join", d, i),
                    lambda d=document, i=index, s=start: one(d, i, "withTimes", s, s + chooser.uniform(0.3, 3)),
                ]
            )()
            check(document)
