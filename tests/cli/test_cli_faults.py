"""Faults of the surroundings: folders for results, and processes that end or are stopped."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from faults import HEARING, without_privileges
from hearing import hearing_model
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.cli import program
from mtasr.cli.failures import Attempts, ExitCode, exit_code, message_of, terminable

SENTENCE = speak("The train leaves at noon from the second platform.")
#: About 10 s of speech and silence, which make one window.
WINDOW = np.concatenate([SENTENCE, np.zeros(SAMPLE_RATE, np.float32)] * 2 + [np.zeros(2 * SAMPLE_RATE, np.float32)])

#: Runs the command line in this process.
Here = Callable[..., Result]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "a.wav", SENTENCE)
    return tmp_path


def run(*arguments: str, preexec: Callable[[], None] | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", HEARING, *arguments],
        env=os.environ | env, preexec_fn=preexec, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """As `run`, but in this process."""
    monkeypatch.setattr("mtasr.transcribe.load_model", hearing_model)
    return lambda *arguments: CliRunner().invoke(program, arguments, prog_name="mtasr")


def start(*arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", HEARING, *arguments],
        env=os.environ | env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def left(place: Path) -> set[str]:
    """Files but the notes for --resume."""
    return {
        str(path.relative_to(place))
        for path in place.rglob("*")
        if path.is_file() and ".mtasr-journal" not in path.parts
    }


def decoders(place: Path) -> list[int]:
    """The ffmpeg processes that read something there."""
    found = []
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if each.name.isdigit() and f"file:{place}".encode() in (each / "cmdline").read_bytes():
                found.append(int(each.name))
    return found


def has_none_left(place: Path) -> bool:
    """Whether they are gone; what is killed takes a moment to be."""
    return any(not decoders(place) or time.sleep(0.05) for _ in range(200))


# --- outputs ---


def test_a_disk_that_fills(place: Path) -> None:
    """A limit on the size of files does what a full disk does: a part can be written and the rest cannot."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    (place / "a.json").write_text("from before")
    done = run("transcribe", "-q", "-f", "json", "a.wav", preexec=limit)
    assert (done.returncode, done.stderr) == (4, "mtasr: error: a.json: File too large\n")
    assert (place / "a.json").read_text() == "from before"
    assert left(place) == {"a.wav", "a.json"}


def test_what_a_killed_run_left_a_moment_ago_is_removed(here: Here, place: Path) -> None:
    (place / ".mtasr-0123456789ab.part").touch()
    assert here("transcribe", "-q", "a.wav", "--resume").exit_code == 0
    assert left(place) == {"a.wav", "a.srt"}


def test_a_disk_that_is_full_for_one_of_two(place: Path) -> None:
    """The other is written all the same."""
    write_wav(place / "b.wav", np.tile(WINDOW, 10))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))

    done = run("transcribe", "-f", "txt", "-o", "out", "b.wav", "a.wav", preexec=limit)
    assert done.returncode == 6, done.stderr
    assert "mtasr: error: out/b.txt: File too large\n" in done.stderr
    assert left(place) == {"a.wav", "b.wav", "out/a.txt"}


def test_a_folder_that_may_not_be_written(place: Path) -> None:
    (place / "out").mkdir(mode=0o555)
    for directory in ("out", "out/new"):
        done = run("transcribe", "-o", directory, "a.wav", preexec=without_privileges)
        assert done.returncode == 4
        assert done.stderr == f"mtasr: error: {directory}: cannot write here: Permission denied\n"
    assert left(place) == {"a.wav"}


def test_a_read_only_file_is_replaced_as_in_any_folder_that_may_be_written(place: Path) -> None:
    (place / "a.srt").touch(mode=0o444)
    assert run("transcribe", "a.wav", preexec=without_privileges).returncode == 0
    assert (place / "a.srt").stat().st_size > 0


def test_nothing_is_renamed_from_one_device_to_another(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems cannot do that, so results grow in the folder where they will stay."""
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    renamed = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        renamed.append((self.parent, Path(target).parent))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    assert here("transcribe", "-f", "all", "-o", "out", "a.wav").exit_code == 0
    assert len(renamed) >= 10
    assert all(before == after for before, after in renamed)


@pytest.mark.parametrize("target", ["kept.txt", "gone.txt"])
def test_a_link_in_the_place_of_a_result_is_replaced_and_what_it_leads_to_is_kept(
    here: Here, place: Path, target: str
) -> None:
    (place / "kept.txt").write_text("kept")
    (place / "a.srt").symlink_to(target)
    assert here("transcribe", "a.wav").exit_code == 0
    assert not (place / "a.srt").is_symlink()
    assert left(place) == {"a.wav", "a.srt", "kept.txt"}
    assert (place / "kept.txt").read_text() == "kept"


def test_a_link_to_the_recording_is_refused(here: Here, place: Path) -> None:
    (place / "a.srt").symlink_to("a.wav")
    assert here("transcribe", "a.wav").exit_code == 2
    assert (place / "a.wav").stat().st_size > 10_000


def test_a_link_to_a_folder_is_a_folder(here: Here, place: Path) -> None:
    (place / "far").mkdir()
    (place / "out").symlink_to("far")
    assert here("transcribe", "-o", "out", "a.wav").exit_code == 0
    assert left(place) >= {"far/a.srt"}


def test_a_folder_that_goes_away_meanwhile(place: Path) -> None:
    write_wav(place / "a.wav", np.tile(WINDOW, 6))
    process = start("transcribe", "-o", "out", "a.wav", HEARING_QUICK="4", HEARING_UNTIL="gone")
    assert process.stdout is not None
    process.stdout.readline()
    (place / "out").rename(place / "gone")  # in one step, whatever is being written
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 4
    assert errors.splitlines()[-1] == "mtasr: error: out/a.srt: No such file or directory"
    assert left(place) == {"a.wav"}


def test_only_the_first_line_is_wanted(place: Path) -> None:
    write_wav(place / "a.wav", np.tile(WINDOW, 10))
    command = f"{sys.executable} {HEARING} transcribe a.wav | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=os.environ | {"HEARING_PAUSE": "0.3"}, capture_output=True, text=True, check=False
    )
    first, code = done.stdout.splitlines()
    assert len(first.split()) > 2
    assert code == "141"
    assert "Traceback" not in done.stderr
    assert "mtasr: error" not in done.stderr
    assert "--resume" not in done.stderr
    assert [path.name for path in place.iterdir()] == ["a.wav"]


def test_a_reader_that_exits_costs_no_file_that_is_written(place: Path) -> None:
    """And the notes with which the rest goes on."""
    write_wav(place / "b.wav", np.tile(WINDOW, 16))
    process = start("transcribe", "--language", "en", "a.wav", "b.wav", HEARING_PAUSE="0.3", HEARING_QUICK="4")
    assert process.stdout is not None
    assert process.stderr is not None
    errors = ""
    while "wrote a.srt" not in errors:
        errors += process.stderr.readline()
    process.stdout.close()
    errors += process.stderr.read()
    assert process.wait(timeout=60) == 141
    process.stderr.close()
    assert errors.count("finished work is kept: the same command with --resume continues from here\n") == 1
    assert left(place) == {"a.wav", "b.wav", "a.srt"}
    done = run("transcribe", "--language", "en", "--resume", "a.wav", "b.wav")
    assert done.returncode == 0
    assert "1 of 2 skipped" in done.stderr
    assert not (place / ".mtasr-journal").exists()


def test_ctrl_c_before_anything_is_done_leaves_nothing(place: Path) -> None:
    write_wav(place / "a.wav", np.tile(WINDOW, 10))
    process = start("transcribe", "a.wav", HEARING_PAUSE="2")
    while not decoders(place):
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "mtasr: stopped\n"
    assert [path.name for path in place.iterdir()] == ["a.wav"]


# --- processes ---


def in_a_terminal(place: Path, *presses: float, **env: str) -> tuple[int, float, str]:
    """Ctrl-C on a terminal, those seconds after the first text.

    Gives the exit code, the seconds from the first Ctrl-C to the end, and what is on the screen.
    """
    pty = pytest.importorskip("pty")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place)
        os.environ.update({"TERM": "xterm", "COLUMNS": "80"} | env)
        os.execv(sys.executable, [sys.executable, HEARING, "transcribe", "--language", "en", "long.wav"])
    screen, pressed, waiting = b"", 0.0, list(presses)
    while True:
        if waiting and b"-->" in screen:
            assert pressed or decoders(place), "else there is no child that could be left"
            time.sleep(waiting.pop(0))
            pressed = pressed or time.monotonic()
            os.write(terminal, b"\x03")
        try:
            block = os.read(terminal, 65536)
        except OSError:  # how Linux tells that the other end is closed
            break
        screen += block
    _, status = os.waitpid(pid, 0)
    took = time.monotonic() - pressed
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), took, screen.decode("utf-8", "replace")


#: Seconds that a window takes below: it is encoded and decoded.
PAUSE = 4.0


@pytest.mark.slow
@pytest.mark.parametrize("presses", [[0.0], [0.4 * PAUSE], [0.8 * PAUSE]])
def test_ctrl_c_ends_within_a_window_and_a_second(place: Path, presses: list[float]) -> None:
    write_wav(place / "long.wav", np.tile(WINDOW, 40))
    code, took, screen = in_a_terminal(place, *presses, HEARING_PAUSE=str(PAUSE / 2), HEARING_QUICK="4")
    assert code == 130, screen[-1500:]
    assert took < PAUSE + 1
    assert "mtasr: stopped" in screen
    assert "finished work is kept" in screen
    assert "Traceback" not in screen
    assert screen.rfind("\x1b[?25h") > screen.rfind("\x1b[?25l"), "the cursor is back"
    assert has_none_left(place)
    assert left(place) == {"a.wav", "long.wav"}
    done = run("transcribe", "--language", "en", "--resume", "long.wav")
    assert done.returncode == 0
    assert left(place) == {"a.wav", "long.wav", "long.srt"}


def test_ctrl_c_twice_ends_at_once(place: Path) -> None:
    write_wav(place / "long.wav", np.tile(WINDOW, 40))
    code, took, screen = in_a_terminal(place, 0.2, 0.0, HEARING_PAUSE="10", HEARING_QUICK="4")
    assert code == 130, screen[-1500:]
    assert took < 5, "a window takes 20 s"
    assert "Traceback" not in screen
    assert has_none_left(place)
    assert left(place) == {"a.wav", "long.wav"}


@pytest.mark.parametrize("after", [0.0, *(pytest.param(seconds, marks=pytest.mark.slow) for seconds in (0.02, 0.2))])
def test_a_second_signal_while_the_first_is_obeyed(place: Path, after: float) -> None:
    write_wav(place / "a.wav", np.tile(WINDOW, 20))
    for first, second in ((signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)):
        process = start("transcribe", "--language", "en", "a.wav", HEARING_PAUSE="0.3", HEARING_QUICK="4")
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(first)
        time.sleep(after)
        process.send_signal(second)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (128 + first, 128 + second)
        assert "Traceback" not in errors
        assert has_none_left(place)
        assert left(place) == {"a.wav"}


def native_import(number: int) -> None:
    def work() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except BaseException as error:
            raise ImportError("initialization failed") from error

    with terminable():
        Attempts(1).attempt("a.wav", work)


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_that_an_import_makes_an_error_of(number: int, kind: type[BaseException]) -> None:
    """As NumPy's does."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(kind):
            native_import(number)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_ctrl_c_that_a_background_job_ignores(place: Path) -> None:
    """A shell that starts a job with & makes it ignore Ctrl-C, which is meant for what is in the foreground."""
    write_wav(place / "a.wav", np.tile(WINDOW, 8))
    process = subprocess.Popen(
        [sys.executable, HEARING, "transcribe", "a.wav"],
        env=os.environ | {"HEARING_PAUSE": "0.2"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_killed_ffmpeg_costs_its_recording_alone(place: Path) -> None:
    write_wav(place / "long.wav", np.tile(WINDOW, 40))
    process = start("transcribe", "--language", "en", "long.wav", "a.wav", HEARING_PAUSE="0.1")
    assert process.stdout is not None
    process.stdout.readline()
    for pid in decoders(place / "long.wav"):
        os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 6
    assert re.search(r"^mtasr: error: long\.wav: ffmpeg was stopped after .* s of audio \(Killed\)$", errors, re.M)
    assert left(place) == {"a.wav", "long.wav", "a.srt"}


@pytest.mark.parametrize(
    ("fails_with", "says"),
    [
        ("memory", "b.wav: there is not enough memory for it; --workers 1 --batch-size 1 takes least"),
        ("oh no", "b.wav: this is a bug in mtasr: RuntimeError: oh no; run it again with --debug to see where"),
    ],
)
def test_a_worker_that_fails_costs_that_recording_alone(
    here: Here, place: Path, monkeypatch: pytest.MonkeyPatch, fails_with: str, says: str
) -> None:
    monkeypatch.setenv("HEARING_FAILS", fails_with)
    write_wav(place / "b.wav", SENTENCE * 8)
    write_wav(place / "c.wav", SENTENCE)
    done = here("transcribe", "a.wav", "b.wav", "c.wav")
    assert done.exit_code == 6
    assert [line for line in done.stderr.splitlines() if line.startswith("mtasr: error")] == [f"mtasr: error: {says}"]
    assert left(place) == {"a.wav", "b.wav", "c.wav", "a.srt", "c.srt"}


@pytest.mark.slow
@pytest.mark.parametrize("mebibytes", [250, 270, 290, 310, 350, 1000])
def test_a_limit_on_memory_costs_no_more_than_time(here: Here, place: Path, mebibytes: int) -> None:
    """Too little, hardly enough, and enough: results are whole or not there, and --resume ends with the same."""
    arguments = ("transcribe", "--language", "en", "-f", "json", "-o", "out", "a.wav", "b.wav")
    write_wav(place / "b.wav", np.tile(WINDOW, 10))
    assert here(*arguments).exit_code == 0
    whole = {path.name: path.read_bytes() for path in (place / "out").iterdir()}
    shutil.rmtree(place / "out")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (mebibytes << 20, mebibytes << 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    done = run(*arguments, preexec=limit, OPENBLAS_NUM_THREADS="1")
    for wrong in ("Traceback", "this is a bug", "damaged"):
        assert wrong not in done.stderr
    found = {path: (place / path).read_bytes() for path in left(place) if path.startswith("out/")}
    assert found.items() <= {f"out/{name}": content for name, content in whole.items()}.items()
    if mebibytes == 1000:
        assert done.returncode == 0
    assert (done.returncode == 0) == (len(found) == 2)
    assert here(*arguments, "--resume").exit_code == 0
    assert {path.name: path.read_bytes() for path in (place / "out").iterdir()} == whole


def test_a_library_that_a_limit_on_memory_has_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit the same words mean a folder whose files may not be run."""
    error = ImportError("/venv/_tiktoken.so: failed to map segment from shared object")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (300 << 20, 300 << 20))
    assert message_of(error).startswith("there is not enough memory")
    assert exit_code(error) == exit_code(MemoryError()) == ExitCode.MODEL
    assert exit_code(ImportError("no such module")) == ExitCode.BUG
    assert (
        exit_code(OSError(errno.ENOMEM, "no room")) == exit_code(RuntimeError("can't allocate lock")) == ExitCode.MODEL
    )
    assert exit_code(OSError(errno.EIO, "broken")) == ExitCode.BUG
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert exit_code(error) == ExitCode.BUG
