"""The command line on a system without what only POSIX systems have: `python without_posix.py transcribe a.wav`.

With the arguments "import everything" it imports every module of the package instead.
"""

from __future__ import annotations

import asyncio  # noqa: F401 - this and platformdirs before their Linux halves lose what they import
import importlib
import os
import pkgutil
import signal
import sys
import types

import platformdirs.unix  # noqa: F401

_MODULES = ["fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "readline", "curses", "syslog"]
_SIGNALS = ["SIGPIPE", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGTSTP", "SIGWINCH"]
_CALLS = ["sched_getaffinity", "sysconf", "getuid", "geteuid", "getpgid", "setpgid", "killpg", "fork", "mkfifo"]
_FLAGS = ["O_NONBLOCK", "O_NOCTTY", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC"]


def _take_away(module: types.ModuleType, names: list[str]) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


for _name in _MODULES:
    sys.modules[_name] = None  # type: ignore[assignment] - which makes `import` fail
_take_away(signal, _SIGNALS)
_take_away(os, _CALLS + _FLAGS)

if __name__ == "__main__":
    from mtasr import system

    # What /proc, /sys and /dev would tell.
    for _name in ("_CPUINFO", "_MEMINFO", "_CGROUP", "_STDIN"):
        setattr(system, _name, system.Path("/nonexistent"))
    if sys.argv[1:] == ["import", "everything"]:
        import mtasr

        for _module in pkgutil.walk_packages(mtasr.__path__, "mtasr."):
            if not _module.name.endswith("__main__"):
                importlib.import_module(_module.name)
                print(_module.name)  # noqa: T201
    else:
        from mtasr.cli import main

        main()
