"""The files of the page: what is served, under which policy, and that they hold together."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib import resources

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.server.page import router

FILES = sorted(each.name for each in resources.files("mtasr.server.page").iterdir() if each.is_file())


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    app.include_router(router)
    return TestClient(app)


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style") and data.strip():
            self.inline.append(data)


def test_the_page_runs_nothing_but_its_own_files(client: TestClient) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    page = Elements(answer.text)
    assert page.inline == []
    for tag, attributes in page.found:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        for name in ("src", "href"):
            assert not (attributes.get(name) or "").startswith(("http", "//"))


def test_each_file_has_its_type_and_all_that_it_asks_for_is_there(client: TestClient) -> None:
    types = {"js": "text/javascript", "css": "text/css", "png": "image/png", "svg": "image/svg+xml"}
    for name in [*FILES, "speakers.js", "viewer.js", "viewer.css"]:
        if name.endswith((".py", ".html")):
            continue
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"].startswith(types.get(name.rpartition(".")[2], "application/"))
        for wanted in re.findall(r'^import .* from "\./(.*)";$', answer.text if name.endswith(".js") else "", re.M):
            assert client.get(f"/page/{wanted}").status_code == 200, (name, wanted)
    for tag, attributes in Elements(client.get("/").text).found:
        address = attributes.get("href") if tag == "link" else attributes.get("src")
        assert not address or client.get(address).status_code == 200, address


def test_no_other_file_can_be_had(client: TestClient) -> None:
    for name in ("__init__.py", "..%2f__init__.py", "%2e%2e/settings.py", "controls.html", "page.py", ""):
        assert client.get(f"/page/{name}").status_code == 404, name


def test_a_file_is_sent_again_only_if_it_has_changed(client: TestClient) -> None:
    first = client.get("/page/app.js")
    again = client.get("/page/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"


def test_what_the_scripts_know_of_the_package(client: TestClient) -> None:
    about = client.get("/page/about.json").json()
    assert list(about["formats"]) == list(OUTPUT_FORMATS)
    assert all(about["formats"].values())
    assert about["levels"] == [0.9, 0.7, 0.5]
    assert about["limits"] == {"cps": 20.0, "cps_cjk": 12.0, "shortest": pytest.approx(5 / 6)}
    assert about["languages"]["ht"] == "Haitian Creole"


def test_the_page_can_be_installed(client: TestClient) -> None:
    manifest = json.loads(client.get("/page/manifest.webmanifest").text)
    assert (manifest["start_url"], manifest["display"]) == ("/", "standalone")
    for icon in manifest["icons"]:
        data = client.get(icon["src"]).content
        if icon["type"] == "image/png":
            width, height = (int.from_bytes(data[at : at + 4]) for at in (16, 20))
            assert icon["sizes"] == f"{width}x{height}"
    assert client.get("/page/worker.js").headers["service-worker-allowed"] == "/"
