"""`python -m mtasr`, and the entry point of the command `mtasr`."""

import contextlib
import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line and exit. Ctrl-C ends it in one line from now on: loading the rest takes a while."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, _stop)
    from mtasr.cli import main as run

    run()


def _stop(signum: int, frame: FrameType | None) -> None:
    """End at once: nothing has begun that needs cleaning up. Commands set handlers of their own while they run."""
    with contextlib.suppress(OSError):  # a full disk or a closed stream behind standard error
        os.write(2, b"mtasr: stopped\n")
    os._exit(128 + signum)


if __name__ == "__main__":
    main()
