"""The files of jobs. Each job has a folder: for its recording while it is needed, and for its results.

<data folder>/jobs/
    job_3f0c5a1d2b7e4c96/
        recording.mp3               until the job has ended; kept if the server died in it
        .mtasr-journal/             what is decoded, while the job is under way
        transcript.txt, ...         the result in every format, once the job is done
        transcript.en.txt, ...      its translation, if one was asked for as well

A job that fails, or is removed, loses its folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from mtasr import atomic, system
from mtasr.batch import Job, outputs
from mtasr.errors import InputError, OutputError
from mtasr.formats.registry import OUTPUT_FORMATS

_RECORDING = "recording"

#: What the files of a result are called, before their endings.
_STEM = "transcript"

#: Only the user who runs the server may look into the folders that it makes.
_PRIVATE = 0o700


class JobFiles:
    """The folders of all jobs. Raises `OutputError` on construction if they cannot be made or written."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "jobs"
        for folder in (data, self._folder):
            is_new = not folder.exists()
            outputs.prepare(folder)
            if is_new:  # a folder that somebody else made may be for others, too
                with contextlib.suppress(OSError):  # file systems without permissions
                    folder.chmod(_PRIVATE)

    def folder(self, job_id: str) -> Path:
        return self._folder / job_id

    def take(self, received: Path, job_id: str) -> None:
        """Make a received file, which is on the same disk, the recording of a new job.

        The recording survives a loss of power once this returns. Raises `OutputError`.
        """
        # The ending tells ffmpeg formats apart that have no header.
        recording = self.folder(job_id) / f"{_RECORDING}{received.suffix}"
        try:
            self.folder(job_id).mkdir(mode=_PRIVATE)
            with received.open("rb+") as file:
                os.fsync(file.fileno())
            received.replace(recording)
        except OSError as error:
            self.remove(job_id)
            raise OutputError(f"{recording}: {atomic.reason(error)}") from error
        for folder in (self.folder(job_id), self._folder):
            system.sync_folder(folder)

    def recording(self, job_id: str, size: int) -> Path:
        """The recording of a job. Raises `InputError` unless it is there with all its bytes."""
        found = next(self.folder(job_id).glob(f"{_RECORDING}*"), None)
        if found is None:
            raise InputError("the server has lost the recording")
        try:
            bytes_found = found.stat().st_size
        except OSError as error:
            raise InputError(f"the server cannot read the recording: {atomic.reason(error)}") from error
        if bytes_found != size:
            raise InputError(f"the server's copy of the recording is damaged: {bytes_found} of its {size} bytes remain")
        return found

    def work(self, job_id: str, recording: Path, *, translated: bool) -> Job:
        """What a batch has to do for a job: every format."""
        return Job(str(recording), self.folder(job_id), _STEM, tuple(OUTPUT_FORMATS), translated)

    def result(self, job_id: str, output_format: str, *, translated: bool = False) -> Path:
        """The file of a result in a format; it exists once the job is done."""
        return self.folder(job_id) / f"{_STEM}{'.en' if translated else ''}.{output_format}"

    def remove_recording(self, job_id: str) -> None:
        for recording in self.folder(job_id).glob(f"{_RECORDING}*"):
            with contextlib.suppress(OSError):
                recording.unlink()

    def remove(self, job_id: str) -> None:
        """Remove all files of a job."""
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def tidy(self, *, ended: Iterable[str], whole: Iterable[str]) -> None:
        """Remove what a killed server left: recordings of jobs that have ended, and folders of removed jobs.

        The folders of jobs in `whole` stay as they are.
        """
        ended, whole = set(ended), set(whole)
        for folder in self._folder.iterdir():
            if folder.name in whole:
                continue
            if folder.name in ended:
                self.remove_recording(folder.name)
            else:
                self.remove(folder.name)
