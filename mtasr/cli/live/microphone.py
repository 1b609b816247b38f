"""The microphone, through PortAudio."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.resample import Resampler
from mtasr.cli.live.source import LOOK
from mtasr.errors import InputError, MissingExtraError, UsageError
from mtasr.extras import extras
from mtasr.spans import SAMPLE_RATE

#: Seconds without sound after which the device counts as gone. Some systems say nothing when one is unplugged.
_GONE = 5.0

#: Seconds of zeros at the start after which a note tells of them: a muted device, or one that the system withholds.
_MUTE = 5.0

#: Blocks as the device gives them, and whether some were lost before; None when it stops.
_Heard = queue.SimpleQueue[tuple[bytes, bool] | None]


def _sounddevice() -> Any:
    """The module. Raises `MissingExtraError` without it or PortAudio, `InputError` if that finds no sound system."""
    try:
        with extras():
            import sounddevice
    except OSError as error:
        raise MissingExtraError(
            f"the microphone needs PortAudio ({error}): install the package libportaudio2 (Debian, Ubuntu) or portaudio"
            " (Fedora, Arch, Homebrew), or pipe the sound into `mtasr live -`"
        ) from error
    except Exception as error:
        if type(error).__name__ != "PortAudioError":
            raise
        raise InputError(f"the sound system cannot be used: {error}") from error
    return sounddevice


def devices() -> Iterator[str]:
    """A line for each device with a microphone: its number, name, and whether it is the default."""
    sound = _sounddevice()
    try:
        default = sound.query_devices(kind="input")["index"]
    except (sound.PortAudioError, ValueError):
        default = None
    for number, each in enumerate(sound.query_devices()):
        if each["max_input_channels"] > 0:
            system = sound.query_hostapis(each["hostapi"])["name"]
            mark = " (default)" if number == default else ""
            yield f"{number}  {each['name']}, {system}{mark}"


class Microphone:
    """A device of the system: `device` is its number, a part of its name, or None for the default.

    Raises `UsageError` if no microphone is meant by that, `InputError` if there is none or it cannot be opened,
    `MissingExtraError` without what is needed to use it.
    """

    def __init__(self, device: str | None = None) -> None:
        self._sound = sound = _sounddevice()
        wanted = int(device) if device is not None and device.isdecimal() else device
        try:
            found = sound.query_devices(wanted, "input")
        except (ValueError, sound.PortAudioError) as error:
            if device is None:
                raise InputError("no microphone was found; `mtasr live -` listens to standard input") from error
            reason = str(error).partition("\n")[0].rstrip(":")
            raise UsageError(f"--input-device {device}: {reason}; --list-devices shows them") from error
        self.name = f"the microphone {found['name']!r}"
        self._device = found["index"]
        self._rate, self._channels = self._format(found)

    def _format(self, found: dict[str, Any]) -> tuple[int, int]:
        """A rate and a number of channels that the device takes, those that need no conversion first."""
        own = round(found["default_samplerate"])
        error: Exception | None = None
        for rate, channels in ((SAMPLE_RATE, 1), (own, 1), (own, min(found["max_input_channels"], 2))):
            try:
                self._sound.check_input_settings(
                    device=self._device, channels=channels, dtype="float32", samplerate=rate
                )
            except self._sound.PortAudioError as exc:
                error = error or exc
            else:
                return rate, channels
        raise InputError(f"{self.name} cannot be opened: {error}") from error

    def blocks(self, stopped: threading.Event, note: Callable[[str], None]) -> Iterator[Float32Array]:
        """As in `LiveSource`."""
        heard: _Heard = queue.SimpleQueue()
        try:
            stream = self._sound.RawInputStream(
                samplerate=self._rate,
                channels=self._channels,
                device=self._device,
                dtype="float32",
                callback=lambda data, frames, times, status: heard.put((bytes(data), bool(status.input_overflow))),
                finished_callback=lambda: heard.put(None),
            )
            with stream:
                yield from self._resampled(self._heard(heard, stopped, note))
        except self._sound.PortAudioError as error:
            raise InputError(f"{self.name} cannot be used: {error}") from error

    def _resampled(self, blocks: Iterator[Float32Array]) -> Iterator[Float32Array]:
        resampler = Resampler(self._rate)
        for block in blocks:
            yield resampler.push(block)
        yield resampler.finish()

    def _heard(self, heard: _Heard, stopped: threading.Event, note: Callable[[str], None]) -> Iterator[Float32Array]:
        """The blocks that the device gives, mixed. Notes lost sound, and a device that seems to be muted."""
        silent: float | None = 0.0
        is_told = False
        for data, is_incomplete in self._taken(heard, stopped):
            if is_incomplete and not is_told:
                is_told = True
                note(f"warning: {self.name}: sound was lost, because the machine did not take it in time")
            block = np.frombuffer(data, np.float32).reshape(-1, self._channels).mean(axis=1, dtype=np.float32)
            if silent is not None:
                silent = None if block.any() else silent + len(block) / self._rate
                if silent is not None and silent >= _MUTE:
                    silent = None
                    note(f"warning: {self.name} gives nothing but zeros: is it muted, or does the system withhold it?")
            yield block

    def _taken(self, heard: _Heard, stopped: threading.Event) -> Iterator[tuple[bytes, bool]]:
        """What the device gives until `stopped` is set. Raises `InputError` if that ends before."""
        last = time.monotonic()
        while not stopped.is_set():
            try:
                got = heard.get(timeout=LOOK)
            except queue.Empty:
                if time.monotonic() - last > _GONE:
                    raise InputError(f"{self.name} gives no sound any more; was it unplugged?") from None
                continue
            if got is None:
                raise InputError(f"{self.name} stopped; was it unplugged?")
            last = time.monotonic()
            yield got
