"""`python -m mtasr`, and where the command `mtasr` begins."""

import atexit
import contextlib
import os
import signal
import sys
import threading
from types import FrameType


def main() -> None:
    """Run the command line and exit. Ctrl-C ends it in one line from now on: loading the rest takes a while."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, _stop)
    from mtasr.cli import leave_at_once
    from mtasr.cli import main as run

    try:
        run()
    except SystemExit as end:
        if sys.gettrace() or sys.getprofile() or not isinstance(end.code, int):
            raise  # a debugger or a profiler, which has something left to do
        # To take everything down would take 0.1 s more. Whoever has something left to do still does it: threads first.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        leave_at_once(end.code)


def _stop(signum: int, frame: FrameType | None) -> None:
    """Nothing is begun yet that would have to be cleaned up; while a command runs, others look after it."""
    with contextlib.suppress(OSError):  # where nobody can be told, as on a full disk
        os.write(2, b"mtasr: stopped\n")
    os._exit(128 + signum)


if __name__ == "__main__":
    main()
