"""What ffmpeg writes to standard error: duration, start of the audio, timestamps, errors.

The packaged ffmpeg has no ffprobe, so the process that decodes a file is the only source of what is known of it.
"""

from __future__ import annotations

import re
import threading
from typing import IO

from mtasr.audio.timeline import Stamp, Timeline

# The latest start of a stream to believe a header: transport streams may claim anything.
_MAX_HEADER_LEAD_SECONDS = 60.0
_MAX_LEAD_SECONDS = 86_400.0

# Holes that are filled with silence; jumps of timestamps beyond come from damage or another clock. The second limit is
# for formats that state no duration.
_LONGEST_BROADCAST_HOLE = 10.0
_LONGEST_HOLE = 3600.0

# Formats that state the time of the end as the duration, also where the first timestamp is not 0.
_END_IS_DURATION = ("matroska,webm", "nut", "asf")

#: A stamp that has not come by then will not come.
_STAMP_SECONDS = 60.0

# Lines to keep: the first ones give the cause.
_MAX_ERROR_LINES = 200
_MAX_LINE_BYTES = 4096

# Times in stamps are counted from a little before 0, in parts of a second; 0 stands for none.
_EARLIEST, _PARTS = -1000, 4000
#: The filter that prints a stamp for all samples that come together, and takes their timestamps away, because ffmpeg
#: complains of each that goes back. Other threads print too, and may have written half a line: so a stamp is a single
#: number, in which the time stands before 20 bits of count, and whose sign and 16 digits nothing else has.
STAMPS = (
    f"asetpts='print(-({1 << 52}+{1 << 20}*if(isnan(T),0,clip(round((T-{_EARLIEST})*{_PARTS}),1,{(1 << 31) - 1}))"
    "+NB_SAMPLES))+NAN'"
)
_STAMP = re.compile(rb"(?:\[Eval @ \w+\] \[info\] )?-(\d{16})\.0+\s*$")


def _stamp_of(number: bytes) -> Stamp:
    time, samples = divmod(int(number) - (1 << 52), 1 << 20)
    return Stamp(samples, (time + _EARLIEST * _PARTS) / _PARTS if time else None)


class FfmpegLog:
    """Reads ffmpeg's standard error line by line, in bounded memory."""

    def __init__(self, track: int = 0) -> None:
        self.track = track
        self.header_seen = threading.Event()
        self.lead_seen = threading.Event()
        self.duration: float | None = None
        self.errors: list[str] = []
        self.interrupted = ""
        #: ffmpeg's names of the format, such as "mov,mp4,m4a,3gp,3g2,mj2".
        self.format = ""
        #: Channels of the first samples; 0 until `lead_seen`, and if there are no samples.
        self.channels = 0
        #: Mean square of the samples of all channels, set at the end; None if it is not measured, or 0.
        self.power: float | None = None
        self._start = 0.0
        #: Start in seconds, by number among all streams.
        self._audio_starts: dict[int, float] = {}
        #: Samples per second, likewise.
        self._rates: dict[int, int] = {}
        #: Language and "default", as far as they are stated, likewise.
        self._tracks: dict[int, str] = {}
        self._first_time: float | None = None
        self._streams = 0
        self._estimated = False
        self._stamps: list[Stamp] = []
        #: Samples in all stamps so far.
        self._stamped = 0
        self._more_stamps = threading.Condition()
        self._ended = self._lost = False

    def listen(self, pipe: IO[bytes]) -> None:
        try:
            with pipe, open(pipe.fileno(), "rb", closefd=False) as lines:
                while line := lines.readline(_MAX_LINE_BYTES):
                    if found := _STAMP.search(line):
                        self._take_stamp(_stamp_of(found[1]))
                        line = line[: found.start()]
                    if line:
                        self._take(line.decode("utf-8", "replace").rstrip())
        finally:  # in any case, since other threads wait for these
            self.header_seen.set()
            self.lead_seen.set()
            with self._more_stamps:
                self._ended = True
                self._more_stamps.notify_all()

    def _take_stamp(self, stamp: Stamp) -> None:
        with self._more_stamps:
            if self._lost:
                return
            self._stamps.append(stamp)
            self._stamped += stamp.samples
            self._more_stamps.notify_all()

    def stamps(self, samples: int) -> list[Stamp]:
        """The next stamps; waits until they, and those before, are for that many samples, or ffmpeg has ended.

        ffmpeg prints a stamp before it gives the samples. If it does not after all, none are believed from there on.
        """
        with self._more_stamps:
            self._lost = self._lost or not self._more_stamps.wait_for(
                lambda: self._stamped >= samples or self._ended, timeout=_STAMP_SECONDS
            )
            if self._lost and self._stamped < samples:
                self._stamps.append(Stamp(samples - self._stamped, None))
                self._stamped = samples
            stamps, self._stamps = self._stamps, []
            return stamps

    def _take(self, line: str) -> None:
        match = re.match(r"(?:\[[^]]* @ [^]]*\] )*\[(\w+)\] (.*)", line)
        if match is None:
            return
        level, text = match.groups()
        if level in ("error", "fatal", "panic"):
            if len(self.errors) < _MAX_ERROR_LINES:
                # This line goes on to quote all of FORMATS.
                self.errors.append("Format not on whitelist" if text.startswith("Format not on whitelist") else text)
        elif not self.header_seen.is_set():
            self._take_header(text)
        elif (found := re.match(r"n: *0 .*?pts_time: *(\S+)", text)) and not self.lead_seen.is_set():
            self._first_time = _number(found[1])
            if channels := re.search(r" channels:(\d+) ", text):
                self.channels = int(channels[1])
            self.lead_seen.set()
        elif found := re.match(r"mean_volume: (-[\d.]+) dB", text):
            self.power = 10 ** (float(found[1]) / 10)
        elif found := re.match(r"Exiting normally, received (signal \d+)", text):
            self.interrupted = found[1]

    def _take_header(self, text: str) -> None:
        """Reads only ffmpeg's own lines: the file's tags, which anyone can write, start with a name."""
        if found := re.match(r"Input #0, (\S+), from ", text):
            self.format = found[1]
        elif found := re.match(r"  Duration: (?:(\d+):(\d+):([\d.]+)|N/A)(?:, start: (-?[\d.]+))?", text):
            if found[1]:
                self.duration = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
            self._start = _number(found[4]) or 0.0
        elif found := re.match(r" {2,4}Stream #0:(\d+)(?:\[\w+\])?(?:\((\w+)\))?\S*: (Audio|Video)", text):
            self._streams += "(attached pic)" not in text
            if found[3] == "Audio":
                self._tracks[int(found[1])] = ", ".join(
                    [
                        *([found[2]] if found[2] not in (None, "und") else []),
                        *(["default"] if "(default)" in text else []),
                    ]
                )
                started = re.search(r", start (-?[\d.]+)", text)
                start = _number(started[1]) if started else None
                self._audio_starts[int(found[1])] = self._start if start is None else start
                rate = re.search(r", (\d+) Hz", text)
                self._rates[int(found[1])] = int(rate[1]) if rate else 0
        elif text.startswith("Estimating duration from bitrate"):
            self._estimated = True
        elif text.startswith(("Stream mapping:", "Output #0")):
            self.header_seen.set()

    def rate(self) -> int:
        """Samples per second of the track, as stated by the header; 0 if it does not state them."""
        rates = [rate for _, rate in sorted(self._rates.items())]
        return rates[self.track] if self.track < len(rates) else 0

    def other_tracks(self) -> list[str]:
        """The audio tracks beside this one, by number, with their language and which is marked as default."""
        named = [
            f"{number} ({said})" if said else str(number)
            for number, (_, said) in enumerate(sorted(self._tracks.items()))
        ]
        return named[: self.track] + named[self.track + 1 :]

    def lead(self) -> float:
        """Seconds from the beginning of the file to the first sample of its audio.

        Transport streams count from the first sample instead of the first picture, so there the header decides.
        """
        starts = [start for _, start in sorted(self._audio_starts.items())]
        in_header = (starts[self.track] if self.track < len(starts) else 0.0) - self._start
        lead = max(self._first_time or 0.0, in_header if in_header < _MAX_HEADER_LEAD_SECONDS else 0.0, 0.0)
        return min(lead, self.duration or _MAX_LEAD_SECONDS)

    def timeline(self, lead: float) -> Timeline:
        """The timeline of the track, whose first sample is at `lead` seconds."""
        # The clock of a broadcast may start anew anywhere; ffmpeg and players take these as the longest holes.
        if self.format in ("mpegts", "mpeg"):
            return Timeline(lead=lead, longest=_LONGEST_BROADCAST_HOLE)
        if self.duration is None or self._estimated:
            return Timeline(lead=lead, longest=_LONGEST_HOLE)
        return Timeline(lead=lead, latest=self.duration + max(1.0, 0.01 * self.duration))

    def stated_audio_seconds(self) -> float | None:
        """The container's duration, if it is that of the audio and no guess."""
        if self._streams != 1 or self._estimated or self.duration is None or self.format == "avi":
            return None  # AVI counts what precedes the audio, and does not say how much it is
        return self.duration - max(self._start, 0.0) if self.format in _END_IS_DURATION else self.duration

    def want_of_memory(self) -> str | None:
        """The first line that says that memory, or a thread, is not to be had."""
        signs = ("Cannot allocate memory", "Resource temporarily unavailable")
        return next((line for line in self.errors if line.endswith(signs)), None)

    def reason(self, *, piped: bool) -> str:
        """Why nothing could be decoded, in a few words; ffmpeg cannot search `piped` input for its index."""
        said = "\n".join(self.errors)
        if "matches no streams" in said or "does not contain any stream" in said:
            count = len(self._audio_starts)
            there = "its only one is 0" if count == 1 else f"it has 0 to {count - 1}"
            return f"has no audio track {self.track}: {there}" if count else "has no audio track"
        if "moov atom not found" in said or "partial file" in said:
            pipe = ", or keeps its index at the end and so cannot come through a pipe" if piped else ""
            return f"is incomplete{pipe}"
        if self._streams:
            return self._damage(said)
        if "not on whitelist" in said or "Invalid data found when processing input" in said:
            return "is not a media file that ffmpeg can read"
        if "End of file" in said:
            return "is incomplete"
        return f"ffmpeg: {self.errors[-1]}" if self.errors else "ffmpeg failed and gave no reason"

    def _damage(self, said: str) -> str:
        if "Cannot determine format of input" in said:  # the name promised a format that the file does not have
            return "is damaged or not a recording"
        return f"is damaged: {self.errors[0]}" if self.errors else "is damaged"


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
