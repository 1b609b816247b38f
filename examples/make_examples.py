"""Write the recordings beside this file, and the one inside the package: `python examples/make_examples.py`.

The sentences are ours and the voice is synthetic (espeak-ng), so the files carry no one's voice and no one's text.
Needs the development tools (`pip install -e ".[dev]"`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mtasr.audio.ffmpeg import find_ffmpeg

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from speech import SAMPLE_RATE, speak  # noqa: E402 - the tests' synthesiser, found through the line above

PAUSE_SECONDS = 0.6

# File -> voice, words a minute, sentences.
EXAMPLES = {
    "interview.flac": (
        "en-us",
        150,
        (
            "Good morning, and thank you for coming to talk with us today.",
            "Could you tell us how you found the old boat on the river?",
            "We were fishing near the bridge when my daughter saw it.",
        ),
    ),
    "entrevista.flac": (
        "es",
        140,
        ("Buenos días, quiero reservar una mesa para cuatro personas.",),
    ),
    # The caller of `call.flac`, by whose voice `--voices examples/voices` knows her.
    "voices/Anna.flac": (
        "en-us+f3",
        150,
        ("My name is Anna, and I like to read long stories in the evening.",),
    ),
    # What `mtasr models convert` lets both models hear.
    "../mtasr/models/parity_clip.flac": (
        "en-us",
        150,
        ("The train leaves at noon. Please bring the letters and some warm bread.",),
    ),
}

# Words a minute, and who says what, in turn: a voice on each channel.
CALL = (
    "call.flac",
    150,
    (
        ("en-us", "Good morning, this is the library. How can I help you?"),
        ("en-us+f3", "I would like to keep my book for another week."),
        ("en-us", "Of course. Please bring it back on Friday."),
    ),
)


def record(voice: str, words_per_minute: int, sentences: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """The sentences with pauses between and around them."""
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE / 2), np.float32)
    return np.concatenate(
        [part for line in sentences for part in (pause, speak(line, voice, words_per_minute=words_per_minute), pause)]
    )


def record_call(words_per_minute: int, turns: tuple[tuple[str, str], ...]) -> npt.NDArray[np.float32]:
    """Shape (n, channels): each voice is alone on a channel and silent while another speaks."""
    voices = list(dict.fromkeys(voice for voice, _ in turns))
    said = [(voices.index(voice), record(voice, words_per_minute, (line,))) for voice, line in turns]
    return np.concatenate([samples[:, None] * (np.arange(len(voices)) == channel) for channel, samples in said])


def write_flac(path: Path, samples: npt.NDArray[np.float32]) -> None:
    """Shape (n,) or (n, channels), in 16 bits, without the tags that would make each run's file differ."""
    command = [
        find_ffmpeg(),
        "-y",
        "-nostdin",
        "-loglevel",
        "error",
        "-f",
        "f32le",
        "-ar",
        str(SAMPLE_RATE),
        "-ac",
        str(samples[0].size),
    ]
    command += ["-i", "pipe:0", "-bitexact", "-sample_fmt", "s16", "-compression_level", "12", f"file:{path}"]
    subprocess.run(command, input=samples.astype(np.float32).tobytes(), check=True)


def main() -> None:
    recordings = {name: record(*how) for name, how in EXAMPLES.items()} | {CALL[0]: record_call(*CALL[1:])}
    for name, samples in recordings.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        write_flac(HERE / name, samples)
        print(f"{name}: {len(samples) / SAMPLE_RATE:.1f} s, {(HERE / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
