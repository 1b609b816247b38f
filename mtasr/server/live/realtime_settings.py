"""What `session.update` of OpenAI's realtime API sets, in its current words and in those of its beta.

current: {"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000},
          "transcription": {"model", "language", "prompt", ...}, "turn_detection": {...}}}, "include": [...]}
beta:    {"input_audio_format": "pcm16", "input_audio_transcription": {...}, "turn_detection": {...}, ...}
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mtasr.errors import UsageError
from mtasr.live import LivePolicy
from mtasr.server.forms import decoding_options
from mtasr.server.live.host import LiveWanted
from mtasr.server.live.sound import LiveSound
from mtasr.server.problems import Problem, bad_field, check_word, shown

#: The formats of sound, by the names in both vocabularies: (current, beta) to how they are written.
_FORMATS = {
    ("audio/pcm", "pcm16"): LiveSound(encoding="pcm_s16le", rate=24_000),
    ("audio/pcmu", "g711_ulaw"): LiveSound(encoding="mulaw", rate=8000),
    ("audio/pcma", "g711_alaw"): LiveSound(encoding="alaw", rate=8000),
}
_LOGPROBS = "item.input_audio_transcription.logprobs"
#: Seconds of silence after which somebody has finished, by eagerness of `semantic_vad`.
_EAGERNESS = {"low": 1.5, "medium": 0.8, "auto": 0.8, "high": 0.5}
_TRANSCRIPTION = ("model", "language", "languages", "keywords", "prompt", "delay")
_INPUT = ("format", "noise_reduction", "transcription", "turn_detection")
#: The beta's names of these.
_BETA = {f"input_audio_{name}": name for name in _INPUT[:3]} | {"turn_detection": "turn_detection"}

#: What a session has before it is told otherwise.
DEFAULT_TURNS: Mapping[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeSettings:
    """The settings of a session. `turns` is None if the client says where items end."""

    sound: LiveSound = LiveSound(rate=24_000)  # noqa: RUF009 - it is frozen
    transcription: Mapping[str, Any]
    turns: Mapping[str, Any] | None
    noise_reduction: Mapping[str, Any] | None = None
    logprobs: bool = False

    @property
    def padding(self) -> float:
        """Seconds before speech that count as part of it."""
        padding: float = (self.turns or {}).get("prefix_padding_ms", DEFAULT_TURNS["prefix_padding_ms"]) / 1000
        return padding

    @property
    def pause(self) -> float:
        """Seconds of silence that end what somebody says."""
        turns = self.turns or DEFAULT_TURNS
        if turns["type"] == "semantic_vad":
            return _EAGERNESS[turns.get("eagerness", "auto")]
        pause: float = turns.get("silence_duration_ms", DEFAULT_TURNS["silence_duration_ms"]) / 1000
        return pause

    def wanted(self) -> LiveWanted:
        """The live session that these settings mean. Raises `Problem` 400."""
        given, turns = self.transcription, self.turns or DEFAULT_TURNS
        more: dict[str, Any] = {}
        if given.get("keywords"):
            more["hotwords"] = ", ".join(given["keywords"])
        if given.get("prompt"):
            more["initial_prompt"] = given["prompt"]
        if given.get("languages"):
            more["languages"] = tuple(given["languages"])
        threshold = turns.get("threshold", DEFAULT_TURNS["threshold"])
        options = decoding_options({}, language=given.get("language") or None, vad_threshold=threshold, **more)
        try:
            policy = LivePolicy(pause=self.pause, exact=False)
        except UsageError as error:
            raise bad_field("silence_duration_ms", str(error)) from error
        return LiveWanted(model=given.get("model"), options=options, policy=policy, sound=self.sound)

    def packed(self) -> bytes:
        """The settings in little memory, for `unpacked`."""
        session = self.shown("", beta=False)
        return json.dumps(session, ensure_ascii=False, separators=(",", ":")).encode()

    @staticmethod
    def unpacked(settings: bytes) -> RealtimeSettings:
        """The settings that `packed` gave."""
        return default_settings().updated(json.loads(settings), beta=False)

    def updated(self, session: Any, *, beta: bool) -> RealtimeSettings:
        """These settings with what an update changes. Raises `Problem` 400 for what is wrong or unknown."""
        check_object("session", session)
        given = _of_beta(session) if beta else _of_current(session)
        changed = self
        if "include" in given:
            changed = replace(changed, logprobs=_logprobs(given["include"]))
        if given.get("format") is not None:
            changed = replace(changed, sound=_sound(given["format"], beta=beta))
        if "transcription" in given:
            changed = replace(changed, transcription=_transcription(given["transcription"] or {}, self.transcription))
        if "turn_detection" in given:
            changed = replace(changed, turns=_turns(given["turn_detection"]))
        if "noise_reduction" in given:
            changed = replace(changed, noise_reduction=_noise_reduction(given["noise_reduction"]))
        changed.wanted()
        return changed

    def shown(self, name: str, *, beta: bool) -> dict[str, Any]:
        """The session `name` as events describe it."""
        current, old = next(names for names, sound in _FORMATS.items() if sound == self.sound)
        include = [_LOGPROBS] if self.logprobs else None
        head: dict[str, Any] = {"id": name, "object": "realtime.transcription_session"}
        turns = None if self.turns is None else dict(self.turns)
        transcription = dict(self.transcription)
        if beta:
            return head | {
                "input_audio_format": old,
                "input_audio_transcription": transcription,
                "turn_detection": turns,
                "input_audio_noise_reduction": self.noise_reduction,
                "include": include,
            }
        form = {"type": current} | ({"rate": 24_000} if current == "audio/pcm" else {})
        sound = {
            "format": form,
            "transcription": transcription,
            "turn_detection": turns,
            "noise_reduction": self.noise_reduction,
        }
        return head | {"type": "transcription", "audio": {"input": sound}, "include": include}


def _of_current(session: Mapping[str, Any]) -> dict[str, Any]:
    """What a session of the current API sets, by our names."""
    kind = session.get("type")
    if kind != "transcription":
        raise bad_field("session.type", "this server only transcribes: session.type must be transcription")
    given = {name: value for name, value in session.items() if name != "audio" and value is not None}
    check_names("session", given, ("type", "include", "id", "object", "expires_at"))
    audio = session.get("audio") or {}
    check_object("session.audio", audio)
    check_names("session.audio", audio, ("input",))
    sound = audio.get("input") or {}
    check_object("session.audio.input", sound)
    check_names("session.audio.input", sound, _INPUT)
    return {**sound, **{name: session[name] for name in ("include",) if name in session}}


def _of_beta(session: Mapping[str, Any]) -> dict[str, Any]:
    """What a session of the beta sets, by our names."""
    check_names("session", session, (*_BETA, "include", "id", "object", "expires_at", "modalities", "client_secret"))
    return {_BETA.get(name, name): value for name, value in session.items()}


def _sound(value: Any, *, beta: bool) -> LiveSound:
    if not beta:
        check_object("format", value)
        if value.get("rate", 24_000) not in (24_000, None) and value.get("type") == "audio/pcm":
            raise bad_field("format.rate", "audio/pcm has a rate of 24000 here; /v1/live takes others")
    names = {both[beta]: sound for both, sound in _FORMATS.items()}
    return names[one_word("format", value if beta else value.get("type"), names)]


def _transcription(value: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    check_object("transcription", value)
    check_names("transcription", value, _TRANSCRIPTION)
    for name, each in value.items():
        many = name in ("languages", "keywords")
        texts = each if many and isinstance(each, list) else [each]
        if each is not None and not all(isinstance(text, str) for text in texts):
            raise bad_field(f"transcription.{name}", f"{name} must be {'a list of texts' if many else 'a text'}")
    kept = {name: before[name] for name in ("model",) if name in before}
    return kept | {name: each for name, each in value.items() if each is not None}


def _turns(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    check_object("turn_detection", value)
    kind, eagerness = value.get("type"), value.get("eagerness")
    kind = one_word("turn_detection.type", "server_vad" if kind is None else kind, ("server_vad", "semantic_vad"))
    if kind == "semantic_vad":
        eagerness = one_word("turn_detection.eagerness", "auto" if eagerness is None else eagerness, _EAGERNESS)
        return {"type": kind, "eagerness": eagerness}
    turns: dict[str, Any] = {**DEFAULT_TURNS}
    for name in ("threshold", "prefix_padding_ms", "silence_duration_ms"):
        if value.get(name) is not None:
            if isinstance(value[name], bool) or not isinstance(value[name], int | float) or not 0 <= value[name] < 1e5:
                raise bad_field(f"turn_detection.{name}", f"{name} must be a number, and not negative")
            turns[name] = value[name]
    return turns


def _noise_reduction(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    check_object("noise_reduction", value)
    check_names("noise_reduction", value, ("type",))
    return {"type": one_word("noise_reduction.type", value.get("type"), ("near_field", "far_field"))}


def _logprobs(value: Any) -> bool:
    if not isinstance(value or [], list):
        raise bad_field("include", "include must be a list")
    for each in value or []:
        one_word("include", each, (_LOGPROBS,))
    return bool(value)


def default_settings() -> RealtimeSettings:
    """What a session has before it is told otherwise."""
    return RealtimeSettings(transcription={"model": "whisper-1"}, turns=DEFAULT_TURNS)


def session_name() -> str:
    """A new one."""
    return f"sess_{secrets.token_hex(12)}"


def check_object(name: str, value: Any) -> None:
    """Raise `Problem` 400 unless the value is an object of JSON."""
    if not isinstance(value, dict):
        raise bad_field(name, f"{name} must be an object")


def one_word(name: str, value: Any, words: Collection[str]) -> str:
    """The value, which is one of the words. Raises `Problem` 400 for any other value of JSON."""
    if not isinstance(value, str):
        raise bad_field(name, f"{name} must be one of {', '.join(words)}")
    check_word(name, value, words)
    return value


def check_names(where: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise `Problem` 400 if an object, which has a name or is the body, has members that are not known."""
    for name in given:
        if name not in known:
            param = f"{where}.{name}".removeprefix(".")
            message = f"{where or 'the body'} has no {shown(name)} here"
            raise Problem(400, message, code="unknown_parameter", param=param)
