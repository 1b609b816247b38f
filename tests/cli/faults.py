"""What a test does to a process of its own before it starts."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

#: A program: the command line with a stand-in for the network.
HEARING = str(Path(__file__).with_name("hearing.py"))

_PR_CAPBSET_DROP = 24
#: The capabilities to write and to read whatever the permissions say.
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


def without_privileges() -> None:
    """Make permissions hold for the superuser too, as whom tests run in containers."""
    if os.geteuid() == 0:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
            if prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")
