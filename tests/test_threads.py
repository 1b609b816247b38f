"""Threads that are in compiled code when the interpreter exits, or in a process that is forked meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNTS = """
import sys, threading, time
from mtasr.threads import before_exit, start_thread

def work():
    with before_exit():
        began.set()
        time.sleep(0.3)
        print("the call ended", flush=True)
    try:
        with before_exit():
            print("another began", flush=True)
    except RuntimeError as error:
        print(error, flush=True)

began = threading.Event()
start_thread(work)
began.wait()
print("the end of the program", flush=True)
"""

FORKS = """
import os, threading
from mtasr.threads import before_exit, start_thread

def work():
    with before_exit():
        began.set()
        ended.wait(20)

began, ended = threading.Event(), threading.Event()
start_thread(work)
began.wait()
if (child := os.fork()) == 0:
    raise SystemExit(3)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
ended.set()
raise SystemExit(code)
"""

ENGINES = """
import sys, threading, time
from pathlib import Path
import numpy as np
from mtasr.engines.ctranslate2 import CTranslate2Engine
from mtasr.options import DecodingOptions

sys.path.insert(0, sys.argv[2])
from tiny_model import TINY

def engine():
    return CTranslate2Engine(Path(sys.argv[1]), device="cpu", threads=1, workers=1, dims=TINY)

def repeat(work):
    work()
    began.release()
    try:
        while True:
            work()
    except RuntimeError as error:
        assert "exiting" in str(error)

began = threading.Semaphore(0)
used = engine()
features = [np.zeros((80, 3000), np.float32)]
encoded = used.encode(features)
start = [used.tokenizer.sot_sequence("en", "transcribe")]
works = {
    "encode": lambda: used.encode(features),
    "detect": lambda: used.detect_language(encoded[0]),
    "draw": lambda: used.generate(encoded, start, DecodingOptions(), 0.8),
    "free": engine,
}
threading.Thread(target=repeat, args=(works[sys.argv[3]],), daemon=True).start()
began.acquire()
"""


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_interpreter_waits_at_exit_for_calls_under_way_and_lets_none_begin() -> None:
    done = run(COUNTS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["the end of the program", "the call ended", "the interpreter is exiting"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_does_not_wait_for_threads_that_it_lacks() -> None:
    assert run(FORKS).returncode == 3


@pytest.mark.parametrize(
    "work", ["draw", *(pytest.param(each, marks=pytest.mark.slow) for each in ("encode", "detect", "free"))]
)
def test_a_thread_in_the_engine_does_not_crash_the_interpreter_at_exit(tiny_models: dict[str, Path], work: str) -> None:
    """Whoever computes, draws or frees a model: C++ would end the process ("terminate called ...")."""
    done = run(ENGINES, tiny_models["multilingual"], Path(__file__).parent, work)
    assert (done.returncode, done.stderr) == (0, "")
