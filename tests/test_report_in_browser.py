"""The report in a real browser, from disk: it runs, sorts and filters, and nothing is cut off.

Talks to chromedriver as the WebDriver standard says, so that no further package is needed.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from test_report import EVIL, FakeFit

from sklearn_dsink.report import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("chromedriver") is None, reason="needs Chromium and its chromedriver"
    ),
]

LONG = "Xanthorhoe-montanata-" * 20
OPTIONS = {
    "goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-gpu"]},
    "goog:loggingPrefs": {"browser": "ALL"},
}


class Browser:
    """One session of a headless Chromium."""

    def __init__(self, address):
        self.address = address
        made = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": OPTIONS}})
        self.address += f"/session/{made['sessionId']}"

    def ask(self, method, path, body=None):
        request = urllib.request.Request(
            self.address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script, *arguments):
        body = {"script": script, "args": list(arguments)}
        return self.ask("POST", "/execute/sync", body)

    def show(self, path, width=1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": size}
        self.ask("POST", "/goog/cdp/execute", command)
        self.ask("POST", "/url", {"url": path.as_uri()})

    def messages(self):
        return self.ask("POST", "/se/log", {"type": "browser"})


@pytest.fixture(scope="module")
def browser():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{address}/status", timeout=5).close()
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        session = Browser(address)
        yield session
        session.ask("DELETE", "")
    finally:
        driver.terminate()
        driver.wait()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    model = FakeFit((EVIL, "b", LONG), "a name of the rows").fit(None)
    return write_report(model, tmp_path_factory.mktemp("report") / "report.html", title=EVIL)


def column(browser, number):
    script = """
        const rows = document.querySelectorAll("#issue-table tbody tr:not([hidden])");
        return Array.from(rows, (row) => row.cells[arguments[0]].textContent.trim());
    """
    return browser.run(script, number)


def test_it_opens_from_disk_without_a_complaint(browser, path):
    browser.show(path)
    assert browser.run("return document.querySelector('h1').textContent") == EVIL
    drawn = browser.run("return Array.from(document.images, (image) => image.naturalWidth > 0)")
    assert drawn == [True] * 4
    with pytest.raises(urllib.error.HTTPError, match="404"):  # no such alert
        browser.ask("GET", "/alert/text")
    assert browser.messages() == []


def test_the_table_sorts(browser, path):
    browser.show(path)
    click = "document.querySelectorAll('#issue-table th button')[arguments[0]].click()"
    quality = 3
    ranked = column(browser, quality)
    assert ranked == sorted(ranked)
    assert len(ranked) == 60
    browser.run(click, quality)
    assert column(browser, quality) == ranked
    browser.run(click, quality)
    assert column(browser, quality) == ranked[::-1]
    browser.run(click, 0)  # names of rows, "id 2 <b>" before "id 10 <b>"
    assert column(browser, 0) == [f"id {i} <b>" for i in range(60)]
    assert browser.messages() == []


def test_the_table_filters(browser, path):
    browser.show(path)
    flags = column(browser, 10).count("look")
    tick = "const box = document.querySelector('#flagged'); box.click(); return box.checked"
    assert browser.run(tick)
    assert len(column(browser, 0)) == flags
    assert browser.run("return document.querySelector('#shown').textContent").startswith(
        f"{flags} of 60"
    )
    assert not browser.run(tick)
    words = """
        const field = document.querySelector("#words");
        field.value = arguments[0];
        field.dispatchEvent(new Event("input"));
    """
    browser.run(words, "ID 17 ")
    assert column(browser, 0) == ["id 17 <b>"]
    browser.run(words, "alert(1)")
    given, suggested = column(browser, 1), column(browser, 2)
    assert given
    assert all(EVIL in pair for pair in zip(given, suggested, strict=True))


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_cut_off(browser, path, width):
    browser.show(path, width)
    script = """
        const wide = (e) => e.scrollWidth > e.clientWidth + 1;
        const outside = (e) => {
          const box = e.getBoundingClientRect();
          return box.width > 0 && (box.left < -1 || box.right > window.innerWidth + 1);
        };
        const page = document.documentElement;
        const found = Array.from(document.querySelectorAll("body *"));
        return {
          page: wide(page),
          scrolled: found.filter((e) => e.matches(".wide, .card, td") && wide(e)).length,
          outside: found.filter(outside).map((e) => e.tagName + " " + e.textContent.slice(0, 30)),
        };
    """
    assert browser.run("return window.innerWidth") == width
    assert browser.run(script) == {"page": False, "scrolled": 0, "outside": []}
