"""What is concluded from the processor's description."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mtasr import system

ZEN3 = "fpu sse sse2 ssse3 avx avx2 fma"
ZEN4 = f"{ZEN3} avx512f avx512bw avx512dq avx512vl avx512_vnni"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CT2_FORCE_CPU_ISA", raising=False)
    system._description.cache_clear()
    yield
    system._description.cache_clear()


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
