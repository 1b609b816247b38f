"""URLs as sources: what is one, whether a list may name it, how messages show it."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import TypeGuard
from urllib.parse import unquote

from mtasr.errors import InputError, UsageError

#: "s3://bucket/a.wav", or a chain of fsspec's such as "zip://a.wav::s3://bucket/b.zip". One letter is a Windows drive.
_URL = re.compile(r"([a-z][a-z0-9+.-]+)(?:://|::(?=[a-z][a-z0-9+.-]+:[:/]))", re.IGNORECASE)

WEB = frozenset({"http", "https"})

#: Stores whose names of objects may have a question mark or a "%": nothing in such a URL is a query or encoded.
LITERAL = frozenset({"s3", "s3a", "gs", "gcs"})

#: They mean files of this machine, which have paths.
_LOCAL = frozenset({"file", "local"})


def is_url(source: object) -> TypeGuard[str]:
    """Whether a source is a URL and no path. It is a path if it is any other object than a string."""
    return isinstance(source, str) and _URL.match(source) is not None


def scheme_of(url: str) -> str:
    """The scheme of a URL in lower case, that of the first link of a chain."""
    match = _URL.match(url)
    if match is None:
        raise ValueError(f"{url!r} is no URL")
    return match[1].lower()


def links(url: str) -> list[str]:
    """The links of a chain, or the URL alone. A name on a server or in an object store may have "::" in it."""
    begins_no_chain = url.partition("://")[0].lower() in LITERAL | WEB
    return [url] if begins_no_chain else url.split("::")


def shown(url: str) -> str:
    """A URL for messages: without user name, password, query and fragment, which may be secrets.

    A password may have characters that end it for most programs. Where one may go on, "..." stands for it and for all
    that may belong to it.
    """
    first, chain, last = url.rpartition("::") if len(links(url)) > 1 else ("", "", url)
    found = [_link_shown(link) for link in links(url)]
    if not all(found) or (chain and "@" in last and ":" in first.replace("://", "").replace("::", "")):
        return f"{scheme_of(url)}://..."
    return "::".join(filter(None, found))


#: A host and its port.
_HOST = re.compile(r"(?:\[[0-9a-fA-F:.%]*\]|[^:\[\]]*)(?::[0-9]{0,5})?")

_LINK_NAME = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)


def _link_shown(link: str) -> str | None:
    """None if it is not clear what of it is secret."""
    scheme, colon, rest = link.partition("://")
    if not colon:
        return link if _LINK_NAME.fullmatch(link) else None
    if scheme.lower() in LITERAL:
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    secret, at, _ = rest.rpartition("@") if ":" in authority else authority.rpartition("@")
    hidden = ""
    if len(secret) > len(authority):
        # A password with "/", "?" or "#" in it, it may be: such a one goes on to the last "@".
        if "?" in secret or "#" in secret:
            return None
        hidden = "...@"
    seen = re.split(r"[?#]", rest[len(secret) + len(at) :], maxsplit=1)[0]
    return f"{scheme}://{hidden}{seen}" if _HOST.fullmatch(seen.partition("/")[0]) else None


def path_in(url: str) -> str:
    """The path of a URL below its host or bucket, decoded, without a slash at its beginning."""
    link = links(url)[0]
    scheme, _, rest = link.partition("://")
    if scheme.lower() in LITERAL:
        return rest.partition("/")[2]
    return unquote((_link_shown(link) or "").partition("://")[2].partition("/")[2]).lstrip("/")


def harmless(path: str) -> PurePosixPath:
    """A path from a store, as one that leads nowhere else: without "..", and without empty parts."""
    parts = (part.replace("\0", "_") for part in path.split("/"))
    return PurePosixPath(*(part for part in parts if part not in ("", ".", "..")))


def stem_of(url: str) -> str:
    """The name that files made of a recording get: that of the object, without its suffix."""
    return harmless(path_in(url)).stem or _host_in(url) or "recording"


def _host_in(url: str) -> str:
    host = (_link_shown(links(url)[0]) or "").partition("://")[2].partition("/")[0]
    return harmless(re.sub(r":[0-9]*$", "", host.rpartition("@")[2])).name


def suffix_of(url: str) -> str:
    """The suffix of the object, with its dot, in lower case."""
    return harmless(path_in(url)).suffix.lower()


def check_known(url: str) -> None:
    """Raise `InputError` for a URL of a local file."""
    if any(link.partition("://")[0].lower() in _LOCAL for link in links(url)):
        raise InputError(f"{shown(url)}: is a file of this machine: give its path")


def check_listed(url: str, allowed: frozenset[str]) -> None:
    """Raise `UsageError` for a URL in a list, which may come from somebody else, unless its scheme is allowed.

    Chains are refused, since a link of one may be a local file, and so is the URL of one.
    """
    scheme = scheme_of(url)
    if scheme in _LOCAL or len(links(url)) > 1:
        raise UsageError(f"{shown(url)}: a list may not name local files and chains by address")
    if scheme not in allowed:
        raise UsageError(f"{shown(url)}: addresses in a list are opened only with --allow-scheme {scheme}")


def name_of(source: str | os.PathLike[str]) -> str:
    """A path as it is, a URL without its secrets."""
    return shown(source) if is_url(source) else os.fspath(source)
