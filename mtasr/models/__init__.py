"""Named models: where they come from, where they are kept, and whether they are still what they were.

Importing this loads neither CTranslate2 nor torch, and the network code only when something is downloaded.
"""

from mtasr.models.hub import Progress
from mtasr.models.manage import ModelStatus, Verification, list_models, pull, remove, verify
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
    "pull",
    "remove",
    "resolve",
    "verify",
]
