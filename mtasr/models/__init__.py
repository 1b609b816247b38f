"""Named models: finding, downloading, caching and verifying them.

Importing this loads neither CTranslate2 nor torch, and network code only for a download.
"""

from mtasr.models.hub import Progress
from mtasr.models.manage import (
    ModelStatus,
    Verification,
    list_models,
    list_speaker_models,
    list_voice_models,
    locate,
    pull,
    remove,
    verify,
)
from mtasr.models.registry import DEFAULT_MODEL, check_use, english_only
from mtasr.models.resolve import resolve

__all__ = [
    "DEFAULT_MODEL",
    "ModelStatus",
    "Progress",
    "Verification",
    "check_use",
    "english_only",
    "list_models",
    "list_speaker_models",
    "list_voice_models",
    "locate",
    "pull",
    "remove",
    "resolve",
    "verify",
]
