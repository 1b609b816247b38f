"""The weights of voices: where they come from, and how they are kept. `mtasr.speech` speaks with them."""

from mtasr.models.voices.install import find, resolve
from mtasr.models.voices.published import VOICE_MODELS, VoiceModel

__all__ = ["VOICE_MODELS", "VoiceModel", "find", "resolve"]
