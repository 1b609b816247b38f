"""When a live session drafts, commits and ends a stretch. The defaults were measured (benchmarks/README.md)."""

from __future__ import annotations

from dataclasses import dataclass

from mtasr.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePolicy:
    """The settings of a live session, in seconds. Raises `UsageError` on construction for a value out of range."""

    #: Audio between two drafts; more on a machine that is too slow for that.
    step: float = 0.8
    #: A word that two drafts in a row have is committed if this much audio follows it.
    margin: float = 0.4
    #: Whether the times of drafted words count. If not, words that two drafts have are committed whatever follows them,
    #: and audio is cut in pauses only. None: if the alignment of the model is reliable.
    trusts_times: bool | None = None
    #: Silence that ends a stretch. None: only `LiveSession.cut` and the length do.
    pause: float | None = 0.5
    #: Drafts hear this much at most, if words were committed at which the audio can be cut.
    window: float = 8.0
    #: A stretch without a pause is cut at a word from this length on; from three quarters of it on, in a short pause.
    longest: float = 20.0
    #: The next draft is due after this many times the lag of the last, if that is more than `step`.
    slack: float = 1.25
    #: Whether words are committed before their stretch ends. Off for translations, whose words have no reliable times.
    commits: bool = True
    #: Whether `LiveSession.transcript` is to be the transcript of a file with the same samples, which is decoded beside
    #: the captions; without it the transcript consists of the final texts.
    exact: bool = True
    #: Audio that may wait to be heard; then `LiveSession.add` waits.
    most_waiting: float = 60.0
    #: Events that may wait to be read, apart from drafts; then the session fails.
    most_unread: int = 10_000

    def __post_init__(self) -> None:
        for name, least, most in (
            ("step", 0.1, 10.0),
            ("margin", 0.0, 5.0),
            ("window", 4.0, 20.0),
            ("longest", 8.0, 26.0),
            ("slack", 1.0, 10.0),
            ("most_waiting", 1.0, 3600.0),
            ("most_unread", 100, 10_000_000),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise UsageError(f"{name} must be between {least:g} and {most:g}, not {value!r}")
        if self.pause is not None and not 0.1 <= self.pause <= 10.0:
            raise UsageError(f"pause must be None or between 0.1 and 10, not {self.pause!r}")
