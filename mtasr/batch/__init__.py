"""Many recordings with one model: which ones, where their results go, and how to go on after an interruption.

    from pathlib import Path

    from mtasr import load_model
    from mtasr.batch import BatchRun, gather, plan

    jobs = plan(gather(["talks"], recursive=True), Path("texts"), ["srt", "json"])
    for ending in BatchRun(jobs, load_model("base"), existing="resume").run():
        print(ending.name, ending.result, ending.reason)

`gather` finds recordings in files, folders, patterns and lists; `plan` names their results and refuses collisions
before any work; `BatchRun.run` transcribes, writes, and yields how each recording ended. A journal in the output folder
lets a batch that was stopped at any moment go on. `Observer` follows the progress. Nothing here prints or ends the
process: errors are those of `mtasr.errors`.
"""

from mtasr.batch.inputs import Input, gather
from mtasr.batch.outputs import Job, plan
from mtasr.batch.run import BatchRun, Ending, Observer

__all__ = ["BatchRun", "Ending", "Input", "Job", "Observer", "gather", "plan"]
