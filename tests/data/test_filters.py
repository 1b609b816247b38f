"""What each filter drops, and what it must not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from training_data import record

from mtasr.cli import program
from mtasr.data.duplicates import EvaluationOverlap, NearDuplicates, signature, similarity
from mtasr.data.filtering import UNREADABLE, Report, judged, kept
from mtasr.data.filters import TEXT_FILTERS, Filter, without_descriptions
from mtasr.data.records import Caption, Record, write_records
from mtasr.data.speech_found import CaptionsBesideSpeech, audit
from mtasr.data.texts import normalised, word_errors
from mtasr.edit_distance import ErrorCount, edit_distance
from mtasr.errors import AudioDecodeError

GOOD = {
    "en": ("The baker opens at six, as he has done for years.", "Letters come by noon.", "Thank you."),
    "fr": ("Le boulanger ouvre à six heures, comme toujours.", "Les lettres arrivent avant midi.", "Merci."),
    "ru": ("Пекарь открывает в шесть часов, как и всегда.", "Письма приходят до полудня.", "Спасибо."),
    "ja": ("パン屋は六時に開きます。", "手紙は正午までに届きます。", "ありがとう。"),
    "el": ("Ο φούρναρης ανοίγει στις έξι, όπως πάντα.", "Τα γράμματα έρχονται το μεσημέρι."),
}


def first_reason(given_record: Record, filters: Iterable[Filter]) -> str | None:
    return next((reason for each in filters if (reason := each(given_record)) is not None), None)


@pytest.mark.parametrize("language", GOOD)
def test_good_records_stay(language: str) -> None:
    assert first_reason(record(*GOOD[language], language=language), TEXT_FILTERS) is None


@pytest.mark.parametrize("text", ["OK.", "NATO", "Yes", "1984", "Press one.", "...to hear the menu again."])
def test_short_texts_stay(text: str) -> None:
    assert first_reason(record(text), TEXT_FILTERS) is None


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record("...", " "), "no text"),
        (record(*GOOD["en"], language=None), "no language"),
        (record(*(text.upper() for text in GOOD["en"])), "all upper case"),
        (record(*(text.lower() for text in GOOD["ru"] * 2), language="ru"), "all lower case"),
        (record("press three to rerecord your message"), "all lower case"),
        (record("So then she went on to the market and bought " "some bread and letters for her old aunt in Rome too"),
         "no punctuation"),
        (record(*GOOD["en"], language="ru"), "wrong script"),
        (record(*GOOD["ru"], language="en"), "wrong script"),
        (record(*GOOD["fr"], language="en"), "text is in fr"),
        (record(*GOOD["fr"], language="fr", task="translate"), "text is in fr"),
        (record(*GOOD["en"], seconds=0.4, gap=0.0), "too fast"),
        (record("Hm.", "Ah.", seconds=20), "too slow"),
        (record("Good bread today.", "Subtitles by the Baker", "Good letters."), "boilerplate"),
        (record("Visit www.example.org now!"), "boilerplate"),
        (record(*["It is what it is."] * 3, "Bread is warm.", "Letters come."), "repeated lines"),
        (record("And then I said, and then I said, and then I said, and then I said so."), "looping text"),
        (record("Press three to hear it. Press three to hear it."), "written twice"),
    ],
)  # fmt: skip
def test_bad_records_go(bad: Record, reason: str) -> None:
    assert first_reason(bad, TEXT_FILTERS) == reason


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ([(0, 4), (5, 9), (10, 14)], None),
        ([(0, 4), (3.7, 9), (9, 14)], None),
        ([(0, 4), (4, 4), (10, 14)], "captions end before they begin"),
        ([(0, 4), (5, 9), (10, 18)], "captions outlast the recording"),
        ([(5, 9), (0, 4), (10, 14)], "captions out of order"),
        ([(0, 9), (1, 10), (2, 14)], "captions overlap"),
    ],
)
def test_times(spans: list[tuple[float, float]], reason: str | None) -> None:
    captions = tuple(Caption(start=a, end=b, text=text) for (a, b), text in zip(spans, GOOD["en"], strict=True))
    assert first_reason(replace(record(*GOOD["en"]), captions=captions, duration=15.0), TEXT_FILTERS) == reason


def test_translations_of_other_languages_are_english() -> None:
    assert first_reason(record(*GOOD["en"], language="ru", task="translate"), TEXT_FILTERS) is None


def test_descriptions_are_taken_out_and_their_place_is_kept() -> None:
    given_record = record("[door] Come in. (laughs)", "♪ la la ♪", "See www.example.org", "Sit down.", "Well?")
    cleaned = without_descriptions(given_record)
    assert [caption.text for caption in cleaned.captions] == ["Come in.", "", "", "Sit down.", "Well?"]
    assert [caption.start for caption in cleaned.captions] == [caption.start for caption in given_record.captions]


def test_near_duplicates() -> None:
    drop = NearDuplicates()
    first = record("The baker opens at six, as he has done for twenty long years in this town.")
    assert drop(first) is None
    assert drop(first) == "duplicate"
    almost = replace(record("the baker opens at six as he has done for 20 long years, in this town"), audio="/b.wav")
    assert drop(almost) == "near duplicate"
    assert (
        drop(replace(record("The butcher shuts at ten and nobody in the village ever asks him why."), audio="/c"))
        is None
    )
    assert [drop(replace(record("Thank you."), audio=audio)) for audio in "de"] == [None, None]
    assert drop(replace(first, audio="/f.wav", language="fr")) is None


def test_evaluation_data_is_kept_out() -> None:
    drop = EvaluationOverlap([record("Thank you very much.", audio="/eval/1.wav")])
    assert drop(record("thank you, very MUCH", audio="/a.wav")) == "in the evaluation data"
    assert drop(record("Something else.", audio="/eval/1.wav")) == "in the evaluation data"
    assert drop(record("Thank you.", audio="/b.wav")) is None


@given(
    st.lists(st.sampled_from(["bread", "letter", "warm", "noon", "six", "year"]), min_size=4, max_size=30), st.data()
)
def test_the_signature_estimates_what_texts_share(words: list[str], data: st.DataObject) -> None:
    def grams(text: str) -> set[str]:
        return {text[i : i + 5] for i in range(max(1, len(text) - 4))}

    one = " ".join(words)
    other = " ".join(data.draw(st.permutations(words))[: data.draw(st.integers(1, len(words)))])
    true = len(grams(one) & grams(other)) / len(grams(one) | grams(other))
    # 64 draws: five standard deviations.
    assert abs(similarity(signature(one), signature(other)) - true) <= 5 * (true * (1 - true) / 64) ** 0.5 + 1e-9


@pytest.mark.parametrize(
    ("text", "expected"), [("Él dijo: «¡No!»", "el dijo no"), ("नमस्ते, दुनिया", None), ("한국어 2", "한국어 2")]
)
def test_normalised(text: str, expected: str | None) -> None:
    if expected is None:
        assert len(normalised(text).split()) == 2
    else:
        assert normalised(text) == expected


short = st.text("abc", max_size=7)


@given(short, short)
def test_edit_distance_is_the_recursive_one(one: str, other: str) -> None:
    def slow(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    assert edit_distance(one, other) == slow(one, other)


def test_word_errors() -> None:
    assert word_errors("Warm bread, letters.", "warm bread and letter") == ErrorCount(2, 3)
    assert word_errors("", "bread") == ErrorCount(1, 0)
    assert (ErrorCount(1, 2) + ErrorCount(1, 6)).rate == 0.25


CAPTIONED = record(*GOOD["en"])


@pytest.mark.parametrize(
    ("speech", "reason"),
    [
        ([(0.5, 3.4), (4.1, 7.0), (7.6, 10.4)], None),
        ([(0.5, 3.4), (4.1, 7.0), (7.6, 10.4), (12.0, 14.0)], None),
        ([], "nobody speaks"),
        ([(12.0, 22.0)], "speech without captions"),
        ([(0.6, 3.4)], "captions without speech"),
    ],
)
def test_captions_beside_speech(speech: list[tuple[float, float]], reason: str | None) -> None:
    assert CaptionsBesideSpeech(speech=lambda path: speech)(CAPTIONED) == reason


def test_recordings_that_cannot_be_read_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "damaged.wav").write_bytes(b"no sound")
    names = ("damaged.wav", "missing.wav")
    records = [replace(CAPTIONED, id=name, audio=str(tmp_path / name)) for name in names]
    write_records(records, tmp_path / "all.jsonl")
    done = CliRunner().invoke(program, ["data", "filter", str(tmp_path / "all.jsonl"), str(tmp_path / "kept.jsonl")])
    assert done.exit_code == 6, done.output
    assert f"{UNREADABLE} (radio): 2 records" in done.output
    assert (tmp_path / "kept.jsonl").read_text() == ""


def test_repeated_texts_stay_if_asked_for(tmp_path: Path) -> None:
    write_records([CAPTIONED, CAPTIONED], tmp_path / "all.jsonl")
    for option, count in (("--duplicates", 1), ("--no-duplicates", 2)):
        arguments = ["data", "filter", str(tmp_path / "all.jsonl"), str(tmp_path / "kept.jsonl"), "--no-speech", option]
        done = CliRunner().invoke(program, arguments)
        assert done.exit_code == 0, done.output
        assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == count


def test_unknown_words_count_as_captioned() -> None:
    heard = [(0.5, 10.5), (11.0, 60.0)]
    unknown = replace(CAPTIONED, captions=(*CAPTIONED.captions, Caption(start=11.0, end=60.0, text="")))
    listen = CaptionsBesideSpeech(speech=lambda path: heard)
    assert listen(unknown) is None
    assert listen(CAPTIONED) == "speech without captions"


def test_audit_ranks_by_errors_times_hours() -> None:
    good, bad = replace(CAPTIONED, source="good", duration=7200.0), replace(CAPTIONED, source="bad", duration=3600.0)
    damaged = replace(CAPTIONED, source="damaged")
    lines: list[str] = []

    def hear(record: Record) -> str:
        if record.source == "damaged":
            raise AudioDecodeError("it is damaged")
        return record.text if record.source == "good" else "no"

    ranked = audit([good, damaged, bad, good], hear, lines.append)
    assert lines == ["it is damaged"]
    assert [(each.source, each.hours, round(each.errors.rate, 2)) for each in ranked] == [
        ("bad", 1.0, 1.0), ("good", 4.0, 0.0),
    ]  # fmt: skip


def test_the_report_counts_by_reason_and_source(tmp_path: Path) -> None:
    report = Report()
    given_records = [CAPTIONED, record("..."), record("[music]", "(noise) "), record(*GOOD["ru"], language="en")]
    assert list(kept(judged(given_records, TEXT_FILTERS), report)) == [CAPTIONED]
    assert {key: tally.records for key, tally in report.dropped.items()} == {
        ("no text", "radio"): 1, ("nothing but descriptions", "radio"): 1, ("wrong script", "radio"): 1,
    }  # fmt: skip
    assert report.to_json()["kept"] == [
        {"source": "radio", "records": 1, "seconds": 11.0, "examples": [f"talk: {CAPTIONED.text[:80]}"]}
    ]
    assert next(report.lines()) == "kept: 1 record, 0.2 minutes"


def test_records_are_judged_in_any_groups_with_the_same_verdicts() -> None:
    """So that other machines can judge some of them, and repeated texts are found afterwards, in order."""
    texts = (
        GOOD["en"][0],
        "Letters always arrive before noon in our village.",
        "Tomorrow the shop stays closed all day.",
    )
    records = [record(texts[n % 3], id=f"n{n}", audio=f"/{n}.wav") for n in range(150)]
    records[3] = record("THIS IS ALL IN ONE CASE, SAID THE BAKER.", id="loud", audio="/loud.wav")
    together = list(judged(records, TEXT_FILTERS))
    assert together == [verdict for each in records for verdict in judged([each], TEXT_FILTERS)]
    one, other = Report(), Report()
    found = list(kept(together, one, [NearDuplicates()]))
    assert found == list(kept(judged(records, [*TEXT_FILTERS, NearDuplicates()]), other))
    assert one == other
    assert "loud" not in {each.id for each in found}
    assert [each.id for each in found] == ["n0", "n1", "n2"]
