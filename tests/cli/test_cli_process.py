"""What only a real process shows: start-up, signals, pipes and terminals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from _pytest.mark import ParameterSet
from fake_model import Run
from faults import without_privileges
from speech import SAMPLE_RATE, speak, write_wav

FAKE = str(Path(__file__).parents[1] / "fake_model.py")


def in_full(*values: object) -> list[ParameterSet]:
    """Parameters for the whole suite alone: others take nearly the same way."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def start(folder: Path, *args: str, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", FAKE, *args]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["transcribe", "--help"], ["transcribe", "missing.wav"]])
def test_start_up_loads_little(args: list[str]) -> None:
    heavy = {"ctranslate2", "torch", "tiktoken", "rich", "requests"} | (
        {"numpy"} if "missing.wav" not in args else set()
    )
    program = (
        "import atexit, sys\nfrom mtasr.cli import main\n"
        f"atexit.register(lambda: sys.stderr.write('loaded:' + ','.join(sorted({heavy!r} & set(sys.modules)))))\n"
        f"main({args!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == (3 if "missing.wav" in args else 0)
    assert done.stderr.endswith("loaded:"), done.stderr


def test_help_takes_little_more_than_its_parser() -> None:
    def seconds(*arguments: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        return time.perf_counter() - began

    pairs = [(seconds("-m", "mtasr", "--help"), seconds("-c", "import click")) for _ in range(5)]
    ours, theirs = map(min, zip(*pairs, strict=True))
    assert ours < 6 * theirs


def test_segments_come_as_they_are_recognised(folder: Path) -> None:
    process = start(folder, "transcribe", "a.wav", FAKE_SEGMENTS="3", FAKE_DELAY="200")
    assert process.stdout is not None
    assert process.stdout.readline() == "Line 0 [bold]:smile:[/bold]\n"
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_unwind(folder: Path, number: int, code: int) -> None:
    process = start(folder, "transcribe", "a.wav", FAKE_SEGMENTS="3", FAKE_DELAY="200", FAKE_TRACE="1")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.endswith("closed\nmtasr: stopped\n" if number == signal.SIGINT else "closed\n")
    assert "Traceback" not in errors
    assert sorted(path.name for path in folder.iterdir()) == ["a.wav", "b.mp3", "c d.wav"]


@pytest.mark.parametrize(("args", "code"), [(["--version"], 0), (["transcribe", "missing.wav"], 3)])
def test_what_is_left_to_do_at_the_end_is_done(folder: Path, args: list[str], code: int) -> None:
    program = (
        "import atexit, runpy, sys, threading, time\n"
        "def last():\n"
        "    while threading.main_thread().is_alive(): time.sleep(0.01)\n"
        "    print('thread', flush=True)\n"
        "threading.Thread(target=last).start()\n"
        "atexit.register(lambda: print('exit function'))\n"
        f"sys.argv[1:] = {args!r}\n"
        "runpy.run_module('mtasr', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.endswith("thread\nexit function\n")


def test_a_profiler_keeps_its_report(folder: Path) -> None:
    command = [sys.executable, "-m", "cProfile", "-o", "profile", "-m", "mtasr", "--version"]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    assert (folder / "profile").stat().st_size > 0


@pytest.mark.parametrize("module", ["click", "mtasr.cli.transcribe", *in_full("mtasr.cli.options", "mtasr.subtitles")])
def test_ctrl_c_while_the_program_is_loaded(folder: Path, module: str) -> None:
    program = (
        "import os, runpy, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv[1:] = ['transcribe', 'a.wav']\n"
        "runpy.run_module('mtasr', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "mtasr: stopped\n")


@pytest.mark.parametrize("stderr", [">&-", "> /dev/full"])
def test_ctrl_c_without_a_stderr(folder: Path, stderr: str) -> None:
    program = "import os, signal; from mtasr.__main__ import _stop; signal.signal(2, _stop); os.kill(os.getpid(), 2)"
    command = ["sh", "-c", f'exec "$0" -c "$1" 2{stderr}', sys.executable, program]
    assert subprocess.run(command, cwd=folder, check=False).returncode == 130


def test_a_closed_pipe_ends_quietly(folder: Path) -> None:
    process = start(folder, "transcribe", "a.wav", FAKE_SEGMENTS="20000", FAKE_DELAY="0.001")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 141
    process.stderr.close()
    assert "mtasr: error" not in errors
    assert "Traceback" not in errors
    assert "Errno" not in errors
    assert not list(folder.glob("*.srt"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, FAKE, "transcribe", "-f", "srt", "a.wav"],
            cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == "mtasr: error: standard output: No space left on device"
    assert (folder / "a.srt").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("progress", ["bar", *in_full("json", "none")])
def test_a_full_disk_behind_stderr_costs_no_result(folder: Path, progress: str) -> None:
    def run(*args: str) -> int:
        with Path("/dev/full").open("w") as full:
            command = [sys.executable, FAKE, "transcribe", "--progress", progress, *args]
            return subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=full, check=False).returncode

    shutil.copy(folder / "a.wav", folder / "b.wav")
    assert run("-f", "srt", "a.wav", "b.wav") == 0
    assert {file.name for file in folder.glob("*.srt")} == {"a.srt", "b.srt"}
    assert run("missing.wav") == 3


@pytest.mark.parametrize("name", ["pipe", "/dev/null", "/dev/stdout", "/proc/self/fd/1"])
def test_only_files_are_replaced(run: Run, folder: Path, name: str) -> None:
    os.mkfifo(folder / "pipe")
    done = run("view", "a.wav", "-o", name)
    assert done.exit_code == 4
    assert done.stderr == f"mtasr: error: {name}: is not a file; name one that can be replaced\n"
    assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)


@pytest.mark.parametrize(
    "args",
    ["evaluate manifest.json", "models list", "--help", *in_full("doctor", "config show", "--version", "view --help")],
)
def test_every_command_prints_alike(folder: Path, args: str) -> None:
    """A full disk behind stdout is one line; a reader that has exited ends the command silently."""
    (folder / "manifest.json").write_text('[{"audio": "a.wav", "text": "a", "language": "fr"}]')

    def run(target: IO[bytes]) -> tuple[int, str]:
        command = [sys.executable, FAKE, *args.split()]
        done = subprocess.run(command, cwd=folder, stdout=target, stderr=subprocess.PIPE, text=True, check=False)
        return done.returncode, "".join(line for line in done.stderr.splitlines() if "Using the model" not in line)

    if Path("/dev/full").exists():
        with Path("/dev/full").open("wb") as full:
            assert run(full) == (4, "mtasr: error: standard output: No space left on device")
    reader, pipe = os.pipe()
    os.close(reader)
    with os.fdopen(pipe, "wb") as closed:
        assert run(closed) == (141, "")


def test_an_encoding_without_the_letters(folder: Path) -> None:
    (folder / "日本.wav").write_bytes(b"sound")
    done = subprocess.run(
        [sys.executable, FAKE, "transcribe", "日本.wav"],
        cwd=folder, env=os.environ | {"PYTHONIOENCODING": "latin-1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "\\u65e5" in done.stderr
    assert (folder / "日本.srt").exists()


def on_a_terminal(folder: Path, *args: str, **env: str) -> tuple[int, str]:
    """Exit code and everything the terminal got, from stdout and stderr both, at 80 columns."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    settings = {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"} | env
    process = subprocess.Popen(
        [sys.executable, FAKE, *args],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "NO_COLOR"} | settings,
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    output = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:  # how Linux tells that the other end is closed
            break
        if not block:
            break
        output += block
    os.close(leader)
    return process.wait(timeout=60), output.decode()


def test_a_terminal_gets_times_text_and_a_bar(folder: Path) -> None:
    code, screen = on_a_terminal(folder, "transcribe", "a.wav", FAKE_SEGMENTS="3", FAKE_DELAY="0.3")
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    for number, times in enumerate(["00:00.000 --> 00:02.000", "00:02.000 --> 00:04.000", "00:04.000 --> 00:06.000"]):
        assert f"[{times}]  Line {number} [bold]:smile:[/bold]\r\n" in plain
    assert "67%  0:04/0:06" in plain
    assert re.search(r"\d\.\dx  0:0\d left", plain)
    assert "\x1b[36m[" in screen
    assert screen.count("\x1b[?25h") >= screen.count("\x1b[?25l")  # the cursor is back
    assert (folder / "a.srt").exists()


def test_a_quiet_terminal_stays_empty(folder: Path) -> None:
    assert on_a_terminal(folder, "transcribe", "--quiet", "a.wav") == (0, "")


def test_verbose_false_leaves_the_bar(folder: Path) -> None:
    code, screen = on_a_terminal(folder, "transcribe", "--verbose", "False", "a.wav", FAKE_DELAY="0.3")
    assert code == 0
    assert "-->" not in screen
    assert "Line 0" in screen, "the last line recognised, below the bar"
    assert "0:02/0:04" in screen


def test_a_terminal_is_told_that_speakers_are_told_apart(folder: Path) -> None:
    code, screen = on_a_terminal(folder, "transcribe", "a.wav", "--verbose", "False", FAKE_TELLING="0.6")
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    last = plain[: plain.rindex("telling speakers apart")].splitlines()[-1]
    assert "100%  0:04/0:04" in last
    assert "left" not in last, "how long it takes is not known"


def test_languages_on_a_terminal(folder: Path) -> None:
    code, screen = on_a_terminal(folder, "detect-language", "-q", "a.wav")
    assert code == 0
    assert screen == "a.wav\r\n   75.0%  fr   French\r\n   20.0%  haw  Hawaiian\r\n    5.0%  en   English\r\n"


@pytest.mark.parametrize("closed", [">&- 2>&-", *in_full(">&-", "2>&-")])
def test_closed_streams_cost_no_file(folder: Path, closed: str) -> None:
    command = f"{sys.executable} {FAKE} transcribe a.wav {closed}"
    assert subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, check=False).returncode == 0
    assert (folder / "a.srt").exists()


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (None, 141)])
def test_stopping_in_the_middle_of_real_work(tmp_path: Path, number: int | None, code: int) -> None:
    """The engine's threads are at work then; a process that took them down with it would crash."""
    sentence = speak("The morning train was late again, so we walked along the river to the old market.")
    write_wav(tmp_path / "long.wav", np.tile(np.concatenate([sentence, np.zeros(SAMPLE_RATE, np.float32)]), 40))
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "mtasr", "transcribe", "long.wav", "--model", "base", "--language", "en"],
            cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        if number is None:
            process.stdout.close()
            errors = process.stderr.read()
            process.wait(timeout=60)
        else:
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        process.stderr.close()
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        assert "terminate called" not in errors
        # Notes for --resume may stay, but no result, whole or half.
        assert {path.name for path in tmp_path.iterdir()} <= {"long.wav", ".mtasr-journal"}


@pytest.mark.parametrize("args", [[], ["models"], ["config"]])
def test_without_a_command_the_help_is_shown(folder: Path, args: list[str]) -> None:
    command = [sys.executable, "-m", "mtasr", *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")
    assert len(done.stderr.splitlines()) > 5
    assert "error" not in done.stderr.splitlines()[0]


@pytest.mark.parametrize("args", [["models", "list"], ["transcribe", "a.wav"]])
def test_a_cache_that_cannot_be_read(folder: Path, args: list[str]) -> None:
    cache = folder / "cache"
    cache.mkdir(mode=0)
    done = subprocess.run(
        [sys.executable, "-m", "mtasr", *args],
        cwd=folder, env=os.environ | {"MTASR_CACHE": str(cache)}, preexec_fn=without_privileges,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 5
    message = f"mtasr: error: {cache}: the model cache cannot be read: Permission denied"
    assert done.stderr.splitlines()[-1] == message


def test_a_new_folder_that_stays_empty_is_removed(folder: Path) -> None:
    process = start(folder, "transcribe", "a.wav", "-o", "new/out", FAKE_SEGMENTS="3", FAKE_DELAY="200", FAKE_TRACE="1")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not (folder / "new").exists()
