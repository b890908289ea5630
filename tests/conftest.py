"""What the tests share: a Prefect server, and the command line."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

# Threads of several libraries only wait for each other on a small machine, and those that wait must not spin.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest

ROOT = Path(__file__).parents[1]
# Files of many seconds begin first, so that the workers end together; the longest are those with the Prefect server.
LONG = (
    "tests/models/jointnet/test_training.py",
    "tests/models/training/test_segmentation.py",
    "tests/models/jointnet/test_balance.py",
    "tests/models/jointnet/test_generate.py",
)


@cache
def _needs_server(file):
    """By its text: xdist's scheduler knows no fixtures, and its groups have no effect from pytest 9.2 on."""
    return "prefect_server" in (text := (ROOT / file).read_text()) or "prefect_services" in text


def _place(file):
    return -1 if _needs_server(file) else LONG.index(file) if file in LONG else len(LONG)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: _place(item.nodeid.split("::")[0]))


@pytest.hookimpl(optionalhook=True)  # where xdist is
def pytest_xdist_make_scheduler(config, log):
    """A file stays on one worker, and all files that need the Prefect server on the same: it is started once."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "with the Prefect server" if _needs_server(file) else file

    config.option.loadscopereorder = False  # in the order of the tests
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """A real Prefect server, once for a run of the tests; its worker and deployments come up meanwhile."""
    import flows.prefect_defaults  # noqa: F401 - before Prefect

    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    from prefect.context import refresh_global_settings_context

    from tests.support.prefect_services import services

    with services(tmp_path_factory.mktemp("prefect #?%41")) as running:
        os.environ["PREFECT_API_URL"] = running.url
        refresh_global_settings_context()
        yield running
        _send_what_is_left()
    del os.environ["PREFECT_API_URL"]
    refresh_global_settings_context()


def _send_what_is_left():
    """Logs and events of flows that ran in this process, while there is a server to take them."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    with suppress(RuntimeError):  # where no flow has run, there is no worker
        APILogWorker.instance().drain()
    EventsWorker.drain_all()


@pytest.fixture(scope="session")
def prefect_services(prefect_server):
    """The same server with worker and deployments."""
    prefect_server.until_ready()
    return prefect_server


@pytest.fixture
def cli(capfd):
    """Run the command line; returns exit code, stdout and stderr."""
    from flows.cli import main

    def run(*arguments):
        code = 0
        try:
            main([str(a) for a in arguments])
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run
