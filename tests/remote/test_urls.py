"""What is a URL, how it is shown, and whether a list may name it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.errors import InputError, UsageError
from mtasr.remote.urls import check_known, check_listed, harmless, is_url, scheme_of, shown, stem_of, suffix_of


@pytest.mark.parametrize(
    "source",
    ["s3://bucket/a.wav", "HTTPS://host/a", "simplecache::s3://bucket/a", "zip://a.wav::s3://b/c.zip", "file:///a"],
)
def test_urls(source: str) -> None:
    assert is_url(source)


@pytest.mark.parametrize(
    "source", ["a.wav", "/s3://a", "C:\\a.wav", "c://a", "a::b.wav", "-", "", "s3:a", Path("s3://a")]
)
def test_paths(source: object) -> None:
    assert not is_url(source)


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://me:secret@host:81/a%20b.wav?sig=secret#x", "https://host:81/a%20b.wav"),
        ("s3://bucket/what?.wav", "s3://bucket/what?.wav"),
        ("s3://bucket/a::b@c.wav", "s3://bucket/a::b@c.wav"),
        ("zip://a.wav::https://me:secret@host/b.zip?secret", "zip://a.wav::https://host/b.zip"),
        ("https://host?secret", "https://host"),
        ("http://me:secret@[::1]:80/a.wav", "http://[::1]:80/a.wav"),
        ("https://host/a@b.wav?at=10:30&by=me@host", "https://host/a@b.wav"),
        ("sftp://me:pa55/word@host/x.wav", "sftp://...@host/x.wav"),
        ("https://me:pa?ss@host/x.wav", "https://..."),
        ("https://me:secret", "https://..."),
        ("sftp://me:pa::ss@host/x.wav", "sftp://..."),
    ],
)
def test_secrets_are_not_shown(url: str, seen: str) -> None:
    assert shown(url) == seen


@given(st.sampled_from(["https", "sftp"]), st.text("pqzw019/?#:@[]%&=", min_size=3, max_size=12))
def test_no_password_is_shown(scheme: str, password: str) -> None:
    url = f"{scheme}://me:{password}@host/x.wav"
    innocent = f"{scheme}://...@host/x.wav"
    parts = {password[start : start + 3] for start in range(len(password) - 2)}
    for seen in (shown(url), stem_of(url)):
        assert not [part for part in parts if part in seen and part not in innocent]


@pytest.mark.parametrize(
    ("url", "stem", "suffix"),
    [
        ("s3://bucket/talks/a.b.WAV", "a.b", ".wav"),
        ("s3://bucket/100%25?.wav", "100%25?", ".wav"),
        ("https://host/a%20b.mp3?x=/c.wav", "a b", ".mp3"),
        ("https://host/..%2F..%2Fetc%2Fpasswd", "passwd", ""),
        ("https://host/", "host", ""),
        ("https://host:81", "host", ""),
        ("https://[bad/a.wav", "recording", ""),
        ("sftp://me:pa/ss@host", "host", ""),
        ("s3://bucket/..", "bucket", ""),
    ],
)
def test_names_of_results(url: str, stem: str, suffix: str) -> None:
    assert (stem_of(url), suffix_of(url)) == (stem, suffix)


@given(st.text("ab./\\\0"))
def test_no_path_leads_elsewhere(path: str) -> None:
    found = harmless(path)
    assert not found.is_absolute()
    assert ".." not in found.parts
    assert "\0" not in str(found)


def test_local_files_have_no_addresses() -> None:
    for url in ("file:///etc/passwd", "simplecache::local:///a"):
        with pytest.raises(InputError, match="is a file of this machine: give its path"):
            check_known(url)


def test_a_list_names_only_what_is_allowed() -> None:
    check_listed("s3://b/a.wav", frozenset({"s3"}))
    with pytest.raises(UsageError, match=r"^s3://b/a.wav: addresses in a list are opened only with --allow-scheme s3$"):
        check_listed("s3://b/a.wav", frozenset({"https"}))
    for url in ("file:///etc/passwd", "simplecache::s3://b/a", "zip://a.wav::s3://b/a.zip"):
        with pytest.raises(UsageError, match="a list may not name"):
            check_listed(url, frozenset({"s3", "file", "zip", "simplecache"}))


def test_a_scheme_has_no_case() -> None:
    assert scheme_of("S3://bucket") == "s3"
