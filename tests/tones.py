"""Tones in any format, made with ffmpeg, and what is heard in them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.audio.read import open_audio
from mtasr.spans import SAMPLE_RATE

TONE = "sine=frequency=440:duration={seconds}:sample_rate={rate}"


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([find_ffmpeg(), "-y", "-nostdin", "-loglevel", "error", *map(str, arguments)], check=True)


def make_tone(path: Path, *arguments: str, seconds: float = 2.0, rate: int = 44_100, channels: int = 1) -> Path:
    pan = f"pan={channels}c|" + "|".join(f"c{c}=c0" for c in range(channels))
    ffmpeg("-f", "lavfi", "-i", TONE.format(seconds=seconds, rate=rate), "-af", pan, *arguments, path)
    return path


def read(source: Any, **chosen: int) -> np.ndarray:
    with open_audio(source, **chosen) as stream:
        return np.concatenate([np.zeros(0, np.float32), *stream])


def frequency(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE / len(samples))


def children() -> set[str]:
    """Process ids of our children, zombies included."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
