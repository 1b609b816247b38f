"""Evaluations of clips whose manifest says who speaks when, who says what, or both."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fake_diarizer import FakeDiarizer
from tones import make_tone

from mtasr.errors import UsageError
from mtasr.evaluation import MEASURES, Clip, Evaluation, Measure, evaluate, write_page
from mtasr.evaluation.run import needs_model
from mtasr.options import DecodingOptions
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Segment, Transcript, Turn

ANNA, BEN = "Speaker 1", "Speaker 2"


def turn(start: float, end: float, speaker: str) -> Turn:
    return Turn(start=start, end=end, speaker=speaker)


def said(start: float, end: float, speaker: str, text: str) -> Segment:
    return Segment(
        id=0, start=start, end=end, text=text, tokens=(), avg_logprob=0.0, compression_ratio=1.0, no_speech_prob=0.0,
        temperature=0.0, speaker=speaker,
    )  # fmt: skip


#: Ten seconds: "well" is given to the wrong speaker, "I went home" begins a second late, and "ja" is nobody's.
SEGMENTS = (
    said(0, 4, ANNA, " Where were you then?"),
    said(4, 5, ANNA, " Well,"),
    said(5, 8, BEN, " I went home."),
)
TURNS = (turn(0, 5, ANNA), turn(5, 8, BEN))
CLIP = Clip(
    audio=Path("talk.wav"),
    text="Where were you then? Well, I went home. Ja.",
    language="en",
    speaker_texts=("Where were you then? Ja.", "Well, I went home."),
    turns=(turn(0, 4, "anna"), turn(4, 8, "ben"), turn(8, 9, "anna")),
)


@dataclass
class Model:
    calls: list[tuple[tuple[str, ...], bool | SpeakerOptions]] = field(default_factory=list)

    @contextlib.contextmanager
    def stream_all(
        self, sources: Sequence[Path], options: DecodingOptions, *, diarize: bool | SpeakerOptions
    ) -> Iterator[list[Stream]]:
        self.calls.append((tuple(source.name for source in sources), diarize))
        yield [Stream(bool(diarize)) for _ in sources]


@dataclass
class Stream(contextlib.AbstractContextManager["Stream"]):
    has_speakers: bool

    def __exit__(self, *error: object) -> None:
        pass

    def transcript(self) -> Transcript:
        transcript = Transcript(language="en", language_probability=1.0, duration=10.0, segments=SEGMENTS, turns=TURNS)
        if self.has_speakers:
            return transcript
        return replace(transcript, turns=None, segments=tuple(replace(each, speaker=None) for each in SEGMENTS))


def run(
    clips: Sequence[Clip], measures: Sequence[Measure] = ("transcription", "speakers"), **settings: Any
) -> tuple[Evaluation, Model]:
    model = Model()
    return evaluate(model, clips, DecodingOptions(), measures, **settings), model  # type: ignore[arg-type]


def test_words_and_turns() -> None:
    found, model = run([CLIP])
    assert model.calls == [(("talk.wav",), SpeakerOptions())]
    values = {name: getattr(found.total, name).value for name in ("wer", "cpwer", "der", "jer")}
    # 9 words, "ja" is missed, and "well" counts twice more: added to one speaker and missing from the other.
    # 9 seconds: one missed and one confused. Of Anna 4 seconds are right of 6, of Ben 3 of 4.
    assert values == pytest.approx({"wer": 1 / 9, "cpwer": 2 / 9, "der": 2 / 9, "jer": 1 - (4 / 6 + 3 / 4) / 2})
    parts = (found.total.missed_speech, found.total.false_alarm, found.total.confusion)
    assert [part and part.value for part in parts] == pytest.approx([1 / 9, 0, 1 / 9])
    assert found.total.speaker_count_error is not None
    assert found.total.speaker_count_error.value == 0
    assert found.total.speaker_count_accuracy is not None
    assert found.total.speaker_count_accuracy.value == 1


def test_clips_without_speakers_are_transcribed_without_them() -> None:
    plain = Clip(audio=Path("plain.wav"), text=CLIP.text, language="en")
    found, model = run([plain, CLIP])
    assert model.calls == [(("plain.wav",), False), (("talk.wav",), SpeakerOptions())]
    assert [result.turns for result in found.results] == [None, TURNS]
    _, model = run([plain, CLIP], ["transcription"])
    assert model.calls == [(("plain.wav", "talk.wav"), False)]


def test_speakers_of_texts_alone() -> None:
    three = replace(CLIP, turns=None, speaker_texts=("Where were you then?", "Well, I went home.", "Ja."))
    found, _ = run([CLIP, three], ["speakers"], speakers=SpeakerOptions(max_speakers=2))
    assert found.total.wer is None
    assert found.results[1].diarization is None
    assert found.results[1].speaker_counts == (3, 2)
    assert found.total.speaker_count_error is not None
    assert found.total.speaker_count_error.value == 0.5
    assert found.total.cpwer is not None
    assert found.total.cpwer.value == pytest.approx((2 + 3) / 18)


def test_only_turns_need_no_model(tmp_path: Path) -> None:
    clip = Clip(audio=make_tone(tmp_path / "a.wav", seconds=2), turns=CLIP.turns)
    diarizer, chosen = FakeDiarizer(TURNS), SpeakerOptions(num_speakers=2)
    assert not needs_model([clip], ["transcription", "speakers"])
    found = evaluate(None, [clip], DecodingOptions(), speakers=chosen, diarizer=diarizer.load)
    assert (diarizer.samples, diarizer.options) == (32_000, [chosen])
    assert found.total.der is not None
    assert found.total.der.value == pytest.approx(2 / 9)
    assert (found.total.wer, found.total.cpwer) == (None, None)
    assert found.total.audio == 2.0
    assert found.total.real_time_factor is not None


def test_a_recording_that_cannot_be_heard_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(b"noise")
    clips = [
        Clip(audio=path, turns=CLIP.turns)
        for path in (make_tone(tmp_path / "a.wav", seconds=1), tmp_path / "b.wav")
    ]  # fmt: skip
    found = evaluate(None, clips, DecodingOptions(), MEASURES, diarizer=FakeDiarizer(TURNS).load)
    assert [len(result.failures) for result in found.results] == [0, 1]
    assert found.total.clips == 1
    assert found.total.der is not None
    assert found.total.der.value == pytest.approx(2 / 9)


def test_nobody_is_found_and_nobody_speaks(tmp_path: Path) -> None:
    silent = Clip(audio=make_tone(tmp_path / "a.wav", seconds=1), turns=())
    talk = replace(silent, turns=CLIP.turns)
    found = evaluate(None, [silent, talk], DecodingOptions(), diarizer=FakeDiarizer().load)
    assert found.total.der is not None
    assert (found.total.der.value, found.total.jer and found.total.jer.value) == (1, 1)
    assert [result.speaker_counts for result in found.results] == [(0, 0), (2, 0)]
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("collar", [-1.0, float("nan"), float("inf")])
def test_a_collar_is_a_number_of_seconds(collar: float) -> None:
    with pytest.raises(UsageError, match="collar must be a number of seconds"):
        run([CLIP], collar=collar)


def test_a_collar_reaches_the_errors() -> None:
    found, _ = run([CLIP], collar=0.5)
    assert found.results[0].diarization is not None
    # Half a second around 0, 4, 8 and 9 does not count: nothing of the last second, and 0.5 seconds of 4-5.
    assert found.results[0].diarization.speech == pytest.approx(3 + 3)
    assert found.results[0].diarization.seconds == pytest.approx(0.5)


def test_json_and_page() -> None:
    found, _ = run([CLIP, replace(CLIP, audio=Path("a<b.wav"), turns=TURNS, speaker_texts=None)])
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["total"]["der"] == pytest.approx(2 / 17)
    assert len(document["total"]["der_interval"]) == 2
    first, second = document["clips"]
    wanted = {"speakers": 2, "speakers_found": 2, "speaker_words": 9, "speaker_word_errors": 2, "speech_seconds": 9.0}
    wanted |= {"missed_seconds": 1.0, "false_alarm_seconds": 0.0, "confusion_seconds": 1.0}
    assert wanted.items() <= first.items()
    assert first["turns"][1] == {"start": 5, "end": 8, "speaker": BEN}
    assert (second["der"], "speaker_words" in second) == (0, False)
    stream = io.StringIO()
    write_page(found, "talks", stream)
    page = stream.getvalue()
    assert "<th>cpWER</th>" in page
    assert "<h2>Who speaks when</h2>" in page
    cells = ("talk.wav", "2.0", "22.2 %", "11.1 %", "0.0 %", "11.1 %", "29.2 %", "22.2 %", "2 of 2")
    assert f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" in page
    assert "a<b" not in page


def test_clips_with_the_most_errors_of_speakers_first() -> None:
    better = replace(CLIP, audio=Path("better.wav"), turns=(turn(0, 5, "anna"), turn(5, 9, "ben")))
    right = replace(CLIP, audio=Path("right.wav"), turns=TURNS, speaker_texts=None)
    found, _ = run([right, better, CLIP])
    assert [result.clip.audio.name for result in found.worst_speakers(10)] == ["talk.wav", "better.wav"]
    assert len(found.worst_speakers(1)) == 1
    assert found.counts_seconds
    assert [result.speaker_errors for result in found.worst_speakers(10)] == [(2.0, 2, 0), (1.0, 2, 0)]


def test_names_are_without_the_folders_that_all_share() -> None:
    def names(*paths: str) -> list[str]:
        found, _ = run([replace(CLIP, audio=Path(path)) for path in paths])
        return [found.name(result) for result in found.results]

    assert names("/a/b/c.wav", "/a/b/d.wav") == ["c.wav", "d.wav"]
    assert names("/a/b/c.wav", "/a/bb/c.wav") == ["b/c.wav", "bb/c.wav"]
    assert names("a/c.wav", "c.wav", "/c.wav") == ["a/c.wav", "c.wav", "/c.wav"]
    assert names("../a/c.wav") == ["c.wav"]


def test_an_unknown_language_alone_is_the_total() -> None:
    unknown, known = replace(CLIP, language=None), CLIP
    assert run([unknown])[0].by_language == {}
    assert list(run([unknown, known])[0].by_language) == ["?", "en"]
    assert list(run([known])[0].by_language) == ["en"]
