"""What the machine offers, and what mtasr does on systems that offer less."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtasr import system

ZEN3 = "fpu sse sse2 ssse3 avx avx2 fma"
ZEN4 = f"{ZEN3} avx512f avx512bw avx512dq avx512vl avx512_vnni"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CT2_FORCE_CPU_ISA", raising=False)
    system._processor.cache_clear()
    yield
    system._processor.cache_clear()


def describe(monkeypatch: pytest.MonkeyPatch, folder: Path, vendor: str, flags: str) -> None:
    cores = f"vendor_id\t: {vendor}\nmodel\t\t: 1\nflags\t\t: {flags}\nbugs\t\t: sysret_ss_attrs\n\n" * 2
    (folder / "cpuinfo").write_text(cores)
    monkeypatch.setattr(system, "_CPUINFO", folder / "cpuinfo")


@pytest.mark.parametrize(
    ("vendor", "flags", "largest"),
    [
        ("AuthenticAMD", ZEN3, 96),
        ("AuthenticAMD", ZEN4, 127),
        ("AuthenticAMD", f"{ZEN3} avx_vnni", 127),
        ("GenuineIntel", ZEN3, 96),
        ("GenuineIntel", ZEN4, 127),
        ("HygonGenuine", ZEN3, 96),
        ("", "", 127),
    ],
)
def test_weights_leave_room_where_sums_overflow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str, flags: str, largest: int
) -> None:
    describe(monkeypatch, tmp_path, vendor, flags)
    assert system.largest_weight() == largest


@pytest.mark.parametrize(
    ("vendor", "flags", "vectors"),
    [("AuthenticAMD", ZEN3, "avx2"), ("GenuineIntel", ZEN4, "avx512f"), ("GenuineIntel", "fpu sse", ""), ("", "", "")],
)
def test_the_kind_of_a_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str, flags: str, vectors: str
) -> None:
    describe(monkeypatch, tmp_path, vendor, flags)
    assert system.processor_kind() == (vendor, vectors)


@pytest.mark.parametrize(
    ("vendor", "flags", "isa"),
    [("AuthenticAMD", ZEN4, "AVX512"), ("AuthenticAMD", ZEN3, None), ("GenuineIntel", ZEN4, None)],
)
def test_avx512_on_amd(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str, flags: str, isa: str | None
) -> None:
    describe(monkeypatch, tmp_path, vendor, flags)
    environment: dict[str, str] = {}
    monkeypatch.setattr(system.os, "environ", environment)  # type: ignore[attr-defined]
    system.use_avx512()
    assert environment.get("CT2_FORCE_CPU_ISA") == isa


def test_a_system_that_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system, "_CPUINFO", tmp_path / "missing")
    assert system.largest_weight() == 127


def without_posix(*arguments: str, cwd: Path | None = None) -> str:
    """Standard output of the command line on a system that is not POSIX."""
    program = Path(__file__).parent / "without_posix.py"
    done = subprocess.run([sys.executable, program, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_runs_without_posix(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    assert "transcribe" in without_posix("--help")
    with wave.open(str(tmp_path / "tone.wav"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(b"\0\1" * 16_000)
    options = ["--model", str(tiny_models["multilingual"]), "--language", "en", "--no-vad-filter"]
    without_posix("transcribe", "tone.wav", *options, "-f", "json", "-o", str(tmp_path), cwd=tmp_path)
    assert json.loads((tmp_path / "tone.json").read_text())["language"] == "en"


@pytest.mark.slow
def test_every_module_imports_without_posix() -> None:
    assert "mtasr.training.loop" in without_posix("import", "everything").splitlines()


def test_fallbacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert system.free_memory() > 0
    assert system.standard_input_path() == "/dev/stdin"
    for name in ("_MEMINFO", "_CGROUP", "_STDIN"):
        monkeypatch.setattr(system, name, tmp_path / "missing")
    assert system.standard_input_path() is None
    assert 0 < system.free_memory() != 4 << 30
    for name in ("sysconf", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    for name in ("fcntl", "resource"):
        monkeypatch.setitem(sys.modules, name, None)
    assert system.free_memory() == 4 << 30
    assert system.available_cores() == os.cpu_count()
    assert not system.memory_is_limited()
    with (tmp_path / "file").open("w") as stream:
        assert system.lock_file(stream, wait=False) is None


def test_limits_of_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system, "_CGROUP", tmp_path)
    for name, value in {"cpu.max": "50000 100000", "memory.max": "5000", "memory.current": "2000"}.items():
        (tmp_path / name).write_text(f"{value}\n")
    assert (system.available_cores(), system.free_memory()) == (1, 3000)


def test_a_locked_file(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as first, (tmp_path / "file").open() as second:
        assert system.lock_file(first, wait=True)
        assert system.lock_file(second, wait=False) is False
        first.close()
        assert system.lock_file(second, wait=False)


@pytest.mark.parametrize("path", ["/dev/stdin", "/dev/fd/3", "/proc/self/fd/3", "/proc/12/fd/3"])
def test_names_of_the_system(path: str) -> None:
    assert system.is_system_path(path)
    assert not system.is_system_path(f"/srv{path}")
    assert not system.is_system_path("/dev/shm/a.wav")
