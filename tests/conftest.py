"""What the tests share: a Prefect server, and the command line."""

import os
from contextlib import suppress

# Threads of several libraries only wait for each other on a small machine, and those that wait must not spin.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """A real Prefect server, once for each test process; its worker and deployments come up meanwhile."""
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
