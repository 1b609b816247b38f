"""What a recording tells without being decoded, and some of its windows decoded later."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from elsewhere import HERE, TALK, Breaking, another, sent
from hostile_server import HostileServer, Page
from speech import write_wav

from mtasr.arrays import Float32Array
from mtasr.decoding.submission import DecodedWindow, PlacedResult
from mtasr.decoding.windows import Place, WindowOutline
from mtasr.engines.engine import LanguageGuess
from mtasr.errors import AudioDecodeError, InputError, InputNotFoundError
from mtasr.spans import SAMPLE_RATE

pytestmark = pytest.mark.timeout(60)


class Notebook:
    """Notes of one channel."""

    def __init__(self) -> None:
        self.judgement: list[LanguageGuess] | None = None
        self.results: dict[Place, DecodedWindow] = {}

    @property
    def has_results(self) -> bool:
        return bool(self.results)

    may_have_results = has_results

    def guesses(self) -> list[LanguageGuess] | None:
        return self.judgement

    def result(self, place: Place) -> DecodedWindow | None:
        return self.results.get(place)

    def note_guesses(self, guesses: Sequence[LanguageGuess]) -> None:
        assert not self.results
        self.judgement = list(guesses)

    def note_result(self, place: Place, result: DecodedWindow) -> None:
        self.results[place] = result


def test_a_whole_recording_fills_the_notes() -> None:
    expected, found = Notebook(), Notebook()
    with HERE.stream_all([TALK], notes=[lambda channel: expected]) as streams:
        streams[0].transcript()
    (decoded,) = another().decode_all([TALK])
    decoded.note(lambda channel: found)
    assert (found.judgement, found.results) == (expected.judgement, expected.results)
    assert 1 <= len(found.results) <= 5, "what is drawn is not noted"

    model = another()
    decoded_before = len(model.engine.generated)
    (again,) = model.decode_all([TALK], notes=[lambda channel: found])
    repeated = {heard.loudest for heard, _ in model.engine.generated[decoded_before:]}
    assert len(repeated) == len(again.results[0]) - len(found.results), "only what is drawn is decoded again"
    assert [each.result for each in again.results[0]] == [each.result for each in decoded.results[0]]
    news = Notebook()
    again.note(lambda channel: news)
    assert not news.results


@pytest.mark.parametrize("begun", [False, True])
def test_closing_ends_all_threads(begun: bool) -> None:
    before = set(threading.enumerate())
    survey = HERE.survey(TALK)
    for model in (another(), another()):
        for some in (
            model.decode_all([TALK, TALK]),
            model.decode_windows(TALK, survey.channels[0].outlines, language="en"),
        ):
            if begun:
                next(some)
            some.close()
            assert list(some) == []
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()


def test_a_survey_tells_of_windows_while_it_reads() -> None:
    told: list[tuple[int, str, int, int]] = []
    read = 0

    class Read:
        def __iter__(self) -> Iterator[Float32Array]:
            nonlocal read
            for start in range(0, len(TALK), 4000):
                read += 4000
                yield TALK[start : start + 4000]

    outlines: list[WindowOutline] = []

    def found(channel: int, spoken: str, some: Sequence[WindowOutline]) -> None:
        told.append((channel, spoken, len(some), read))
        outlines.extend(some)

    survey = HERE.survey(Read(), found=found)
    (channel,) = survey.channels
    assert tuple(outlines) == channel.outlines
    assert [each.first for each in outlines] == [True, *[False] * 6]
    assert [count for _, _, count, _ in told] == [3, 1, 1, 1, 1], "three are needed to judge the language"
    assert {spoken for _, spoken, _, _ in told} == {channel.spoken}
    assert told[0][3] < 2 * len(TALK) / 3
    told.clear()
    HERE.survey(Read(), found=found, language="fr")
    assert {(spoken, count) for _, spoken, count, _ in told} == {("fr", 1)}


def test_windows_are_read_no_further_than_they_go() -> None:
    outlines = HERE.survey(TALK).channels[0].outlines
    second = outlines[1].place
    broken = Breaking(TALK, (second.start + second.samples) / SAMPLE_RATE + 0.3, InputError("broken"))
    assert len(list(another().decode_windows(broken, outlines[:2], language="en", draws=True))) == 2
    with pytest.raises(InputError, match="broken"):
        list(another().decode_windows(broken, outlines[:3], language="en"))


def test_a_recording_that_has_become_shorter() -> None:
    outlines = HERE.survey(TALK).channels[0].outlines
    windows = another().decode_windows(TALK[: 12 * SAMPLE_RATE], outlines, language="en", draws=True)
    assert next(windows).place == outlines[0].place
    with pytest.raises(InputError, match=r"the recording ends at 12\.0 s and was longer when its windows were cut"):
        list(windows)


def test_windows_of_two_versions_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_wav(path, TALK)
    survey = sent(HERE.survey(path))
    (channel,) = survey.channels
    assert survey.version is not None

    def placed() -> list[PlacedResult]:
        how: dict[str, Any] = {"language": channel.spoken, "version": survey.version, "draws": True}
        with another().decode_windows(path, channel.outlines, **how) as windows:
            return list(windows)

    expected = placed()
    path.chmod(0o600)
    os.link(path, tmp_path / "b.wav")
    assert placed() == expected
    modified = path.stat().st_mtime_ns
    write_wav(path, TALK[::-1])
    os.utime(path, ns=(modified, modified + 1_000_000))
    with pytest.raises(InputError, match=r"a\.wav: has changed since its windows were cut"):
        placed()
    write_wav(path, TALK)
    os.utime(path, ns=(modified, modified))
    assert placed() == expected
    path.unlink()
    with pytest.raises(InputNotFoundError, match=r"a\.wav: no such file"):
        placed()
    assert HERE.survey(TALK).version is None


def test_the_version_of_a_url_is_what_its_server_states(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_wav(path, TALK)
    page = Page(path.read_bytes())
    with contextlib.closing(HostileServer()) as server:
        url = server.put("a.wav", page) + "?signature=secret"
        survey = HERE.survey(url)
        (channel,) = survey.channels
        how: dict[str, Any] = {"language": channel.spoken, "version": survey.version, "draws": True}
        assert len(list(another().decode_windows(url, channel.outlines, **how))) == 7
        page.headers = {"ETag": '"two"'}
        with pytest.raises(InputError, match=r"a\.wav: has changed since its windows were cut") as caught:
            list(another().decode_windows(url, channel.outlines, **how))
        assert "secret" not in str(caught.value)
        page.headers = {}
        assert HERE.survey(url).version is None


def test_errors_travel_whole() -> None:
    error = AudioDecodeError("a.mp3: broken", ("line 1", "line 2"))
    survey = sent(HERE.survey(Breaking(TALK, 9.0, error)))
    (channel,) = survey.channels
    assert isinstance(channel.error, AudioDecodeError)
    assert (str(channel.error), channel.error.details) == ("a.mp3: broken", error.details)
    assert channel.samples == 9 * SAMPLE_RATE
    assert len(channel.outlines) == 2
    assert sent(HERE.survey(TALK)) == HERE.survey(TALK)
