"""The service on loopback over the catalogue with images of its first scene, and the system's Chromium."""

import shutil
import socket
from contextlib import contextmanager
from threading import Thread

import pytest
import uvicorn

from service.app import Options, make_app
from tests.support.catalogue_results import SCENE
from tests.support.map_images import write_images

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Without a graphics card, by software.
_SWITCHES = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]


@contextmanager
def served(catalogue, **options):
    """The address of a service over a catalogue."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # from now on, whoever comes waits for the server
    app = make_app(catalogue, Options(requests_per_minute=10_000_000, **options))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="session")
def address(catalogue):
    write_images(catalogue.parent / "results" / SCENE.id)
    with served(catalogue) as url:
        yield url


# For a file's tests alone: while Playwright runs, nothing else in this thread can run an event loop.
@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        try:
            browser = running.chromium.launch(executable_path=CHROMIUM, args=_SWITCHES)
        except playwright.Error as error:
            pytest.skip(f"Chromium does not start here ({str(error).splitlines()[0]})")
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """Opens pages; afterwards none may have failed, nor asked another host."""
    contexts, wrong = [], []

    def opened(url, ready="#map[data-loaded=yes]", **look):
        usual = {"viewport": {"width": 1000, "height": 640}, "reduced_motion": "reduce"}
        context = chromium.new_context(**{**usual, **look})
        context.set_default_timeout(90_000)  # a busy machine draws slowly
        contexts.append(context)
        made = context.new_page()
        host = url.split("/")[2]
        made.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        made.on("request", lambda one: asked_elsewhere(one.url, host) and wrong.append(one.url))
        made.on("response", lambda one: one.status == 500 and wrong.append(f"{one.status} {one.url}"))
        made.goto(url)
        made.wait_for_selector(ready, state="attached", timeout=90_000)
        return made

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def asked_elsewhere(url, host):
    return url.startswith("http") and url.split("/")[2] != host
