"""Every error that mtasr raises on purpose.

    MtasrError
    ├── UsageError              an option or a combination of options makes no sense
    │   └── MissingExtraError       it needs an extra that is not installed
    ├── InputError              a recording cannot be read
    │   ├── InputNotFoundError      there is no such file, or it may not be opened
    │   ├── AudioDecodeError        ffmpeg could not make sense of it; ffmpeg's own words inside
    │   ├── FfmpegNotFoundError     there is no ffmpeg to read it with
    │   └── ManifestError           a list of recordings is damaged or lacks something
    ├── OutputError             a result cannot be written
    │   └── FfmpegError             ffmpeg could not write it; ffmpeg's own words inside
    └── ModelError              a model cannot be used
        ├── ModelNotFoundError      no folder, cached copy, package or hub entry has it
        ├── ModelDownloadError      the hub did not deliver it whole
        ├── ModelIntegrityError     a file of it is damaged, tampered with or of the wrong shape
        └── DeviceError             this machine cannot run it on that device or in that precision

The message of each is one line that names the thing and the reason. The command line turns the class into an
exit code, in one place (`mtasr.cli.failures`).
"""


class MtasrError(Exception):
    """Base of the tree above."""


class UsageError(MtasrError):
    """An option, or a combination of options, makes no sense."""


class MissingExtraError(UsageError):
    """What is asked for needs an extra that is not installed."""


class InputError(MtasrError):
    """A recording cannot be read."""


class InputNotFoundError(InputError):
    """There is no such file, or it may not be opened."""


class AudioDecodeError(InputError):
    """ffmpeg could not decode the input.

    `details` holds what ffmpeg wrote, line by line, so that nothing it said is lost.
    """

    def __init__(self, message: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.details = details


class FfmpegNotFoundError(InputError):
    """No ffmpeg binary was found, or it could not be started."""


class ManifestError(InputError):
    """A list of recordings is missing, damaged, or lacks something."""


class OutputError(MtasrError):
    """A result cannot be written."""


class FfmpegError(OutputError):
    """ffmpeg could not write a result.

    `details` holds what ffmpeg wrote, line by line.
    """

    def __init__(self, message: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.details = details


class ModelError(MtasrError):
    """A model cannot be used."""


class ModelNotFoundError(ModelError):
    """No folder, cached copy, installed package or hub entry has the model."""


class ModelDownloadError(ModelError):
    """The hub did not deliver a file whole."""


class ModelIntegrityError(ModelError):
    """A file of the model is damaged, tampered with, missing or of the wrong shape."""


class DeviceError(ModelError):
    """The model cannot run on that device, or in that precision, on this machine."""
