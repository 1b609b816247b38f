"""`mtasr live`: what it prints, the files it writes meanwhile, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_diarizer import FakeDiarizer
from fake_live import FakeLive, final, words
from fake_model import FakeModel, Run
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.batch import Job, outputs
from mtasr.cli.display.captions import Terminal
from mtasr.cli.display.screen import Screen
from mtasr.cli.live import piped
from mtasr.cli.live.growing_files import GrowingFiles
from mtasr.errors import LiveError, ModelError
from mtasr.formats.cues import Style
from mtasr.live import Committed, SpeakersChanged
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Coverage

FAKE = str(Path(__file__).parents[1] / "fake_live.py")

SECOND = bytes(2 * SAMPLE_RATE)

TEXT = "Good morning, everybody.\nWelcome.\nToday we talk about bridges.\n"


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> FakeLive:
    fake = FakeLive()
    monkeypatch.setattr("mtasr.live.LiveSession", fake)
    reader, writer = os.pipe()
    os.write(writer, bytes(16))
    os.close(writer)
    monkeypatch.setattr(piped, "STDIN", reader)
    return fake


@contextmanager
def started(folder: Path, *args: str, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process of its own, whose standard input is open."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", FAKE, "live", "-", *args],
        cwd=folder, stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        yield process
        process.kill()


def say(process: subprocess.Popen[bytes], seconds: int) -> None:
    assert process.stdin is not None
    process.stdin.write(SECOND * seconds)
    process.stdin.flush()


def wait_for(path: Path, text: str) -> str:
    end = time.monotonic() + 60
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < end, f"{text!r} did not come"
        time.sleep(0.05)
    return path.read_text()


# --- text and events --------------------------------------------------------------------------------------------------


def test_a_pipe_gets_final_text_alone(run: Run, live: FakeLive, folder: Path) -> None:
    result = run("live", "-")
    assert (result.exit_code, result.stdout) == (0, TEXT)
    assert result.stderr.splitlines()[-4:] == [
        "listening to standard input; Ctrl-C ends it",
        "standard input: raw samples, taken as 16-bit mono with 16,000 a second (--sample-rate)",
        "detected language English (en, 50%)",
        "warning: the text is 12 s late; a smaller --model is faster",
    ]
    assert live.policy is not None
    assert not live.policy.exact, "nothing shows the transcript of the whole"
    assert len(list(folder.iterdir())) == 3


def test_a_file_in_a_pipe_is_not_late(folder: Path) -> None:
    """It comes as fast as it is taken."""
    with started(folder) as process:
        text, notes = process.communicate(SECOND * 60, timeout=60)
    assert text.decode() == TEXT
    assert "late" not in notes.decode()


def test_lines_come_at_once(folder: Path) -> None:
    with started(folder) as process:
        say(process, 3)
        assert process.stdout is not None
        assert process.stdout.readline() == b"Good morning, everybody.\n"
        assert process.stdout.readline() == b"Welcome.\n"
        assert process.poll() is None


def test_quiet(run: Run, live: FakeLive) -> None:
    result = run("live", "-", "--quiet", "-f", "txt", "--name", "x")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_programs_get_events(run: Run, live: FakeLive) -> None:
    live.script = [*live.script, (6.0, final(2, "Hello.", translation="Bonjour."))]
    result = run("live", "-", "--events", "-f", "txt", "--name", "x")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == [
        "speech_started", "language_found", "draft", "committed", "draft", "speech_stopped", "final", "lag", "draft",
        "final", "final", "end",
    ]  # fmt: skip
    assert events[0] == {"event": "speech_started", "stretch": 0, "at": 0.25}
    assert events[3]["text"] == " Good morning"
    assert events[3]["words"][1] == {"word": " morning", "start": 0.25, "end": 0.45, "probability": 0.9}
    assert events[6]["language"] == "en"
    assert [segment["text"] for segment in events[6]["segments"]] == [" Good morning, everybody.", " Welcome."]
    assert "translation" not in events[6]
    assert events[10]["translation"][0]["text"] == " Bonjour."
    assert events[-1] == {"event": "end", "seconds": 0.0, "files": ["x.txt"]} | {"seconds": events[-1]["seconds"]}


@pytest.fixture
def diarized(live: FakeLive, monkeypatch: pytest.MonkeyPatch) -> FakeLive:
    """Ann is thought to say all that she and Ben say, until it is corrected."""
    monkeypatch.setattr("mtasr.speakers.diarize.load_diarizer", FakeDiarizer().load)
    told = final(0, "Good morning.", "Hello.")
    first, second = told.segments
    ann, ben = replace(first, speaker="Ann"), replace(second, speaker="Ben")
    live.script = [
        (0.0, Committed(stretch=0, words=(replace(words("Good")[0], speaker="Ann"),))),
        (0.0, replace(told, segments=(ann, replace(second, speaker="Ann")))),
        (0.0, SpeakersChanged(stretch=0, segments=(ann, ben))),
    ]
    live.warnings = ("only 1 of 2 speakers could be told apart",)
    return live


def test_files_have_the_speakers_that_were_known_last(run: Run, diarized: FakeLive, folder: Path) -> None:
    """A line has those that were known when it was printed."""
    diarized.error = LiveError("the model broke")
    result = run("live", "-", "--diarize", "--num-speakers", "2", "-f", "txt", "--name", "x")
    assert result.stdout == "Ann: Good morning.\nAnn: Hello.\n"
    assert (folder / "x.txt").read_text() == "Ann: Good morning.\nBen: Hello.\n"
    assert diarized.diarize == SpeakerOptions(num_speakers=2)


def test_programs_are_told_of_other_speakers(run: Run, diarized: FakeLive) -> None:
    result = run("live", "-", "--diarize", "--events")
    committed, _, changed, end = [json.loads(line) for line in result.stdout.splitlines()]
    assert committed["words"][0]["speaker"] == "Ann"
    assert (changed["event"], changed["stretch"]) == ("speakers_changed", 0)
    assert [(each["speaker"], each["text"]) for each in changed["segments"]] == [
        ("Ann", " Good morning."), ("Ben", " Hello."),
    ]  # fmt: skip
    assert end["event"] == "end"
    assert "warning: only 1 of 2 speakers could be told apart\n" in result.stderr


def test_a_terminal_names_who_begins_to_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = on_paper(monkeypatch)
    shown = Terminal(Screen())
    first, second, third = words("Hi. Go on")
    shown.show(Committed(stretch=0, words=(replace(first, speaker="Ann"), replace(second, speaker="Ben"))))
    shown.show(Committed(stretch=0, words=(replace(third, speaker="Ben"),)))
    assert paper.written.endswith("Ann: Hi. Ben: Go on")


def test_options_reach_the_session(run: Run, live: FakeLive, model: FakeModel) -> None:
    args = ("--translate", "--language", "French", "--hotwords", "Anna", "--beam-size", "3", "--model", "small")
    assert run("live", "-", *args).exit_code == 0
    assert live.options is not None
    assert (live.options.task, live.options.language) == ("translate", "fr")
    assert (live.options.hotwords, live.options.beam_size) == ("Anna", 3)
    assert model.loads[0]["name"] == "small"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("talk.mp3",), "live listens to the microphone or standard input (-); for a file: mtasr transcribe talk.mp3"),
        (("-", "--input-device", "1"), "--input-device is for the microphone: leave out -"),
        (("--sample-rate", "8000"), "--sample-rate is for standard input: add -"),
        (("-", "--sample-rate", "800"), "--sample-rate must be between 4000 and 384000, not 800"),
        (("-", "--name", "x"), "--name is of the files: add --output-format"),
        (("-", "-f", "srt", "--name", "x/y"), "--name is a name without folders, which --output-dir names, not 'x/y'"),
        (("-", "-f", "rttm"), "--output-format rttm says who speaks: add --diarize"),
        (("-", "--num-speakers", "2"), "--num-speakers needs --diarize"),
        (("-", "-f", "srt", "--n-best", "2"), "--n-best goes into JSON: add --output-format json"),
    ],
)
def test_what_makes_no_sense(run: Run, live: FakeLive, args: tuple[str, ...], reason: str) -> None:
    result = run("live", *args)
    assert (result.exit_code, result.stderr) == (2, f"mtasr: error: {reason}\n")


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_grow_and_become_the_transcript(folder: Path) -> None:
    with started(folder, "-f", "srt,vtt,json,txt", "-o", "out", "--name", "x") as process:
        say(process, 3)
        assert wait_for(folder / "out" / "x.txt", "Welcome") == "Good morning, everybody.\nWelcome.\n"
        subtitles = wait_for(folder / "out" / "x.srt", "Welcome")
        assert subtitles.startswith("1\n00:00:00,000 --> ")
        assert subtitles.endswith("\n\n")
        say(process, 3)
        wait_for(folder / "out" / "x.txt", "bridges.\n")
        assert len(json.loads((folder / "out" / "x.json").read_text())["segments"]) == 3
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert errors.endswith(b"wrote out/x.srt, out/x.vtt, out/x.json, out/x.txt\n")
    assert (folder / "out" / "x.txt").read_text() == TEXT.replace("bridges.", "bridges. (end)")
    assert "bridges. (end)" in (folder / "out" / "x.vtt").read_text()
    assert {path.name for path in (folder / "out").iterdir()} == {"x.srt", "x.vtt", "x.json", "x.txt"}


def test_a_translation_has_files_of_its_own(run: Run, live: FakeLive, folder: Path) -> None:
    live.script = [(0.0, final(0, "Guten Tag.", language="de", translation="Good day."))]
    assert run("live", "-", "--also-translate", "-f", "txt", "--name", "x").exit_code == 0
    assert (folder / "x.txt").read_text() == "Guten Tag. (end)\n"
    assert (folder / "x.en.txt").read_text() == "Good day. (end)\n"


def test_no_name_is_used_twice(run: Run, live: FakeLive, folder: Path) -> None:
    assert run("live", "-", "-f", "txt").exit_code == 0
    (file,) = folder.glob("*.txt")
    assert re.fullmatch(r"live-\d{4}-\d\d-\d\d-\d{6}\.txt", file.name)
    (folder / "x.txt").write_text("mine")
    result = run("live", "-", "-f", "txt", "--name", "x")
    assert (result.exit_code, (folder / "x.txt").read_text()) == (2, "mine")
    assert result.stderr.endswith("x.txt exists: choose another --name, or add --overwrite\n")


def test_files_are_replaced_if_asked_for(run: Run, live: FakeLive, folder: Path) -> None:
    (folder / "x.txt").write_text("mine")
    assert run("live", "-", "-f", "txt", "--name", "x", "--overwrite").exit_code == 0
    assert (folder / "x.txt").read_text().endswith("(end)\n")


def test_a_disk_that_is_full_for_a_while(folder: Path) -> None:
    with started(folder, "-f", "txt", "-o", "out", "--name", "x") as process:
        assert process.stderr is not None
        assert any(b"listening" in line for line in process.stderr)
        (folder / "out").rmdir()
        say(process, 3)
        assert any(line.startswith(b"detected") for line in process.stderr)
        assert process.stderr.readline() == b"warning: out/x.txt: No such file or directory; trying again\n"
        (folder / "out").mkdir()
        say(process, 3)
        wait_for(folder / "out" / "x.txt", TEXT)
        (folder / "out" / "x.txt").unlink()
        (folder / "out").rmdir()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 4
        assert errors.endswith(b"mtasr: error: out/x.txt: No such file or directory\n")


# --- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_signals_end_it_as_the_end_of_the_sound_does(folder: Path, number: int, code: int) -> None:
    with started(folder, "-f", "txt", "--name", "x") as process:
        say(process, 1)
        assert process.stderr is not None
        assert any(b"detected" in line for line in process.stderr)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output.decode()) == (code, TEXT)
        assert errors.endswith(b"wrote x.txt\n")
    assert (folder / "x.txt").read_text().endswith("(end)\n")


def test_a_second_ctrl_c_ends_it_at_once(run: Run, live: FakeLive, folder: Path) -> None:
    program = (
        "import os, signal, sys, time\n"
        "from mtasr.cli.failures import ending_on_signal\n"
        "with ending_on_signal(lambda: print('ends', flush=True)):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "ends\n", "")


def test_a_reader_that_exits_costs_no_text(folder: Path) -> None:
    with started(folder, "-f", "txt", "--name", "x") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        say(process, 3)
        errors = process.stderr.read()
        assert process.wait(timeout=60) == 141
        assert b"mtasr: error" not in errors
        assert b"Traceback" not in errors
        assert errors.endswith(b"wrote x.txt: the final text so far\n")
    assert (folder / "x.txt").read_text().startswith("Good morning, everybody.\nWelcome.\n")


def test_a_model_that_fails_costs_no_text(run: Run, live: FakeLive, folder: Path) -> None:
    live.error = ModelError("the device is gone")
    result = run("live", "-", "-f", "txt", "--name", "x")
    assert (result.exit_code, result.stdout) == (5, TEXT)
    assert result.stderr.endswith("mtasr: error: the device is gone\n")
    assert (folder / "x.txt").read_text() == TEXT


def test_speech_without_text_is_told(run: Run, live: FakeLive) -> None:
    live.coverage = Coverage(speech=9.0, speech_without_text=((1.0, 4.5),))
    result = run("live", "-", "-f", "txt", "--name", "x")
    assert "warning: speech without text at 00:01.000-00:04.500\n" in result.stderr


def test_nothing_said(run: Run, live: FakeLive) -> None:
    live.script = []
    result = run("live", "-")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith("no speech found\n")


# --- terminals --------------------------------------------------------------------------------------------------------


def test_a_terminal_shows_drafts_below_the_text(folder: Path) -> None:
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {
        "TERM": "xterm", "COLUMNS": "40", "LINES": "10"
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, FAKE, "live", "-", "--language", "en"],
        cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=follower, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(follower)
    say(process, 6)
    output = b""
    while b"bridges.\r\n" not in output:
        output += os.read(leader, 65536)
    process.communicate(timeout=60)
    os.close(leader)
    assert process.returncode == 0
    screen = output.decode()
    drawn = [
        "\x1b[2mGood mourning\x1b[0m",
        "\r\x1b[JGood morning",
        "\r\x1b[JGood morning\x1b[2m every buddy\x1b[0m",
        "\r\x1b[JGood morning, everybody.\r\nWelcome.\r\n",
        "\x1b[33m(12 s late)\x1b[0m",
        "\r\x1b[J\x1b[2mTo day\x1b[0m\r\n\x1b[33m(12 s late)\x1b[0m",
        "\r\x1b[1A\x1b[JToday we talk about bridges.\r\n",
    ]
    assert screen.startswith("".join(drawn)), repr(screen)


class Paper:
    """A terminal of some width that keeps what is written."""

    def __init__(self) -> None:
        self.written = ""

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def on_paper(monkeypatch: pytest.MonkeyPatch, **settings: str) -> Paper:
    """Replaces standard output."""
    found = Paper()
    monkeypatch.setattr(sys, "stdout", found)
    for name, value in ({"TERM": "xterm", "COLUMNS": "20", "LINES": "4"} | settings).items():
        monkeypatch.setenv(name, value)
    return found


def test_wide_characters_and_long_text_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = on_paper(monkeypatch)
    Screen().draw([("日本語の字幕は幅が広い", "です")], "")
    assert [line.replace("\x1b[2m", "").replace("\x1b[0m", "") for line in paper.written.split("\n")] == [
        "日本語の字幕は幅が", "広いです",
    ]  # fmt: skip
    paper.written = ""
    Screen().draw([("one two three four five six seven eight nine ten eleven twelve thirteen", "")], "")
    assert (
        paper.written == "five six seven\neight nine ten\neleven twelve\nthirteen"[15:]
        or paper.written.count("\n") == 2
    )


def test_final_text_is_wrapped_at_words(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = on_paper(monkeypatch)
    screen = Screen()
    screen.draw([("one two", "")], "")
    paper.written = ""
    screen.print("one two three four five six")
    assert paper.written == "\r\x1b[Jone two three four\nfive six\n"


def test_a_terminal_that_became_narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = on_paper(monkeypatch)
    screen = Screen()
    screen.draw([("one two three four", "")], "")
    monkeypatch.setenv("COLUMNS", "10")
    paper.written = ""
    screen.draw([], "")
    assert paper.written == "\r\x1b[1A\x1b[J", "two rows, of which the first is above"
    paper.written = ""
    screen.draw([], "")
    assert paper.written == ""


def test_a_note_stands_above_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = on_paper(monkeypatch)
    screen = Screen()
    screen.draw([("one", "")], "")
    screen.note("warning")
    assert paper.written == "one\r\x1b[Jone"


def test_a_terminal_without_escapes_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    on_paper(monkeypatch, TERM="dumb")
    assert not Screen().can_draw


# --- the whole --------------------------------------------------------------------------------------------------------


def test_files_are_not_written_for_every_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(outputs, "write", lambda transcript, *_: written.append(len(transcript.segments)))
    job = Job("-", folder, "x", ("txt",))
    kept = GrowingFiles(job, Style(), None, translates=False, note=pytest.fail)
    for stretch in range(100):
        kept.add(final(stretch, "Hello."))
    kept.keep()
    assert len(written) <= 2
    assert written[-1] == 100


@pytest.mark.weights
def test_speech_through_a_pipe(tmp_path: Path) -> None:
    pause = np.zeros(SAMPLE_RATE, np.float32)
    sentences = ("Good morning everybody, and welcome to the library.", "Today we talk about the old bridge.")
    write_wav(tmp_path / "talk.wav", np.concatenate([part for text in sentences for part in (speak(text), pause)]))

    def run(*args: str, **settings: bytes) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mtasr", *args, "--language", "en", "-f", "srt,json,txt"],
            cwd=tmp_path, capture_output=True, check=False, **settings,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    raw = (tmp_path / "talk.wav").read_bytes()[44:]
    printed = run("live", "-", "--name", "heard", input=raw)
    assert printed.startswith("Good morning")
    assert "library" in printed
    assert "bridge" in printed
    run("transcribe", "talk.wav")
    for ending in ("srt", "json", "txt"):
        assert (tmp_path / f"heard.{ending}").read_bytes() == (tmp_path / f"talk.{ending}").read_bytes()
