"""The weights of speaker models: where they come from, how they are read and kept.

Their networks are in `mtasr.speakers`.
"""

from mtasr.models.speakers.install import find, resolve
from mtasr.models.speakers.published import DEFAULT_SPEAKER_MODEL, SPEAKER_MODELS, SpeakerModel

__all__ = ["DEFAULT_SPEAKER_MODEL", "SPEAKER_MODELS", "SpeakerModel", "find", "resolve"]
