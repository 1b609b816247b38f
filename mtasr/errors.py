"""Every error that mtasr raises on purpose.

    MtasrError
    ├── UsageError              an option or a combination of options makes no sense
    │   └── MissingExtraError       it needs an extra that is not installed
    ├── InputError              an input cannot be read
    │   ├── InputNotFoundError      it does not exist, or may not be opened
    │   ├── AudioDecodeError        ffmpeg could not decode it; has ffmpeg's own words
    │   │   └── DecodingStoppedError    it was stopped, or reading failed: another time it may succeed
    │   ├── FfmpegNotFoundError     ffmpeg is missing
    │   ├── RecordingTooLongError   it is longer than the caller allows
    │   ├── ManifestError           a list of recordings is damaged or lacks something
    │   └── VoiceError              a recording of a known person cannot introduce their voice
    ├── LiveError               a live session cannot go on
    ├── OutputError             a result cannot be written
    │   └── FfmpegError             ffmpeg could not write it; has ffmpeg's own words
    ├── ClusterError            a cluster of machines cannot work
    │   ├── WorkerDiedError         workers died while they decoded a recording
    │   └── ProcessEndedError       a process ended that trains together with this one
    └── ModelError              a model cannot be used
        ├── ModelNotFoundError      no folder, cache, package or hub has it
        ├── ModelCacheError         the folder that keeps models cannot be written
        ├── ModelDownloadError      downloading it failed
        ├── ModelIntegrityError     a file of it is damaged, manipulated or does not fit
        └── DeviceError             this machine cannot run it on that device or in that precision

The message of each is one line that names the thing and the reason. The command line turns the class into an
exit code, in one place (`mtasr.cli.failures`).
"""


class MtasrError(Exception):
    """Base of the tree above."""


class UsageError(MtasrError):
    """An option, or a combination of options, makes no sense."""


class MissingExtraError(UsageError):
    """An option needs an extra that is not installed."""


class InputError(MtasrError):
    """An input cannot be read."""


class InputNotFoundError(InputError):
    """There is no such file, or it may not be opened."""


class AudioDecodeError(InputError):
    """ffmpeg could not decode the input.

    `details` holds all that ffmpeg wrote, line by line.
    """

    def __init__(self, message: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.details = details


class DecodingStoppedError(AudioDecodeError):
    """ffmpeg was stopped by a signal, or what it reads failed. Another attempt may succeed."""


class FfmpegNotFoundError(InputError):
    """No ffmpeg binary was found, or it could not be started."""


class RecordingTooLongError(InputError):
    """The recording is longer than the caller allows."""


class ManifestError(InputError):
    """A list of recordings is missing, damaged, or lacks something."""


class VoiceError(InputError):
    """Recordings of a known person cannot introduce their voice: two people talk in one, or nobody in any."""


class LiveError(MtasrError):
    """A live session cannot go on: nobody reads its events, say."""


class OutputError(MtasrError):
    """A result cannot be written."""


class FfmpegError(OutputError):
    """ffmpeg could not write a result.

    `details` holds all that ffmpeg wrote, line by line.
    """

    def __init__(self, message: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.details = details


class ClusterError(MtasrError):
    """There is no cluster, it cannot be joined, none of its nodes can work, or a process that others need has ended."""


class WorkerDiedError(ClusterError):
    """Workers of a cluster died, or stood still, while they decoded the recording."""


class ProcessEndedError(ClusterError):
    """A process that trains together with this one has ended, or cannot be reached any more."""


class ModelError(MtasrError):
    """A model cannot be used."""


class ModelNotFoundError(ModelError):
    """No folder, cached copy, installed package or hub entry has the model."""


class ModelCacheError(ModelError):
    """The folder that keeps downloaded and unpacked models cannot be written."""


class ModelDownloadError(ModelError):
    """Downloading a model failed."""


class ModelIntegrityError(ModelError):
    """A file of the model is damaged, manipulated, missing or does not fit the others."""


class DeviceError(ModelError):
    """The model cannot run on that device, or in that precision, on this machine."""
