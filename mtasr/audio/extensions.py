"""Names that recordings have."""

from __future__ import annotations

#: Files in a folder that count as recordings. A file that is named itself may have any ending.
EXTENSIONS = frozenset(
    {
        "3ga", "aac", "ac3", "aif", "aifc", "aiff", "amr", "ape", "au", "caf", "dts", "eac3", "flac", "m4a", "m4b",
        "mka", "mp1", "mp2", "mp3", "mpga", "oga", "ogg", "opus", "ra", "snd", "spx", "tta", "voc", "w64", "wav",
        "weba", "wma", "wv",
        "3g2", "3gp", "asf", "avi", "divx", "f4v", "flv", "m2t", "m2ts", "m4v", "mkv", "mov", "mp4", "mpe", "mpeg",
        "mpg", "mts", "mxf", "ogm", "ogv", "qt", "rm", "rmvb", "ts", "vob", "webm", "wmv",
    }
)  # fmt: skip
