"""Recordings on web servers that cut, stall, redirect and lie."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time

import pytest
from hostile_server import HASTE, HostileServer, Page

from mtasr.errors import InputError, InputNotFoundError
from mtasr.remote.file import LEAST, RemoteFile, WholeObject, examine, open_remote
from mtasr.remote.patience import Patience
from mtasr.remote.web import WebObject

DATA = random.Random(1).randbytes(700_001)


def opened(url: str, patience: Patience = HASTE) -> RemoteFile:
    """One that the server sends in ranges."""
    found = open_remote(url, patience)
    assert isinstance(found, RemoteFile)
    return found


def read(url: str, patience: Patience = HASTE) -> bytes:
    with contextlib.closing(open_remote(url, patience)) as found:
        if isinstance(found, RemoteFile):
            return found.read()
        with found.copied() as copy:
            return copy.read()


def test_a_recording_comes_in_ranges(server: HostileServer) -> None:
    url = server.put("a.wav", Page(DATA))
    with opened(url) as file:
        assert file.read(10) == DATA[:10]
        assert file.seek(-5, 2) == len(DATA) - 5
        assert file.read() == DATA[-5:]
        file.seek(300_000)
        assert file.read(100_000) == DATA[300_000:400_000]
        file.seek(0)
        assert file.read() == DATA
    assert all(asked.startswith("bytes=") for _, asked in server.asked)


@pytest.mark.parametrize("after", [4096, 98_304])
def test_what_is_cut_goes_on_where_it_stopped(server: HostileServer, after: int) -> None:
    url = server.put("a.wav", Page(DATA, cut_after=[None, after, after, 0, None]))
    assert read(url) == DATA
    starts = [int(asked[6:].partition("-")[0]) for _, asked in server.asked[1:]]
    assert starts[:4] == [0, after, 2 * after, 2 * after]


def test_a_line_that_is_always_cut_is_given_up(server: HostileServer) -> None:
    url = server.put("a.wav", Page(DATA, cut_after=[None, 69_632, 0]))
    with pytest.raises(OSError, match=r"^the connection was cut \(5 times\), at byte 69632 of 700001$"):
        read(url)
    assert len(server.asked) == 2 + HASTE.attempts


def test_so_is_one_that_brings_next_to_nothing_each_time(server: HostileServer) -> None:
    url = server.put("a.wav", Page(DATA, cut_after=[None, 5000]))
    with pytest.raises(OSError, match="cut again and again, at byte 40960 of"):
        read(url)


def test_after_a_failure_nothing_looks_like_the_end(server: HostileServer) -> None:
    url = server.put("a.wav", Page(DATA, cut_after=[None, 0]))
    with opened(url) as file:
        for _ in range(2):
            with pytest.raises(OSError, match="cut"):
                file.read(10)
        assert len(server.asked) == 1 + HASTE.attempts


@pytest.mark.parametrize("page", [Page(DATA, stall_after=3), Page(DATA, trickle=0.1)], ids=["stalls", "trickles"])
def test_a_slow_server_is_given_up(server: HostileServer, page: Page) -> None:
    patience = Patience(seconds=0.3, attempts=2, pause=0.001)
    with pytest.raises(OSError, match=r"^too slow: no answer within 0.3 s \(2 times\), at byte 0 of 700001$"):
        read(server.put("a.wav", page), patience)


def test_closing_ends_a_read_that_waits(server: HostileServer) -> None:
    file = opened(server.put("a.wav", Page(DATA, stall_after=3)), Patience(seconds=60.0))
    errors: list[Exception] = []

    def wait() -> None:
        try:
            file.read(10)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while len(server.asked) < 2:
        time.sleep(0.01)
    file.close()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert [str(error) for error in errors] == ["it was closed"]


@pytest.mark.parametrize("chunked", [False, True])
def test_without_ranges_it_is_copied(server: HostileServer, chunked: bool) -> None:
    found = open_remote(server.put("a.wav", Page(DATA, ranges=False, chunked=chunked)), HASTE)
    assert isinstance(found, WholeObject)
    with contextlib.closing(found), found.copied() as file:
        assert file.read() == DATA
        file.seek(4)
        assert file.read(4) == DATA[4:8]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_copy_that_is_cut_begins_anew(server: HostileServer, chunked: bool) -> None:
    page = Page(DATA, ranges=False, chunked=chunked, cut_after=[None, 100_000, 0, None])
    assert read(server.put("a.wav", page)) == DATA
    assert len(server.asked) == 4


def test_a_copy_that_is_always_cut_is_given_up(server: HostileServer) -> None:
    url = server.put("a.wav", Page(DATA, ranges=False, cut_after=[None, 100_000]))
    with pytest.raises(InputError, match=r"/a.wav: the connection was cut \(5 times\)$"):
        read(url)


def test_a_copy_is_no_larger_than_the_disk(server: HostileServer) -> None:
    url = server.put("a.wav", Page(DATA, ranges=False, stated=10**16))
    with pytest.raises(InputError, match=r"has to be copied first, and 10000000\.0 GB are too many"):
        read(url)


def test_a_slow_copy_is_given_up(server: HostileServer) -> None:
    url = server.put("a.wav", Page(DATA, ranges=False, stall_after=LEAST + 1))
    with pytest.raises(InputError, match=r"too slow: no answer within 0.3 s \(2 times\)"):
        read(url, Patience(seconds=0.3, attempts=2, pause=0.001))


@pytest.mark.parametrize("ranges", [True, False])
def test_more_promised_than_there_is(server: HostileServer, ranges: bool) -> None:
    url = server.put("a.wav", Page(DATA, ranges=ranges, stated=len(DATA) + 10))
    with pytest.raises((OSError, InputError), match="the connection was cut"):
        read(url)


def test_another_range_than_asked_for(server: HostileServer) -> None:
    with pytest.raises(OSError, match="another range"):
        read(server.put("a.wav", Page(DATA, shift=1)))


@pytest.mark.parametrize("change", [{"headers": {"ETag": '"two"'}}, {"stated": len(DATA) - 1}])
def test_a_recording_that_changes_is_not_mixed(server: HostileServer, change: dict[str, object]) -> None:
    url = server.put("a.wav", Page(DATA))
    with opened(url) as file:
        file.read(10)
        server.pages["a.wav"] = Page(DATA, **change)  # type: ignore[arg-type]
        with pytest.raises(OSError, match=r"^it was changed while it was read$"):
            file.read()


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (404, InputNotFoundError, "no such file (HTTP 404)"),
        (410, InputNotFoundError, "no such file (HTTP 410)"),
        (401, InputNotFoundError, "may not be read (HTTP 401)"),
        (403, InputNotFoundError, "may not be read (HTTP 403)"),
        (418, InputError, "the server answered 418"),
        (503, InputError, "cannot be opened: the server answered 503"),
    ],
)
def test_refusals_are_one_line(server: HostileServer, status: int, kind: type[InputError], words: str) -> None:
    url = server.put("a.wav", Page(DATA, status=[status]))
    with pytest.raises(kind) as caught:
        open_remote(f"{url}?signature=secret", HASTE)
    assert str(caught.value) == f"{url}: {words}"


def test_a_server_that_was_busy_is_asked_again(server: HostileServer) -> None:
    assert read(server.put("a.wav", Page(DATA, status=[503, 429, 200, 500, 200]))) == DATA


def test_an_empty_recording(server: HostileServer) -> None:
    with pytest.raises(InputNotFoundError, match=r"/a.wav: is empty"):
        open_remote(server.put("a.wav", Page()), HASTE)


def test_nobody_listens(server: HostileServer) -> None:
    server.close()
    with pytest.raises(InputError) as caught:
        open_remote(f"{server.url}/a.wav?signature=secret", Patience(attempts=2, pause=0.001))
    assert str(caught.value) == f"{server.url}/a.wav: cannot be opened: the server cannot be reached"
    assert caught.value.__cause__ is None


def test_redirects_are_followed(server: HostileServer) -> None:
    server.put("b/c.wav", Page(DATA))
    assert read(server.put("a.wav", Page(location="/b/c.wav"))) == DATA


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a.wav", "s3://bucket/a.wav"])
def test_but_not_to_other_schemes(server: HostileServer, location: str) -> None:
    with pytest.raises(InputError, match=f"the server redirects to {location}, which is not opened"):
        open_remote(server.put("a.wav", Page(location=location)), HASTE)


def test_nor_from_https_to_http() -> None:
    found = WebObject("http://host/a.wav")
    assert found._next("https://host/a.wav", "/b.wav") == "https://host/b.wav"
    assert found._next("http://host/a.wav", "https://host/b.wav") == "https://host/b.wav"
    with pytest.raises(InputError, match=r"redirects to http://host/b.wav, which is not opened"):
        found._next("https://host/a.wav", "http://somebody:secret@host/b.wav?key=secret")


def test_nor_for_ever(server: HostileServer) -> None:
    url = server.put("a.wav", Page(location="/a.wav"))
    with pytest.raises(InputError, match="redirects more than 5 times"):
        open_remote(url, HASTE)


def test_what_identifies_it(server: HostileServer) -> None:
    url = server.put("a.wav", Page(DATA))
    first = examine(url, HASTE)
    assert (first.size, first.tag) == (len(DATA), 'ETag "one"')
    server.pages["a.wav"].headers = {"Last-Modified": "Sun, 29 Nov 2026 10:00:00 GMT"}
    assert examine(url, HASTE).identity == "700001 modified 2026-11-29T10:00:00+00:00"
    server.pages["a.wav"].headers = {}
    assert examine(url, HASTE).identity is None


def test_a_server_may_send_less_than_asked_for(server: HostileServer) -> None:
    data = DATA * 20
    url = server.put("a.wav", Page(data, most=300_000))
    assert read(url) == data
    assert len(server.asked) < 3 + len(data) // 300_000 + 1


@pytest.mark.parametrize(
    ("location", "seen"),
    [("http://[bad/", "what is no address"), ("http://" + 70 * "a" + "/b.wav", None)],
    ids=["no address", "a long name"],
)
def test_redirects_to_what_is_no_address(server: HostileServer, location: str, seen: str | None) -> None:
    url = server.put("a.wav", Page(location=location))
    with pytest.raises(InputError) as caught:
        examine(url, Patience(attempts=2, pause=0.001))
    seen = f"the server redirects to {seen}, which is not opened" if seen else "cannot be opened: it is no address"
    assert str(caught.value) == f"{url}: {seen}"


@pytest.mark.parametrize(
    "address", ["http://" + 70 * "a" + "/b.wav", "http://[bad/b.wav", "http://host:99999999/b.wav"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(InputError, match="cannot be opened: it is no address"):
        examine(address, Patience(attempts=2, pause=0.001))


def test_numbers_that_are_none(server: HostileServer) -> None:
    page = Page(DATA, headers={"ETag": "one"})
    url = server.put("a.wav", page)
    with opened(url) as file:
        file.read(10)
        page.stated = int("9" * 100)
        with pytest.raises(OSError, match="the server sends no ranges any more"):
            file.read()
    assert examine(url, HASTE).size is None


@pytest.mark.slow
def test_attempts_that_are_given_up_leave_no_threads(server: HostileServer) -> None:
    url = server.put("a.wav", Page(DATA, trickle_headers=0.05))
    before = threading.active_count()
    with pytest.raises(InputError, match=r"/a.wav: cannot be opened: too slow: no answer within 0.3 s"):
        examine(url, Patience(seconds=0.3, attempts=4, pause=0.001))
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_an_address_that_is_refused_while_it_is_read(server: HostileServer) -> None:
    """A signature expires."""
    url = server.put("a.wav", Page(DATA, status=[200, 200, 403]))
    with pytest.raises(OSError, match=r"^may not be read \(HTTP 403\)$"):
        read(url)


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InputError, match=r"^http://nobody.invalid/a.wav: .*: the name of the server is not known$"):
        open_remote("http://nobody.invalid/a.wav", Patience(attempts=1))
