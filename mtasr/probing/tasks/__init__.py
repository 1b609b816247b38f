"""The tasks of a probe, by name.

To add one, write a class derived from `HeadTask` (`mtasr.probing.tasks.task`) in a file of its own, in this folder or
in any other package, and add one line to `TASKS`: its name, and `module:Class`. The module is imported only when the
task is asked for. A program may also put a class into this dictionary before it calls `probe`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mtasr.errors import UsageError

if TYPE_CHECKING:
    from mtasr.probing.tasks.task import Task

TASKS: dict[str, str | type[Task]] = {
    # Content
    "phones": "mtasr.probing.tasks.phones:PhonesTask",
    "phones-ctc": "mtasr.probing.tasks.sequences:PhonesCtcTask",
    "characters": "mtasr.probing.tasks.sequences:CharactersTask",
    "keyword": "mtasr.probing.tasks.classes:KeywordTask",
    "search": "mtasr.probing.tasks.search:SearchTask",
    # Speaker
    "speaker": "mtasr.probing.tasks.classes:SpeakerTask",
    "verification": "mtasr.probing.tasks.verification:VerificationTask",
    "diarization": "mtasr.probing.tasks.activity:DiarizationTask",
    # Semantics
    "intent": "mtasr.probing.tasks.classes:IntentTask",
    "slots": "mtasr.probing.tasks.sequences:SlotsTask",
    # Paralinguistics
    "emotion": "mtasr.probing.tasks.classes:EmotionTask",
    "language": "mtasr.probing.tasks.classes:LanguageTask",
}

#: What SUPERB and its tools call the same tasks.
SUPERB_NAMES = {
    "pr": "phones-ctc", "asr": "characters", "ks": "keyword", "qbe": "search", "sid": "speaker", "asv": "verification",
    "sd": "diarization", "ic": "intent", "sf": "slots", "er": "emotion",
}  # fmt: skip


def task_class(name: str) -> type[Task]:
    """The class of a task, by its name or SUPERB's. Raises `UsageError`."""
    found = TASKS.get(SUPERB_NAMES.get(name.lower(), name))
    if found is None:
        raise UsageError(f"task must be one of {', '.join(TASKS)}, not {name!r}")
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        kind: type[Task] = getattr(import_module(module), attribute)
        return kind
    return found
