"""What `mtasr transcribe` writes and prints, with a fake model behind it."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from fake_model import FakeModel, Run, segment

from mtasr.audio.tracks import Tracks
from mtasr.errors import AudioDecodeError, ModelNotFoundError, OutputError
from mtasr.formats.registry import OUTPUT_FORMATS, OutputFormat
from mtasr.transcript import Coverage, Word


def test_text_alone_on_stdout(run: Run, folder: Path) -> None:
    result = run("transcribe", "a.wav", "c d.wav")
    assert result.exit_code == 0
    assert result.stdout == "Hello there.\nHow are you?\n" * 2
    assert "--model large-v3-turbo" in result.stderr
    assert "a.wav: detected language French (fr, 75%)\n" in result.stderr
    assert "wrote c d.srt\n" in result.stderr
    assert (folder / "a.srt").read_bytes().startswith(b"1\n00:00:00,000 --> 00:00:04,000\nHello there. How are you?\n")


def test_raw_subtitles_are_the_segments(run: Run, folder: Path) -> None:
    assert run("transcribe", "a.wav", "--subtitle-style", "raw").exit_code == 0
    assert (folder / "a.srt").read_bytes().startswith(b"1\n00:00:00,000 --> 00:00:02,000\nHello there.\n")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), True),
        (("-f", "vtt", "-f", "json"), True),
        (("-f", "all"), True),
        (("-f", "json,srt"), True),
        (("-f", "json, txt"), False),
        (("-f", "json", "-f", "txt"), False),
        (("--subtitle-style", "raw"), False),
        (("--subtitle-style", "social"), True),
        (("--no-word-timestamps",), False),
        (("--word_timestamps", "False"), False),
        (("--task", "translate"), False),
        (("--also-translate",), True),
        (("--task", "translate", "--word-timestamps"), True),
        (("--subtitle-style", "raw", "--word-timestamps"), True),
    ],
    ids=str,
)
def test_laid_out_subtitles_follow_word_times(
    run: Run, model: FakeModel, args: tuple[str, ...], expected: bool
) -> None:
    assert run("transcribe", "a.wav", *args).exit_code == 0
    [(_, options)] = model.calls
    assert options.word_timestamps is expected


def test_limits_of_lines(run: Run, model: FakeModel, folder: Path) -> None:
    model.texts = [" one two three four five six."]
    args = ("--max_line_width", "11", "--max_line_count", "3", "--max_words_per_line", "2", "--max_cps", "50")
    assert run("transcribe", "a.wav", *args).exit_code == 0
    assert (folder / "a.srt").read_text("utf-8").split("\n")[2:5] == ["one two", "three four", "five six."]
    bad = run("transcribe", "a.wav", "--subtitle-style", "raw", "--max_line_width", "30")
    assert (bad.exit_code, bad.stderr) == (
        2,
        "mtasr: error: --max-line-width needs a --subtitle-style other than raw\n",
    )


def test_broken_subtitle_rules_are_reported_with_reasons(run: Run, model: FakeModel) -> None:
    model.texts = [" Somebody is speaking much faster than anybody could possibly read along."]
    result = run("transcribe", "a.wav")
    reason = "more speech follows, the recording ends, or the maximum duration is reached"
    assert f"a.wav: subtitles break rules of the style: reading speed of 1 ({reason})\n" in result.stderr


def test_one_model_for_all_files(run: Run, model: FakeModel) -> None:
    run("transcribe", "a.wav", "b.mp3", "c d.wav")
    assert len(model.loads) == 1
    assert len(model.calls) == 3


def test_formats(run: Run, folder: Path) -> None:
    args = ("-f", "json", "--output_format", "vtt", "-f", "json", "--output_dir", "new/out")
    assert run("transcribe", "a.wav", *args).exit_code == 0
    assert sorted(path.name for path in (folder / "new/out").iterdir()) == ["a.json", "a.vtt"]
    assert json.loads((folder / "new/out/a.json").read_text("utf-8"))["language"] == "fr"
    assert run("transcribe", "a.wav", "-f", "all", "-o", "all").exit_code == 0
    assert sorted(path.suffix for path in (folder / "all").iterdir()) == sorted(f".{form}" for form in OUTPUT_FORMATS)


def test_quiet(run: Run, folder: Path) -> None:
    result = run("transcribe", "--quiet", "a.wav")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert (folder / "a.srt").exists()
    assert run("transcribe", "-q", "no.wav").stderr == "mtasr: error: no.wav: no such file\n"


def test_verbose_false_prints_no_text(run: Run) -> None:
    result = run("transcribe", "--verbose", "False", "a.wav")
    assert result.stdout == ""
    assert "wrote a.srt" in result.stderr


def test_notes_about_model_and_language_only_when_not_given(run: Run) -> None:
    result = run("transcribe", "--model", "tiny", "--language", "fr", "a.wav")
    assert "large-v3-turbo" not in result.stderr
    assert "detected" not in result.stderr


def test_larger_models_are_recommended_at_the_first_use_alone(run: Run) -> None:
    assert "--model large-v3-turbo" in run("transcribe", "a.wav").stderr
    assert run("transcribe", "a.wav", "-q").stderr == ""
    Path(os.environ["MTASR_CACHE"], "base@0123456789ab").mkdir()
    assert "--model" not in run("transcribe", "a.wav").stderr


def test_warnings_are_notes(run: Run, model: FakeModel) -> None:
    model.warnings = ("the file breaks off",)
    assert "warning: the file breaks off\n" in run("transcribe", "a.wav").stderr


def test_standard_input(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.audio.read.check_input", lambda source: None)
    assert run("transcribe", "-").exit_code == 0
    assert (folder / "stdin.srt").exists()


def test_colliding_names_are_refused_before_any_work(run: Run, folder: Path, model: FakeModel) -> None:
    (folder / "b").mkdir()
    (folder / "b" / "a.mp3").write_bytes(b"sound")
    result = run("transcribe", "a.wav", "b/a.mp3")
    assert result.exit_code == 2
    assert result.stderr.startswith("mtasr: error: a.wav and b/a.mp3 would both be written to a.srt")
    assert not model.loads


def test_an_input_is_never_overwritten(run: Run, folder: Path, model: FakeModel) -> None:
    (folder / "a.srt").hardlink_to(folder / "a.wav")
    result = run("transcribe", "a.wav")
    assert result.exit_code == 2
    assert not model.loads
    assert (folder / "a.wav").read_bytes() == b"sound"


def test_a_batch_goes_on_after_a_failure(run: Run, folder: Path, model: FakeModel) -> None:
    model.errors = {"b.mp3": AudioDecodeError("b.mp3: it is noise", ("ffmpeg said so",))}
    result = run("transcribe", "missing.wav", "a.wav", "b.mp3", "c d.wav")
    assert result.exit_code == 6
    errors = [line for line in result.stderr.splitlines() if line.startswith("mtasr: error")]
    assert errors == ["mtasr: error: missing.wav: no such file", "mtasr: error: b.mp3: it is noise"]
    assert sorted(path.name for path in folder.glob("*.srt")) == ["a.srt", "c d.srt"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(AudioDecodeError("a.wav: noise"), 3), (OutputError("a.srt: full"), 4), (ModelNotFoundError("gone"), 5)],
)
def test_one_file_fails_with_its_own_code(run: Run, model: FakeModel, error: Exception, code: int) -> None:
    model.errors = {"a.wav": error}
    result = run("transcribe", "-q", "a.wav")
    assert result.exit_code == code
    assert result.stderr in (f"mtasr: error: {error}\n", f"mtasr: error: a.wav: {error}\n")


def test_a_model_that_cannot_be_had(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_model(name: str, **settings: object) -> None:
        raise ModelNotFoundError(f"no model {name!r}")

    monkeypatch.setattr("mtasr.transcribe.load_model", load_model)
    result = run("transcribe", "--model", "x", "a.wav", "b.mp3")
    assert (result.exit_code, result.stderr) == (5, "mtasr: error: no model 'x'\n")


def test_an_output_folder_that_cannot_be_made(run: Run, model: FakeModel) -> None:
    result = run("transcribe", "a.wav", "-o", "b.mp3/out")
    assert result.exit_code == 4
    assert result.stderr.startswith("mtasr: error: b.mp3/out: cannot write here")
    assert not model.loads


def test_seconds_by_stage(run: Run, folder: Path, model: FakeModel) -> None:
    assert run("transcribe", "a.wav", "--timings", "new/t.json").exit_code == 0
    assert json.loads((folder / "new" / "t.json").read_text()) == {"decode": 0.5}
    model.loads.clear()
    for name, code, message in (
        ("/proc/none/t.json", 4, "/proc/none: cannot write here"),
        ("a.wav", 2, "a.wav: would be"),
    ):
        result = run("transcribe", "a.wav", "--timings", name)
        assert (result.exit_code, model.loads) == (code, [])
        assert result.stderr.startswith(f"mtasr: error: {message}")


def test_an_output_that_is_a_folder(run: Run, folder: Path, model: FakeModel) -> None:
    (folder / "a.srt").mkdir()
    result = run("transcribe", "a.wav")
    assert (result.exit_code, result.stderr) == (4, "mtasr: error: a.srt: is a folder\n")
    assert not model.loads


def test_nothing_partial_is_left(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(transcript: object, stream: object, style: object) -> None:
        raise OSError(28, "No space left on device")

    (folder / "a.srt").write_text("before")
    monkeypatch.setitem(OUTPUT_FORMATS, "srt", OutputFormat(fail))
    result = run("transcribe", "-q", "a.wav")
    assert (result.exit_code, result.stderr) == (4, "mtasr: error: a.srt: No space left on device\n")
    assert (folder / "a.srt").read_text() == "before"
    assert sorted(path.name for path in folder.iterdir()) == ["a.srt", "a.wav", "b.mp3", "c d.wav"]


def test_a_bug_is_one_line_and_with_debug_a_traceback(run: Run, model: FakeModel) -> None:
    model.errors = {"a.wav": ZeroDivisionError("oh\nno")}
    result = run("transcribe", "-q", "a.wav")
    assert result.exit_code == 1
    assert result.stderr == (
        "mtasr: error: a.wav: this is a bug in mtasr: ZeroDivisionError: oh\\nno; "
        "run it again with --debug to see where\n"
    )
    for args in (["transcribe", "-q", "a.wav", "--debug"], ["--debug", "transcribe", "-q", "a.wav"]):
        assert "Traceback" in run(*args).stderr


def test_debug_shows_what_ffmpeg_said(run: Run, model: FakeModel) -> None:
    model.errors = {"a.wav": AudioDecodeError("a.wav: noise", ("Invalid data\x1b[2J",))}
    assert "\nInvalid data\\x1b[2J\n" in run("transcribe", "-q", "--debug", "a.wav").stderr


@pytest.mark.parametrize("name", ["new\nline.wav", "esc\x1b[2J.wav", "right\u202eto left.wav", "bytes\udcff.wav"])
def test_a_file_name_stays_on_its_line(run: Run, folder: Path, name: str) -> None:
    missing = run("transcribe", name)
    assert missing.exit_code == 3
    assert missing.stderr.count("\n") == 1
    (folder / name).write_bytes(b"sound")
    result = run("transcribe", name)
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 3
    assert not {"\x1b", "\u202e", "\udcff"} & set(result.stderr)
    assert len(list(folder.glob("*.srt"))) == 1


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a.wav", "No such command 'a.wav'; did you mean: mtasr transcribe a.wav"),
        ("c d.wav", "No such command 'c d.wav'; did you mean: mtasr transcribe 'c d.wav'"),
        ("trancribe", "No such command 'trancribe'; did you mean: mtasr transcribe"),
        ("Detect_langauge", "No such command 'Detect_langauge'; did you mean: mtasr detect-language"),
        ("zzz", "No such command 'zzz'"),
        ("--modles", "No such option '--modles'"),
    ],
)
def test_what_is_no_command(run: Run, word: str, message: str) -> None:
    result = run(word, "a.wav")
    assert (result.exit_code, result.stderr) == (2, f"mtasr: error: {message} (see `mtasr --help`)\n")


def test_a_suggested_command_names_the_file_as_it_is(run: Run, folder: Path) -> None:
    (folder / "a  b .wav").write_bytes(b"sound")
    expected = "No such command 'a  b .wav'; did you mean: mtasr transcribe 'a  b .wav' (see `mtasr --help`)"
    assert run("a  b .wav").stderr == f"mtasr: error: {expected}\n"


def test_detect_language(run: Run, model: FakeModel) -> None:
    result = run("detect_language", "a.wav", "--top", "2")
    assert result.exit_code == 0
    assert result.stdout == "a.wav\tfr\tFrench\t0.750000\na.wav\thaw\tHawaiian\t0.200000\n"
    model.errors = {"a.wav": AudioDecodeError("a.wav: noise")}
    result = run("detect-language", "-q", "a.wav", "b.mp3")
    assert result.exit_code == 6
    assert result.stdout.startswith("b.mp3\tfr\tFrench\t0.75")
    assert result.stderr == "mtasr: error: a.wav: noise\n"


def test_all_files_failing_alike_give_their_own_code(run: Run, model: FakeModel) -> None:
    assert run("transcribe", "no.wav", "nor.wav").exit_code == 3
    assert model.loads == []


def test_a_file_given_twice_is_transcribed_once(run: Run, model: FakeModel) -> None:
    assert run("transcribe", "a.wav", "./a.wav").exit_code == 0
    assert [source for source, _ in model.calls] == ["a.wav"]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["translate", "--model", "turbo"], "large-v3-turbo was not trained to translate"),
        (["translate", "--model", "distil-large-v3"], "not trained to translate"),
        (["transcribe", "--model", "distil-large-v3", "--language", "fr"], "English-only and does not know 'fr'"),
        (["transcribe", "--model", "base.en", "--language", "fr"], "English-only and does not know 'fr'"),
    ],
)
def test_what_a_model_never_learnt_is_refused_before_it_is_loaded(
    run: Run, model: FakeModel, args: list[str], reason: str
) -> None:
    result = run(*args, "a.wav")
    assert result.exit_code == 2
    assert reason in result.stderr
    assert model.loads == []


def test_translating_recommends_a_model_that_can(run: Run) -> None:
    assert "--model medium" in run("translate", "a.wav").stderr


def test_names_too_long_are_no_bugs(run: Run, folder: Path) -> None:
    assert run("x" * 300).exit_code == 2
    long = "x" * 251 + ".mp3"
    (folder / long).write_bytes(b"sound")
    result = run("transcribe", long, "-f", "json")
    assert result.exit_code == 4
    assert "File name too long" in result.stderr


def test_an_output_folder_that_is_a_file(run: Run) -> None:
    assert "a.wav: is a file, not a folder" in run("transcribe", "b.mp3", "-o", "a.wav").stderr


def test_doubtful_places_are_a_warning_and_with_strict_an_exit_code(run: Run, folder: Path, model: FakeModel) -> None:
    gaps = tuple((10.0 * number, 10.0 * number + 2.5) for number in range(7))
    model.coverage = Coverage(speech=60.0, speech_without_text=gaps, text_without_speech=((1.0, 2.0),))
    result = run("transcribe", "a.wav", "-f", "json")
    assert result.exit_code == 0
    (warning,) = [line for line in result.stderr.splitlines() if "warning" in line]
    assert warning.startswith("warning: a.wav: speech without text at 00:00.000-00:02.500, 00:10.000-00:12.500")
    assert warning.endswith("00:40.000-00:42.500 and 2 more; text without speech at 00:01.000-00:02.000")
    written = json.loads((folder / "a.json").read_text())
    assert written["coverage"]["speech_without_text"] == [list(gap) for gap in gaps]
    assert run("transcribe", "a.wav", "--strict").exit_code == 6
    model.coverage = Coverage(speech=60.0)
    result = run("transcribe", "a.wav", "--strict")
    assert (result.exit_code, "warning" in result.stderr) == (0, False)


def test_languages_to_choose_from(run: Run, model: FakeModel) -> None:
    assert run("transcribe", "a.wav", "--languages", "en,French", "--multilingual", "True").exit_code == 0
    options = model.calls[0][1]
    assert (options.languages, options.multilingual) == (("en", "fr"), True)
    result = run("transcribe", "a.wav", "--languages", "en,klingon")
    assert result.exit_code == 2
    assert result.stderr.startswith("mtasr: error: Invalid value for '--languages': unknown language 'klingon'")
    assert result.stderr.count("\n") == 1


def test_silence_is_said(run: Run, model: FakeModel) -> None:
    model.texts = []
    assert "a.wav: no speech found; " in run("transcribe", "a.wav").stderr


def test_detect_one_of_some_languages(run: Run) -> None:
    result = run("detect-language", "a.wav", "--languages", "en,Hawaiian")
    assert [line.split("\t")[1] for line in result.stdout.splitlines()] == ["haw", "en"]


def test_clips(run: Run, model: FakeModel) -> None:
    assert run("transcribe", "a.wav", "--clip_timestamps", "1.5,3,10").exit_code == 0
    assert run("transcribe", "a.wav").exit_code == 0
    assert [options.clip_timestamps for _, options in model.calls] == [(1.5, 3.0, 10.0), ()]
    for wrong in ("3,1", "-1,2", "a,b", "nan"):
        assert run("transcribe", "a.wav", f"--clip-timestamps={wrong}").exit_code == 2


@pytest.mark.parametrize("asked", [["--also-translate"], ["--task", "transcribe,translate"]])
def test_both_at_once(run: Run, folder: Path, asked: list[str]) -> None:
    result = run("transcribe", "a.wav", *asked, "--output-format", "txt")
    assert result.exit_code == 0
    assert result.stdout == "Hello there.\nHow are you?\n", "the transcript alone"
    assert (folder / "a.txt").read_text() == result.stdout
    assert (folder / "a.en.txt").read_text() == "English: Hello there.\nEnglish: How are you?\n"
    assert "wrote a.txt, a.en.txt" in result.stderr


def test_a_translation_does_not_take_the_name_of_another_result(run: Run, folder: Path, model: FakeModel) -> None:
    (folder / "a.en.wav").write_bytes(b"x")
    result = run("transcribe", "a.wav", "a.en.wav", "--also-translate")
    assert (result.exit_code, model.loads) == (2, [])
    assert "a.wav and a.en.wav would both be written to a.en.srt" in result.stderr


def test_seeds_readings_and_prefix(run: Run, model: FakeModel) -> None:
    assert (
        run("transcribe", "a.wav", "--seed", "5", "--n-best", "3", "--prefix", "Dear all", "-f", "json").exit_code == 0
    )
    options = model.calls[0][1]
    assert (options.seed, options.n_best, options.prefix) == (5, 3, "Dear all")
    for wrong in (["--seed", "-1"], ["--n-best", "0"], ["--n-best", "6"], ["--also-translate", "--task", "translate"]):
        assert run("transcribe", "a.wav", *wrong).exit_code == 2
    untold = run("transcribe", "a.wav", "--n-best", "3", "-f", "srt,txt")
    assert (untold.exit_code, untold.stderr.count("\n")) == (2, 1)
    assert "--n-best goes into JSON: add --output-format json" in untold.stderr


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_printed_of_a_turn_is_one_line(run: Run, folder: Path, model: FakeModel, fails: bool) -> None:
    said = [
        ("Anna", " One,"),
        ("Anna", " two."),
        ("Ben", " Three?"),
        (None, " Four."),
        (None, " Five."),
        ("Ben", " Six."),
    ]
    model.segments = [
        dataclasses.replace(segment(number, text), speaker=speaker) for number, (speaker, text) in enumerate(said)
    ]
    if fails:
        model.errors = {"a.wav": AudioDecodeError("a.wav: noise")}
    result = run("transcribe", "a.wav", "-f", "txt")
    if fails:
        assert (result.exit_code, result.stdout) == (3, "Anna: One,\n")
    else:
        assert result.stdout == "Anna: One, two.\nBen: Three?\nFour.\nFive.\nBen: Six.\n"
        assert (folder / "a.txt").read_text() == result.stdout


def test_speakers(run: Run, folder: Path, model: FakeModel) -> None:
    said = [("Anna", "fr"), ("Ben", "haw"), ("Anna", "fr")]
    model.segments = [
        dataclasses.replace(segment(number, f" Line {number}"), speaker=speaker, language=language)
        for number, (speaker, language) in enumerate(said)
    ]
    result = run("transcribe", "a.wav", "--channels", "split", "--speakers", "Anna,Ben", "-f", "vtt")
    assert result.exit_code == 0
    assert result.stdout == "Anna: Line 0\nBen: Line 1\nAnna: Line 2\n"
    assert "<v Ben>Line 1\n" in (folder / "a.vtt").read_text()
    assert [line for line in result.stderr.splitlines() if "language" in line] == [
        "a.wav: detected language French (fr, 75%)", "a.wav: Ben: detected language Hawaiian (haw)",
    ]  # fmt: skip
    for given in (["--language", "fr"], ["--multilingual"]):
        assert "Ben: detected" not in run("transcribe", "a.wav", "--channels", "split", *given).stderr


@pytest.mark.parametrize("source", ["-", "fifo"])
def test_what_can_be_read_once_is_not_split(
    run: Run, folder: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr("mtasr.audio.read.check_input", lambda source: None)
    os.mkfifo(folder / "fifo")
    result = run("transcribe", source, "--channels", "split")
    assert result.exit_code == 3
    assert result.stderr.startswith(f"mtasr: error: {'standard input' if source == '-' else source}: ")
    assert result.stderr.count("\n") == 1
    assert not model.loads
    result = run("transcribe", source, "a.wav", "--channels", "split")
    assert (result.exit_code, [name for name, _ in model.calls]) == (6, ["a.wav"])


def test_highlighted_words(run: Run, folder: Path, model: FakeModel) -> None:
    words = tuple(Word(word=f" {text}", start=at, end=at + 1, probability=1) for at, text in enumerate(("One", "two")))
    model.segments = [dataclasses.replace(segment(0, " One two"), words=words)]
    args = ("--highlight_words", "True", "-f", "srt", "-f", "txt")
    assert run("transcribe", "a.wav", *args).exit_code == 0
    assert model.calls[0][1].word_timestamps
    assert (folder / "a.srt").read_text().split("\n\n")[:2] == [
        "1\n00:00:00,000 --> 00:00:01,000\n<u>One</u> two", "2\n00:00:01,000 --> 00:00:02,000\nOne <u>two</u>",
    ]  # fmt: skip
    assert (folder / "a.txt").read_text() == "One two\n"
    assert run("transcribe", "a.wav", "--word_timestamps", "True").exit_code == 0
    assert "<u>" not in (folder / "a.srt").read_text()
    model.loads.clear()
    result = run("transcribe", "a.wav", "--highlight_words", "True", "--subtitle_style", "raw")
    assert result.exit_code == 2
    assert "add --word-timestamps" in result.stderr
    assert not model.loads


def test_detect_the_language_of_a_track(run: Run, model: FakeModel) -> None:
    assert run("detect-language", "a.wav", "--audio-stream", "1").exit_code == 0
    assert model.tracks == [Tracks(audio_stream=1)]
    assert run("detect-language", "a.wav", "--audio-stream", "-1").exit_code == 2
