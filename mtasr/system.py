"""What this machine's processor means for CTranslate2."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

#: The largest weight in int8 that CTranslate2 itself writes, and where sums of such would overflow (`largest_weight`).
WHOLE_RANGE, _SAFE_RANGE = 127, 96

_AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"})
#: Instructions that multiply and add int8 in 32 bits.
_WIDE_SUMS = frozenset({"avx512_vnni", "avx_vnni"})


def use_avx512() -> None:
    """Make CTranslate2 use AVX-512 on AMD processors that have it, where by itself it takes AVX2.

    It looks at the variable when it first computes. Beam search is a twelfth faster for it (benchmarks/README.md).
    """
    vendor, flags = _description()
    if vendor == "AuthenticAMD" and flags >= _AVX512:
        os.environ.setdefault("CT2_FORCE_CPU_ISA", "AVX512")


def largest_weight() -> int:
    """The largest value that a weight in int8 should have for this processor: 127, or less where sums overflow.

    Without VNNI, int8 is multiplied with an instruction (`vpmaddubsw`) that adds pairs of products in 16 bits and clips
    what does not fit: 2 * 255 * 127 does not. With three quarters of the range this hardly happens, and the coarser
    steps cost less than they save (benchmarks/README.md). Measured with oneDNN on AMD; Intel's MKL is reported to clip
    as well (github.com/uxlfoundation/oneDNN/issues/518, 717).
    """
    _, flags = _description()
    return _SAFE_RANGE if "ssse3" in flags and not flags & _WIDE_SUMS else WHOLE_RANGE


@cache
def _description() -> tuple[str, frozenset[str]]:
    """Vendor and abilities of the first processor; empty where the system does not tell."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    return found.get("vendor_id", ""), frozenset(found.get("flags", "").split())
