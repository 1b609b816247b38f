"""The machine and its operating system: the one place for what differs from one to another.

Each function has a fallback, named in its docstring, for systems that lack what it asks for. Linux is what is tested.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import math
import os
import signal
import weakref
from functools import cache
from pathlib import Path
from typing import IO, Any

#: The largest weight in int8 that CTranslate2 itself writes, and where sums of such would overflow (`largest_weight`).
WHOLE_RANGE, _SAFE_RANGE = 127, 96

#: The signal of a pipe that nobody reads any more. Windows has no such signal; 13 is its number elsewhere.
SIGPIPE: int = getattr(signal, "SIGPIPE", 13)

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
#: Where the limits of a container stand (cgroup v2).
_CGROUP = Path("/sys/fs/cgroup")
_STDIN = Path("/dev/stdin")

_AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"})
#: Instructions that multiply and add int8 in 32 bits.
_WIDE_SUMS = frozenset({"avx512_vnni", "avx_vnni"})

#: The parameter of glibc's `mallopt` for the number of arenas.
_M_ARENA_MAX = -8
_CORES_OF_ARENA = 4
#: Bytes of free memory to assume of a system that does not state them.
_ASSUMED_MEMORY = 4 << 30


# Processes

_with_threads: weakref.WeakSet[Any] = weakref.WeakSet()


def keep_after_fork(owner: object) -> None:
    """Never free an owner of threads in a forked process: it would wait for ever for threads that are not there.

    Does nothing on systems without `fork`.
    """
    _with_threads.add(owner)


def _keep_all() -> None:
    for owner in _with_threads:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_all)


# Processor


def use_avx512() -> None:
    """Make CTranslate2 use AVX-512 on AMD processors that have it, where by itself it takes AVX2.

    CTranslate2 reads the variable when it first computes. Beam search is a twelfth faster for it
    (benchmarks/README.md). Does nothing where the system does not describe its processor (only Linux does).
    """
    vendor, flags = _processor()
    if vendor == "AuthenticAMD" and flags >= _AVX512:
        os.environ.setdefault("CT2_FORCE_CPU_ISA", "AVX512")


def largest_weight() -> int:
    """The largest value that a weight in int8 should have for this processor: 127, or less where sums overflow.

    Without VNNI, int8 is multiplied with an instruction (`vpmaddubsw`) that adds pairs of products in 16 bits and clips
    what does not fit: 2 * 255 * 127 does not. With three quarters of the range this hardly happens, and the coarser
    steps cost less than they save (benchmarks/README.md). Measured with oneDNN on AMD; Intel's MKL is reported to clip
    as well (github.com/uxlfoundation/oneDNN/issues/518, 717). 127 where the system does not describe its processor.
    """
    _, flags = _processor()
    return _SAFE_RANGE if "ssse3" in flags and not flags & _WIDE_SUMS else WHOLE_RANGE


def processor_kind() -> tuple[str, str]:
    """The maker of the processor and its widest vectors, by which libraries choose how they compute.

    Sums of floating-point numbers on two kinds differ in their last digits. Empty where the system does not describe
    its processor (only Linux on x86 does).
    """
    vendor, flags = _processor()
    return vendor, next((each for each in ("avx512f", "avx2", "avx", "sse4_1") if each in flags), "")


@cache
def _processor() -> tuple[str, frozenset[str]]:
    """Vendor and abilities of the first processor; empty where the system does not describe it."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    return found.get("vendor_id", ""), frozenset(found.get("flags", "").split())


def available_cores() -> int:
    """Processors that this process may use, in a container its share of them; else all of the machine's."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit
        quota, period = map(int, (_CGROUP / "cpu.max").read_text(encoding="ascii").split())
        cores = min(cores, max(1, math.ceil(quota / period)))
    return cores


# Memory


def free_memory() -> int:
    """Bytes that a program may still ask for, in a container of its share.

    Half of the machine's memory where the system does not state what is free, and 4 GiB where it states neither.
    """
    free = _free_memory_of_machine()
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit
        most, used = (int((_CGROUP / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        free = min(free, max(0, most - used))
    return free


def _free_memory_of_machine() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    sysconf = getattr(os, "sysconf", None)
    return sysconf("SC_PAGE_SIZE") * sysconf("SC_PHYS_PAGES") // 2 if sysconf else _ASSUMED_MEMORY


def memory_is_limited() -> bool:
    """Whether a limit on the address space (`ulimit -v`) is set for this process; False where there are no limits."""
    resource = _module("resource")
    return resource is not None and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def return_freed_memory() -> None:
    """Return freed memory to the system: glibc keeps what lies below the last block in use.

    Does nothing with other C libraries.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # TypeError: Windows has no library without a name
        ctypes.CDLL(None).malloc_trim(0)


def share_freed_memory() -> None:
    """Let threads use what others have freed: for the whole process, and before there are any threads.

    glibc gives each thread an arena of its own, which keeps up to 64 MiB of what is freed in it, whatever the others
    need. With one for four cores, threads do not wait for each other. A number that the user has set in the environment
    stays. Does nothing with other C libraries.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, -(-available_cores() // _CORES_OF_ARENA))


# Files


def lock_file(stream: IO[Any], *, wait: bool) -> bool | None:
    """Lock an open file against other processes until it is closed; returns whether it is locked now.

    Without `wait`, False where another process holds the lock. None where there are no locks: on Windows and some
    network file systems.
    """
    fcntl = _module("fcntl")
    if fcntl is None:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def open_at_once(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> int:
    """A descriptor of a file that may be a pipe or a terminal, without waiting for a writer. Raises `OSError`.

    A terminal does not become the one that controls this process. Windows opens the file like any other.
    """
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Does nothing where folders cannot be opened, as on Windows."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def standard_input_path() -> str | None:
    """A path by which a child process can open, and search, the file that is its standard input. None on Windows."""
    return str(_STDIN) if _STDIN.exists() else None


def is_system_path(path: str | os.PathLike[str]) -> bool:
    """Whether an absolute path is one of a device or a process, such as /dev/stdin or /proc/self/fd/0.

    Such a name may mean another file to another process, and its file cannot be replaced. Never on Windows.
    """
    parts = Path(path).parts
    return parts[:2] == ("/", "proc") or (parts[:2] == ("/", "dev") and (len(parts) == 3 or parts[2:3] == ("fd",)))


def _module(name: str) -> Any:
    """A module of the standard library that only some systems have, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
